"""COCO json files as arrays: annotations, checked entry by entry. No torch.

Letters: `I` images, `G` objects, `C` classes, `w, h` width and height in pixels.

Messages name an entry by its place in the file and by its id: `train.json: annotations[17] (id 1234): ...`.
Format: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from yolo.data.index import Fault, summary

Entry = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The content of an annotation file: classes in the order of their ids, images and objects in that of the file.

    A class index is the position in `names`, from 0.
    """

    path: Path
    names: list[str]
    """`[C]` class names."""
    category_ids: list[int]
    """`[C]` ids of the classes in the file, ascending."""
    image_ids: np.ndarray
    """int64 `[I]`."""
    file_names: list[str]
    """`[I]` file names as in the file; empty where an entry has none."""
    sizes: np.ndarray
    """int64 `[I, 2]` w, h in pixels; 0 where an entry does not say."""
    ids: np.ndarray
    """int64 `[G]` ids of the objects."""
    image: np.ndarray
    """int64 `[G]` index of every object's image."""
    label: np.ndarray
    """int64 `[G]` class indices."""
    boxes: np.ndarray
    """float64 `[G, 4]` left, top, w, h in pixels, every digit of the file."""
    area: np.ndarray
    """float64 `[G]` in square pixels: the area of the mask where the file has it, else w·h."""
    crowd: np.ndarray
    """bool `[G]`: the box is of a crowd, which any number of detections may match."""
    faults: list[Fault] = field(default_factory=list)
    """The entries that were left out, each with the image that it belongs to."""


def read_annotations(path: str | Path, *, skip_faults: bool = False) -> Annotations:
    """Read an annotation file of COCO's format.

    Args:
        path: the json file.
        skip_faults: leave bad entries out and list them in `faults`, instead of raising for them.

    Raises ValueError for a file that is not json (with line and column), for a missing list, no images or no classes,
    and for bad entries, with the first ten of them. An entry is bad if it has no id, an id or class name that another
    has, an unknown image or class, or a box that is not four finite numbers or has a negative size.
    """
    path = Path(path)
    content = read_json(path)
    # The three lists, each entry with its place for messages.
    faults: list[Fault] = []
    images, annotations, categories = (
        _entries(path, content, key, faults) for key in ("images", "annotations", "categories")
    )
    images = [place for place in images if not _bad_size(place, faults)]
    categories = sorted(categories, key=lambda place: place[1]["id"])
    names = [str(entry.get("name", f"category {entry['id']}")) for _, entry in categories]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: categories: {', '.join(map(repr, twice))}: more than one has this name; rename them")
    # From ids to indices, and the objects whose image and class exist.
    image_of = {entry["id"]: k for k, (_, entry) in enumerate(images)}
    class_of = {entry["id"]: k for k, (_, entry) in enumerate(categories)}
    objects = []
    for where, entry in annotations:
        fault = _fault(entry, image_of, class_of)
        if fault:
            known = entry.get("image_id")
            faults.append(Fault(f"{where}: {fault}", image_of.get(known) if isinstance(known, int) else None))
        else:
            objects.append(entry)
    if faults and not skip_faults:
        raise ValueError(summary([fault.text for fault in faults], "fault"))
    if not images or not categories:
        raise ValueError(f"{path}: {len(images)} images and {len(categories)} categories; expected at least one each")
    # Everything as arrays; an area that is missing is that of the box.
    boxes = np.array([entry["bbox"] for entry in objects], dtype=np.float64).reshape(-1, 4)
    area = [entry.get("area", w * h) for entry, (w, h) in zip(objects, boxes[:, 2:].tolist(), strict=True)]
    return Annotations(
        path=path,
        names=names,
        category_ids=[entry["id"] for _, entry in categories],
        image_ids=np.array([entry["id"] for _, entry in images], dtype=np.int64),
        file_names=[str(entry.get("file_name", "")) for _, entry in images],
        sizes=np.array([[entry.get(key) or 0 for key in ("width", "height")] for _, entry in images], dtype=np.int64),
        ids=np.array([entry["id"] for entry in objects], dtype=np.int64),
        image=np.array([image_of[entry["image_id"]] for entry in objects], dtype=np.int64),
        label=np.array([class_of[entry["category_id"]] for entry in objects], dtype=np.int64),
        boxes=boxes,
        area=np.array(area, dtype=np.float64),
        crowd=np.array([bool(entry.get("iscrowd", 0)) for entry in objects], dtype=bool),
        faults=faults,
    )


def read_json(path: Path) -> Any:
    """Return the content of a json file. Raises ValueError with line and column, OSError if it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except UnicodeDecodeError as problem:
        raise ValueError(f"{path}: not a text file (byte {problem.start})") from problem
    except json.JSONDecodeError as problem:
        raise ValueError(f"{path}:{problem.lineno}: not json: {problem.msg} at column {problem.colno}") from problem


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number. json's `NaN`, `Infinity` and `true` are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def box_fault(box: Any, *, negative_size: bool = False) -> str:
    """Return what is wrong with an entry's `bbox`; empty if nothing is. A box without area is not a fault.

    `negative_size`: a negative size is not a fault either.
    """
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return f"bbox {box!r}: expected [left, top, width, height], four finite numbers"
    return "" if negative_size or min(box[2:]) >= 0 else f"bbox {box!r}: the size is negative"


def _entries(path: Path, content: Any, key: str, faults: list[Fault]) -> list[tuple[str, Entry]]:
    """Return the entries of a list that have an id of their own, each with its place for messages.

    The other entries become faults. Raises ValueError if the file is not an annotation file.
    """
    if not isinstance(content, dict):
        kind = "a list, like a results file" if isinstance(content, list) else f"a {type(content).__name__}"
        raise ValueError(f"{path}: this json is {kind}; expected an object with images, annotations and categories")
    entries = content.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path}: {key}: expected a list of objects; is this an annotation file of COCO's format?")
    # Without an id of its own nothing can refer to an entry.
    found: list[tuple[str, Entry]] = []
    seen: set[int] = set()
    for k, entry in enumerate(entries):
        number = entry.get("id")
        if not isinstance(number, int) or isinstance(number, bool):
            faults.append(Fault(f"{path}: {key}[{k}]: id {number!r}: expected an integer"))
        elif number in seen:
            faults.append(Fault(f"{path}: {key}[{k}]: another entry has the id {number}"))
        else:
            seen.add(number)
            found.append((f"{path}: {key}[{k}] (id {number})", entry))
    return found


def _bad_size(place: tuple[str, Entry], faults: list[Fault]) -> bool:
    """Return whether width or height of an image are invalid, which becomes a fault. Both may be missing."""
    where, entry = place
    wrong = {key: entry[key] for key in ("width", "height") if entry.get(key) is not None}
    wrong = {key: value for key, value in wrong.items() if type(value) is not int or value < 0}
    faults.extend(Fault(f"{where}: {key} {value!r}: expected a number of pixels") for key, value in wrong.items())
    return bool(wrong)


def _fault(entry: Entry, image_of: dict[int, int], class_of: dict[int, int]) -> str:
    """Return what is wrong with an annotation; empty if nothing is."""
    for key, known in (("image_id", image_of), ("category_id", class_of)):
        value = entry.get(key)
        if not isinstance(value, int) or value not in known:
            return f"{key} {value!r}: no {key.removesuffix('_id')} has this id"
    if "area" in entry and not is_number(entry["area"]):
        return f"area {entry['area']!r}: expected square pixels"
    return box_fault(entry.get("bbox"))
