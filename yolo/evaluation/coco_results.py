"""A results file of COCO's format against an annotation file: images and classes are matched by name. No torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from yolo.data.formats.coco_json import Annotations, box_fault, is_number, read_json
from yolo.data.index import summary
from yolo.names import class_index

log = logging.getLogger("yolo")


@dataclass(frozen=True, kw_only=True)
class Results:
    """Detections `[D]` in the order of the file: `image` int64, the index of the image in the annotations, `label`
    int64, class index there, `boxes` float64 `[D, 4]` left, top, width, height in pixels, `scores` float64."""

    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray


def read_results(path: str | Path, annotations: Annotations, names: Sequence[str] | None = None) -> Results:
    """The detections of a results file, `[{"image_id", "category_id", "bbox", "score"}, ...]`.

    Args:
        path: the json file. Rows may say `file_name` and `category_name`, as those of this program do; these then
            decide, and not the numbers, which differ between data sets (80 or 91 ids, from 0 or from 1).
        annotations: the images and classes that the rows are about.
        names: class names where the rows have none: `category_id` is then an index into them, from 0.

    Raises ValueError: no list, rows that are none, and images or classes that the annotations do not have, each of
    them once.
    """
    path = Path(path)
    rows = read_json(path)
    if not isinstance(rows, list):
        raise ValueError(
            f"{path}: expected a list of detections, got a {type(rows).__name__}; is it an annotation file?"
        )
    images, classes = _ImageTable(annotations), _Classes(annotations, names)
    faults = [f"{path}: row {k}: {fault}" for k, row in enumerate(rows) if (fault := _fault(row))]
    if faults:
        raise ValueError(summary(faults, "row"))
    image = [images.find(row) for row in rows]
    label = [classes.find(row) for row in rows]
    unknown = [*images.unknown(), *classes.unknown()]
    if unknown:
        raise ValueError("\n".join(f"{path}: {message}" for message in unknown))
    if images.contradictions:
        log.warning(
            "%s: %d rows have the image_id of another image than their file_name; the file name counts",
            path, images.contradictions,
        )  # fmt: skip
    return Results(
        image=np.array(image, dtype=np.int64),
        label=np.array(label, dtype=np.int64),
        boxes=np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4),
        scores=np.array([row["score"] for row in rows], dtype=np.float64),
    )


def _fault(row: Any) -> str:
    """What is wrong with a row; empty if nothing is. A box of negative size has no area, but is a detection."""
    if not isinstance(row, dict):
        return f"expected an object, got {row!r}"
    if "image_id" not in row or not ("category_id" in row or "category_name" in row):
        return f"image_id and category_id are needed, got the keys {', '.join(row)}"
    if not is_number(row.get("score")):
        return f"score {row.get('score')!r}: expected a finite number"
    fault = box_fault(row.get("bbox"))
    return "" if fault.endswith("negative") else fault


class _ImageTable:
    """Finds the image of a row, and remembers those that are not there."""

    def __init__(self, annotations: Annotations) -> None:
        self.annotations = annotations
        self.by_id = {number: k for k, number in enumerate(annotations.image_ids.tolist())}
        self.by_name: dict[str, int | None] = {}
        for k, name in enumerate(annotations.file_names):
            for part in {name, PurePosixPath(name).name} - {""}:
                self.by_name[part] = None if part in self.by_name else k  # None: two images have this name
        self.missing: dict[str, None] = {}
        self.contradictions = 0

    def find(self, row: dict[str, Any]) -> int:
        """Index of the image; -1 if there is none."""
        number, name = row["image_id"], row.get("file_name")
        by_id = self.by_id.get(number) if isinstance(number, int) else self.by_name.get(number)
        by_name = self.by_name.get(name) if isinstance(name, str) else None
        if by_name is not None:
            self.contradictions += by_id is not None and by_id != by_name
            return by_name
        if by_id is None:
            self.missing[repr(number)] = None
        return -1 if by_id is None else by_id

    def unknown(self) -> list[str]:
        """A message that lists the images that were not found; none if all were."""
        if not self.missing:
            return []
        return [f"{len(self.missing)} images are not in {self.annotations.path}: {_first(list(self.missing))}"]


class _Classes:
    """Finds the class of a row, and remembers those that are not there."""

    def __init__(self, annotations: Annotations, names: Sequence[str] | None) -> None:
        self.annotations, self.names = annotations, names
        self.cache: dict[Any, int | None] = {}

    def find(self, row: dict[str, Any]) -> int:
        """Class index; -1 if there is none."""
        key = row.get("category_name", row.get("category_id"))
        if isinstance(key, (list, dict)):
            key = repr(key)
        if key not in self.cache:
            self.cache[key] = self._look_up(key)
        found = self.cache[key]
        return -1 if found is None else found

    def _look_up(self, key: Any) -> int | None:
        own = self.annotations
        if isinstance(key, int) and self.names is not None:
            key = self.names[key] if 0 <= key < len(self.names) else None
        if isinstance(key, int):
            return own.category_ids.index(key) if key in own.category_ids else None
        return class_index(key, own.names) if isinstance(key, str) else None

    def unknown(self) -> list[str]:
        """A message that lists the classes that were not found; none if all were."""
        missing = [key for key, found in self.cache.items() if found is None]
        if not missing:
            return []
        own = self.annotations
        pairs = [f"{number} {name}" for number, name in zip(own.category_ids, own.names, strict=True)]
        remedy = "" if self.names or any(isinstance(key, str) for key in missing) else (
            "; if they count the lines of a names file from 0, give it with --names"
        )  # fmt: skip
        return [
            f"classes {_first([repr(key) for key in missing])} are not in {own.path}, which has {_first(pairs)}{remedy}"
        ]


def _first(words: Sequence[str], limit: int = 20) -> str:
    return ", ".join(words[:limit]) + (f" and {len(words) - limit} more" if len(words) > limit else "")
