"""Class names: `.names` files, and COCO's own 80."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger("yolo")

# fmt: off
COCO: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""The 80 categories of COCO 2017 in the order of their ids, in COCO's spelling."""


def read_names(path: str | Path) -> list[str]:
    """A darknet `.names` file: one class name per line, line number - 1 is the class index.

    Empty lines at the end do not count; one in between is an error, since it would shift the indices.
    """
    path = Path(path)
    lines = [line.strip() for line in path.read_bytes().decode("utf-8-sig").splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        number = lines.index("") + 1
        raise ValueError(f"{path}:{number}: an empty line between names would shift the class indices; remove it")
    if not lines:
        raise ValueError(f"{path}: no names; expected one class name per line")
    return lines


def class_names(names: Sequence[str] | str | Path | None, classes: int) -> list[str]:
    """The names of `classes` classes: as given (a list, or a `.names` file), or assumed, which is said aloud.

    Without names, 80 classes are COCO's; any other number are called `class 0`, `class 1`, ...
    Raises ValueError when the number of names is not `classes`.
    """
    if names is None:
        if classes == len(COCO):
            log.warning("no class names were given: 80 classes are taken for COCO's, person to toothbrush")
            return list(COCO)
        return [f"class {k}" for k in range(classes)]
    found = read_names(names) if isinstance(names, (str, Path)) else [str(name) for name in names]
    if len(found) != classes:
        source = f"{names}: " if isinstance(names, (str, Path)) else ""
        raise ValueError(f"{source}{len(found)} class names for a network of {classes} classes; give one per class")
    return found
