"""COCO's format: `annotations/instances_SPLIT.json` and the images, or the json file alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yolo.data.check import UncheckedIndex, check
from yolo.data.formats.coco_json import read_annotations
from yolo.data.index import Index
from yolo.names import matched

LOOKED_AT = 20  # number of file names that decide which folder holds the images

PREFIX = "instances_"


def splits(path: Path) -> dict[str, Path]:
    """Return the annotation file of each split by name; empty where `path` is not of this format."""
    if path.suffix.lower() == ".json":
        return {path.stem.removeprefix(PREFIX): path}
    files = sorted((path / "annotations").glob(f"{PREFIX}*.json"))
    return {file.stem.removeprefix(PREFIX): file for file in files}


def read(file: Path, names: Sequence[str] | None, *, skip_faults: bool) -> Index:
    """Return the images and objects of an annotation file.

    Classes are in the order of their ids, or in that of `names`. Raises ValueError for faults of json entries and of
    images, and for a class that `names` lacks.
    """
    given = read_annotations(file, skip_faults=skip_faults)
    own, table = matched(given.names, names, str(file))
    folder = _folder(file, [name for name in given.file_names if name])
    left, top, w, h = given.boxes.T
    return check(
        UncheckedIndex(
            source=file,
            names=own,
            paths=[str(folder / (name or f"(image {number} has no file_name)"))
                   for name, number in zip(given.file_names, given.image_ids.tolist(), strict=True)],
            image_ids=given.image_ids,
            sizes=given.sizes,
            image=given.image,
            labels=np.array(table, dtype=np.int64)[given.label],
            boxes=np.stack((left, top, left + w, top + h), axis=1),
            read=given.boxes,
            area=given.area,
            crowd=given.crowd,
            where=given.where,
            faults=list(given.faults),
        ),
        skip_faults=skip_faults,
    )  # fmt: skip


def _folder(file: Path, names: Sequence[str]) -> Path:
    """Return the folder that the file names are relative to. Raises ValueError, with all that were tried, for none."""
    split = file.stem.removeprefix(PREFIX)
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    tried = [root / "images" / split, root / split, root / "images", root / "JPEGImages", root, file.parent]
    for folder in tried:
        if any((folder / name).is_file() for name in names[:LOOKED_AT]):
            return folder
    raise ValueError(
        f"{file}: its images are not found: {', '.join(names[:3]) or 'no entry has a file_name'}; "
        f"looked in {', '.join(map(str, dict.fromkeys(tried)))}"
    )
