"""Opening a data set: COCO json, Pascal VOC xml, YOLO txt, a csv file or instance masks, as in `layouts.py`.

Letters: `G` objects of one image, `h, w` its height and width in pixels.

Damaged images: with `decode=True` or `bad="skip"` all images are decoded once when the data set is opened. They are
faults like those of the annotations, so the length of the set is final. Otherwise each raises a ValueError that names
the file, when it is decoded.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from yolo.data.decoded import without_damaged
from yolo.data.formats import coco, csv_boxes, masks, voc
from yolo.data.formats import yolo as yolo_txt
from yolo.data.holdout import held_out
from yolo.data.index import Index, summary
from yolo.data.part import Format as Format
from yolo.data.part import Part
from yolo.data.recognise import chosen as chosen_split
from yolo.data.recognise import find
from yolo.data.sample import Sample, Target, as_tv, make_target
from yolo.data.turned import advice, other_size, remedy
from yolo.files.reading import LONGEST, shortened
from yolo.images.files import read_image
from yolo.names import chosen, read_names
from yolo.size import Size

log = logging.getLogger("yolo")

READERS: dict[Format, Callable[..., Index]] = {
    "coco": coco.read,
    "voc": voc.read,
    "yolo": yolo_txt.read,
    "csv": csv_boxes.read,
    "masks": masks.read,
}


class ImageDataset:
    """A `DataSet` on the disk. It keeps the arrays of its index and decodes an image whenever it is read."""

    def __init__(self, index: Index, part: Part | None = None, whole: int = 0) -> None:
        self.index = index
        self.names = index.names
        self.part = part
        """Where the images lie, if they are a split of a data set."""
        self.whole = whole
        """Number of images of the split before it was divided or shortened."""

    def __len__(self) -> int:
        return len(self.index)

    def path(self, k: int) -> Path:
        """Return the file of image `k`."""
        return self.index.path(k)

    def __getitem__(self, k: int) -> tuple[Any, dict[str, Any]]:
        """Return image `k` and its target for torchvision's transforms (`as_tv`). Raises as `sample`."""
        return as_tv(self.sample(k))

    def sample(self, k: int) -> Sample:
        """Return image `k` and its target.

        Raises ValueError for a damaged image, or one of another size than its annotations, IndexError for no image.
        """
        if not -len(self) <= k < len(self):
            raise IndexError(f"image {k} of {len(self)}")
        k %= len(self)
        return torch.from_numpy(self.decode(k)).permute(2, 0, 1), self.target(k)

    def target(self, k: int, resized: Size | None = None) -> Target:
        """Return the target of image `k` without reading the image; in pixels of the image `resized` to that size."""
        index = self.index
        part = slice(index.offsets[k], index.offsets[k + 1])
        boxes, area, size = index.boxes[part], index.area[part], index.size(k)
        if resized is not None:
            scale = resized.wh / index.sizes[k]  # along x and y
            boxes, area, size = boxes * np.tile(scale, 2), area * scale.prod(), resized
        # Copies, so that what a transform writes into a target stays out of the index.
        labels, crowd = index.labels[part].copy(), index.crowd[part].copy()
        return make_target(boxes, labels, int(index.image_ids[k]), crowd, area, size)

    def fault(self, k: int) -> str:
        """Return what is wrong with the file of image `k`; empty if nothing is."""
        try:
            self.decode(k)
        except (OSError, ValueError) as problem:
            return str(problem)
        return ""

    def decode(self, k: int) -> np.ndarray:
        """Return image `k`, uint8 RGB `[h, w, 3]`, of the size that its annotations are for.

        Raises OSError or ValueError, with the file, if there is no such image.
        """
        pixels = read_image(os.fsdecode(self.index.paths[k]))
        size, expected = Size.of(pixels), self.index.size(k)
        if size != expected:
            fault, unturned = other_size(str(self.path(k)), size.wh, expected.wh)
            raise ValueError(f"{fault}\n{remedy([str(self.path(k))] * unturned)}")
        return pixels


@shortened()
def open_data(
    path: str | Path,
    *,
    split: str | None = None,
    data_format: Format | None = None,
    limit: int | None = None,
    classes: str | None = None,
    fraction: float | None = None,
    seed: int = 0,
    bad: Literal["error", "skip"] = "error",
    decode: bool = False,
    names: Sequence[str] | str | Path | None = None,
    quiet: bool = False,
    val: str | Path | None = None,
    holdout: float | None = None,
    allow_empty: bool = False,
    said: Sequence[str] = (),
    places: bool = False,
) -> ImageDataset:
    """Open the data set at `path`.

    Args:
        path: a COCO json file, a csv file of boxes, a data.yaml, a darknet .data file, or a folder in the layout of one
            of the formats.
        split: name of the split or the beginning of it, such as train for train2017; not needed if there is only one.
        data_format: by default the first of COCO, VOC, masks and YOLO that the path holds.
        limit: only the first `limit` images, in the order of the annotations.
        classes: only these classes, by name, separated by commas, in this order. Images without them are kept, empty.
        fraction: a random part of the images, in (0, 1]; the same for the same seed, and part of any larger fraction.
        seed: seed of `fraction`.
        bad: whether faults raise an error, or are logged and their images left out.
        decode: decode all images once, so that damaged ones are found now; `bad="skip"` always does. What was found is
            remembered, see `yolo/data/decoded.py`.
        names: class names or a file of them; labels are then indices into them.
        quiet: do not log notes and faults; they are in `index`.
        val: a second path, which holds the validation split.
        holdout: divide a set without a validation split: `val` is this share of it, by a hash of the images' names,
            and `train` the rest. By default a split is all of it.
        said: notes that were logged before.
        allow_empty: images of which none has a label file are meant, although files elsewhere look like labels.
        places: keep `index.place`, the place of every object in the user's files.

    Raises ValueError for faults, an unknown or ambiguous split, class names that are not those of the data.
    """
    # Read the whole split, then take the part that is meant, the classes, the images, and those that can be decoded.
    found = find(Path(path), data_format, val=None if val is None else Path(val), holdout=holdout)
    part = replace(found[chosen_split(found, split, str(path))], allow_empty=allow_empty)
    given = read_names(names) if isinstance(names, (str, Path)) else names
    index = READERS[part.format](part, given, skip_faults=bad == "skip")
    whole = len(index)
    if part.holdout:
        index = index.with_images(np.flatnonzero(held_out(index, part.holdout) == part.held))
    if classes is not None:
        index = index.with_classes(list(dict.fromkeys(chosen(classes, index.names))))
    if limit is not None or fraction is not None:
        index = index.with_images(_subset(len(index), limit, fraction, seed))
    if decode or bad == "skip":
        index = without_damaged(index, skip_faults=bad == "skip")
    # Report what is odd and what was left out.
    if not quiet:
        for note in index.notes:
            if note not in said:
                log.warning("%s", note[:LONGEST])
        if index.faults:
            log.warning("%s", "\n".join([f"{index.omission}:", summary(index.faults, "fault"), *advice(index.turned)]))
    return ImageDataset(index if places else replace(index, place=None), part, whole)


@shortened()
def splits(
    path: str | Path,
    split: str | None = None,
    data_format: Format | None = None,
    *,
    val: str | Path | None = None,
    holdout: float | None = None,
) -> list[str]:
    """Return the names of the splits at `path`, or of the one that `split` means. Arguments and errors: `open_data`."""
    found = find(Path(path), data_format, val=None if val is None else Path(val), holdout=holdout)
    return list(found) if split is None else [chosen_split(found, split, str(path))]


def _subset(images: int, limit: int | None, fraction: float | None, seed: int) -> np.ndarray:
    """Return the indices of a random `fraction` of the first `limit` images, at least one, in ascending order."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}: expected at least 1 image")
    if fraction is not None and not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction}: expected more than 0 and at most 1")
    first = images if limit is None else min(limit, images)
    count = first if fraction is None else max(1, round(first * fraction))
    return np.sort(np.random.default_rng(seed).permutation(first)[:count])
