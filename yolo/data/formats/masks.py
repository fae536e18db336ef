"""Instance masks: a number for every pixel, 0 for the background and one number for each object. No torch.

    PNGImages/NAME.png    PedMasks/NAME_mask.png

This is the layout of Penn-Fudan, whose objects are persons. A box holds all pixels of its object, the last ones
included: right and lower edge are one more than the largest column and row. The area is the number of pixels.

Letters: `h, w` height and width in pixels, `G` objects of one mask.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from yolo.data.check import Rows
from yolo.data.index import Index
from yolo.data.part import Part
from yolo.data.paths import files_below
from yolo.data.turned import image_size
from yolo.files.reading import open_regular, reading
from yolo.names import matched
from yolo.pixels import check_pixels

PERSON = "person"
ENDING = "_mask.png"
SUFFIXES = (".png",)


def instances(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the objects of a mask `[h, w]` of whole numbers, in ascending order of their numbers.

    Returns:
        The numbers `[G]`; boxes int64 `[G, 4]` xyxy in pixels, right and lower edges exclusive; areas int64 `[G]`.
    """
    rows, columns = np.nonzero(mask)
    values, owner, areas = np.unique(mask[rows, columns], return_inverse=True, return_counts=True)
    boxes = np.zeros((len(values), 4), dtype=np.int64)
    boxes[:, :2] = max(mask.shape)
    for axis, places in enumerate((columns, rows)):
        np.minimum.at(boxes[:, axis], owner, places)
        np.maximum.at(boxes[:, axis + 2], owner, places + 1)
    return values, boxes, areas


def read(part: Part, names: Sequence[str] | None, *, skip_faults: bool) -> Index:
    """Return the images of a folder and the objects of their masks, all of the class "person".

    Raises ValueError for faults, such as an image without mask, and for `names` that lack the class.
    """
    used, (label,) = matched([PERSON], names, str(part.source))
    rows = Rows()
    for place in part.places:
        assert place.labels is not None, "a place of this format has a folder of masks"
        images = {os.path.splitext(name)[0]: place.images[0] / name for name in files_below(place.images[0], SUFFIXES)}
        masks = {name.removesuffix(ENDING) for name in files_below(place.labels, SUFFIXES) if name.endswith(ENDING)}
        for stem in sorted(images.keys() | masks):
            path, file = images.get(stem, place.images[0] / f"{stem}.png"), place.labels / f"{stem}{ENDING}"
            try:
                size = image_size(str(path))
            except ValueError:  # `check` says what is wrong with the image
                rows.add_image(str(path))
                continue
            rows.add_image(str(path), size)
            try:
                mask = _read_mask(file, path, size)
            except ValueError as problem:
                rows.add_fault(str(problem))
                continue
            for value, box, area in zip(*(found.tolist() for found in instances(mask)), strict=True):
                rows.add_object(f"{file}: object {value}", label, tuple(box))
                rows.areas.append(area)
    index = rows.index(part.source, used, skip_faults=skip_faults)
    return replace(index, notes=[*part.notes, *index.notes])


def _read_mask(file: Path, image: Path, size: tuple[int, int]) -> np.ndarray:
    """Return the mask `[h, w]` of an image of `size` (w, h). Raises ValueError without a mask that fits the image."""
    if not file.is_file():
        raise ValueError(f"{image}: has no mask; expected {file}, which is 0 everywhere if the image has no object")
    with reading(file, "an image"), open_regular(file) as content, Image.open(content) as opened:
        check_pixels(*opened.size, file)
        mode, mask = opened.mode, np.asarray(opened)  # of a palette the numbers, not its colours
    if mask.ndim != 2:
        raise ValueError(
            f"{file}: a colour image ({mode}); expected one number per pixel, 0 for the background and 1, 2, ... for "
            f"the objects: save it as grey or palette PNG"
        )
    (h, w), (width, height) = mask.shape, size
    if (w, h) != size:
        raise ValueError(
            f"{file}: {w} x {h} pixels, but its image {image} has {width} x {height}; expected the same size"
        )
    return mask
