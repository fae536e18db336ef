"""A results file in COCO's format against an annotation file. Images and classes are matched by name. No torch.

Letters: `D` detections.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from yolo.data.formats.coco_json import Annotations, box_fault, read_json
from yolo.data.formats.columns import column, is_number
from yolo.data.index import summary
from yolo.files.reading import reading
from yolo.names import class_index

log = logging.getLogger("yolo")

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Results:
    """The detections of a results file, in its order.

    `image` int64 `[D]` image index in the annotations, `label` int64 `[D]` class index there, `boxes` float64 `[D, 4]`
    left, top, width, height in pixels, `scores` float64 `[D]`.
    """

    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray


def read_results(path: str | Path, annotations: Annotations, names: Sequence[str] | None = None) -> Results:
    """Return the detections of a results file, `[{"image_id", "category_id", "bbox", "score"}, ...]`.

    Args:
        path: the json file. Rows may contain `file_name` and `category_name`, as those of this program do. The names
            then decide, because numbers differ between data sets (80 or 91 ids, from 0 or from 1).
        annotations: the images and classes that the rows refer to.
        names: class names for rows without them: `category_id` is then an index into `names`, from 0.

    Raises:
        ValueError: The file holds no list, or has invalid rows. Or the annotations lack images or classes: each is
            listed once.
    """
    path = Path(path)
    with reading(path, "a results file of COCO's format"):
        return _results(path, annotations, names)


def _results(path: Path, annotations: Annotations, names: Sequence[str] | None) -> Results:
    """Return the detections of a results file; see `read_results`."""
    rows = read_json(path)
    if not isinstance(rows, list):
        raise ValueError(
            f"{path}: expected a list of detections, got a {type(rows).__name__}; is it an annotation file?"
        )
    faults = [f"{path}: row {k}: {fault}" for k, row in enumerate(rows) if (fault := _fault(row))]
    if faults:
        raise ValueError(summary(faults, "row"))

    image, contradictions = _find_images(rows, annotations)
    label = _find_classes(rows, annotations, names)
    unknown = _unknown_images(rows, image, annotations) + _unknown_classes(rows, label, annotations, names)
    if unknown:
        raise ValueError("\n".join(f"{path}: {message}" for message in unknown))
    if contradictions:
        log.warning(
            "%s: %d rows have the image_id of another image than their file_name; the file name counts",
            path, contradictions,
        )  # fmt: skip
    return Results(
        image=np.array(image, dtype=np.int64),
        label=np.array(label, dtype=np.int64),
        boxes=np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4),
        scores=np.array([row["score"] for row in rows], dtype=np.float64),
    )


def _fault(row: Any) -> str:
    """Return what is wrong with a row, or an empty text. A box of negative size is valid: a detection without area."""
    if not isinstance(row, dict):
        return f"expected an object, got {row!r}"
    if "image_id" not in row or not ("category_id" in row or "category_name" in row):
        return f"image_id and category_id are needed, got the keys {', '.join(row)}"
    if not is_number(row.get("score")):
        return f"score {row.get('score')!r}: expected a finite number"
    return box_fault(row.get("bbox"), negative_size=True)


def _find_images(rows: list[Row], annotations: Annotations) -> tuple[list[int | None], int]:
    """Return the image index of each row, None if unknown, and the number of rows whose id and name disagree."""
    # An image is found by its whole name and by the last part of it. None: two images have this name.
    names: dict[str, int | None] = {}
    for k, name in enumerate(annotations.file_names):
        for part in {name, PurePosixPath(name).name} - {""}:
            names[part] = None if part in names else k

    def by_name(name: Any) -> int | None:
        return names.get(name) if isinstance(name, str) else None

    found: list[int | None] = []
    contradictions = 0
    ids = annotations.image_of.find(column(rows, "image_id", {int, str, float})).tolist()
    for row, k in zip(rows, ids, strict=True):
        by_id = k if k >= 0 else by_name(row["image_id"])
        by_file = by_name(row.get("file_name"))
        # The name decides where there is one.
        found.append(by_id if by_file is None else by_file)
        contradictions += None not in (by_id, by_file) and by_id != by_file
    return found, contradictions


def _unknown_images(rows: list[Row], image: list[int | None], annotations: Annotations) -> list[str]:
    """Return a message that lists the images that were not found; empty if all were."""
    missing = list(dict.fromkeys(repr(row["image_id"]) for row, k in zip(rows, image, strict=True) if k is None))
    return [f"{len(missing)} images are not in {annotations.path}: {_first(missing)}"] if missing else []


def _find_classes(rows: list[Row], annotations: Annotations, names: Sequence[str] | None) -> list[int | None]:
    """Return the class index of each row, None if unknown. Each class is looked up once."""
    keys = [_class_key(row) for row in rows]
    index = {key: _class_index(key, annotations, names) for key in dict.fromkeys(keys)}
    return [index[key] for key in keys]


def _class_key(row: Row) -> Any:
    """Return what a row calls its class: a name or a number. Anything else becomes a text for the message."""
    key = row.get("category_name", row.get("category_id"))
    return repr(key) if isinstance(key, (list, dict)) else key


def _class_index(key: Any, annotations: Annotations, names: Sequence[str] | None) -> int | None:
    """Return the class index of a name, of an index into `names`, or of a category id; None if unknown."""
    if type(key) is int and names is not None:
        key = names[key] if 0 <= key < len(names) else None
    if type(key) is int:
        return annotations.category_ids.index(key) if key in annotations.category_ids else None
    return class_index(key, annotations.names) if isinstance(key, str) else None


def _unknown_classes(
    rows: list[Row], label: list[int | None], annotations: Annotations, names: Sequence[str] | None
) -> list[str]:
    """Return a message that lists the classes that were not found; empty if all were."""
    missing = list(dict.fromkeys(_class_key(row) for row, c in zip(rows, label, strict=True) if c is None))
    if not missing:
        return []
    pairs = [f"{number} {name}" for number, name in zip(annotations.category_ids, annotations.names, strict=True)]
    known = f"are not in {annotations.path}, which has {_first(pairs)}"
    if not names and not any(isinstance(key, str) for key in missing):
        known += "; if they count the lines of a names file from 0, give it with --names"
    return [f"classes {_first([repr(key) for key in missing])} {known}"]


def _first(words: Sequence[str], limit: int = 20) -> str:
    """Return the first words, and how many more there are."""
    return ", ".join(words[:limit]) + (f" and {len(words) - limit} more" if len(words) > limit else "")
