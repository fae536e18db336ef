"""COCO json files as arrays: annotations, checked entry by entry. No torch.

Letters: `I` images, `G` objects, `C` classes, `w, h` width and height in pixels.

Messages name an entry by its place in the file and by its id: `train.json: annotations[17] (id 1234): ...`. Ids may be
numbers or texts. Those of annotations only serve messages, so they may repeat or be missing.
Format: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from yolo.data.check import LARGEST
from yolo.data.formats.columns import Entry, Ids, column, floats, is_number, whole_number
from yolo.data.index import Fault, summary
from yolo.files.reading import read_bytes, reading
from yolo.files.text import decoded

POLYGONS = re.compile(rb'(?<!\\)"segmentation"\s*:\s*\[(?:\s*\[[\s0-9.eE+,-]*\]\s*,?)*+\s*\]')
"""The polygons of an entry, most of a file's bytes. A quotation mark begins or ends a text unless a backslash is before
it, so the match is a whole key and never a part of a name, and the numbers end with their brackets."""

CROWD = {None: 0, 0: 0, 1: 1, "0": 0, "1": 1}
"""What `iscrowd` may be. false, true, 0.0 and 1.0 are equal to these keys."""

EXPECTED = {
    "image_id": "no image has this id",
    "category_id": "no category has this id",
    "iscrowd": "expected 0 or 1",
    "area": "expected square pixels",
}
"""What is wrong with an annotation's value of this key."""


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The content of an annotation file: classes in the order of their ids, images and objects in that of the file.

    A class index is the position in `names`, from 0.
    """

    path: Path
    names: list[str]
    """`[C]` class names."""
    category_ids: list[int]
    """`[C]` ids of the classes in the file, ascending; 1, 2, ... in the order of the file if one is not a number."""
    image_ids: np.ndarray
    """int64 `[I]`: as in the file; 1, 2, ... if one is not a number. -1 where an id is a fault."""
    image_of: Ids
    """Which image a reference in another file means."""
    file_names: list[str]
    """`[I]` file names as in the file; empty where an entry has none."""
    sizes: np.ndarray
    """int64 `[I, 2]` w, h in pixels; 0 where an entry does not say."""
    places: np.ndarray
    """int64 `[G]` positions of the objects in the list of annotations."""
    ids: np.ndarray
    """int64 `[G]` ids of the objects; -1 where an entry has none that is a number."""
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
    """What is wrong, each with its image. Bad annotations were left out, bad images were not: faults refer to them."""

    def where(self, k: int) -> str:
        """Return the place of object `k` in the file, for messages."""
        number = f" (id {self.ids[k]})" if self.ids[k] >= 0 else ""
        return f"{self.path}: annotations[{self.places[k]}]{number}"


def read_annotations(path: str | Path, *, skip_faults: bool = False) -> Annotations:
    """Read an annotation file of COCO's format.

    Args:
        path: the json file.
        skip_faults: list faults in `faults`, instead of raising for them.

    Raises ValueError for a file that is not json (with line and column), for a missing list, no images or no classes,
    ids or names of classes that are not unique, and for bad entries, with the first ten of them. An image is bad if it
    has no id of its own or an impossible size, an annotation if its image or class is unknown, if its box is not four
    finite numbers or has a negative size, or if its area or `iscrowd` is invalid. Polygons replace a missing box.
    """
    path = Path(path)
    with reading(path, "an annotation file of COCO's format"):
        return _annotations(path, skip_faults=skip_faults)


def _annotations(path: Path, *, skip_faults: bool) -> Annotations:
    """Return the content of an annotation file; see `read_annotations`."""
    faults: list[Fault] = []
    images, annotations, categories = _lists(path, _parsed(path, read_bytes(path), polygons=False))
    if not all(entry.get("bbox") for entry in annotations):  # polygons are needed after all
        images, annotations, categories = _lists(path, read_json(path))
    image_ids, sizes = Ids(path, "images", images, faults), _sizes(path, images, faults)
    names, category_ids = _classes(path, annotations, categories)
    # Column by column, with a value that is found below where an entry has none that is valid.
    image = image_ids.find(column(annotations, "image_id", {int, str, float}))
    label = category_ids.find(column(annotations, "category_id", {int, str, float}))
    crowds = column(annotations, "iscrowd", {int, str, float, bool, NoneType})
    crowd = np.array([CROWD.get(value, -1) for value in crowds], dtype=np.int8)
    boxes = floats(list(chain.from_iterable(map(box_of, annotations)))).reshape(-1, 4)
    area = floats(areas := [entry.get("area") for entry in annotations])
    wrong = {
        "image_id": image < 0,
        "category_id": label < 0,
        "iscrowd": crowd < 0,
        "area": ~(np.abs(area) <= LARGEST**2) & np.array([value is not None for value in areas], dtype=bool),
        "bbox": ~(np.abs(boxes) <= LARGEST).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1),
    }
    bad = np.any(list(wrong.values()), axis=0)
    for k in np.flatnonzero(bad).tolist():
        key = next(key for key in wrong if wrong[key][k])
        value = annotations[k].get(key)
        problem = f"{key} {value!r}: {EXPECTED[key]}" if key in EXPECTED else box_fault(value)
        faults.append(Fault(f"{_place(path, 'annotations', k, annotations[k])}: {problem}", _known(image[k])))
    if faults and not skip_faults:
        raise ValueError(summary([fault.text for fault in faults], "fault"))
    if not images or not names:
        raise ValueError(f"{path}: {len(images)} images and {len(names)} categories; expected at least one each")
    numbers = [whole_number(entry.get("id")) for entry in annotations]
    boxes, area = boxes[~bad], area[~bad]
    return Annotations(
        path=path,
        names=names,
        category_ids=category_ids.numbers.tolist(),
        image_ids=image_ids.numbers,
        image_of=image_ids,
        file_names=[str(entry.get("file_name") or "") for entry in images],
        sizes=sizes,
        places=np.flatnonzero(~bad),
        ids=np.array([-1 if number is None else number for number in numbers], dtype=np.int64)[~bad],
        image=image[~bad],
        label=label[~bad],
        boxes=boxes,
        area=np.where(np.isnan(area), boxes[:, 2] * boxes[:, 3], area),
        crowd=crowd[~bad] > 0,
        faults=faults,
    )


def read_json(path: Path) -> Any:
    """Return the content of a json file. Raises ValueError with line and column, OSError if it cannot be read."""
    return _parsed(path, read_bytes(path))


def box_fault(box: Any, *, negative_size: bool = False) -> str:
    """Return what is wrong with an entry's `bbox`; empty if nothing is. A box without area is not a fault.

    `negative_size`: a negative size is not a fault either.
    """
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return f"bbox {box!r}: expected [left, top, width, height], four finite numbers"
    if max(map(abs, box)) > LARGEST:
        return f"bbox {box!r}: expected pixels, at most {LARGEST:g}"
    return "" if negative_size or min(box[2:]) >= 0 else f"bbox {box!r}: the size is negative"


def _parsed(path: Path, data: bytes, *, polygons: bool = True) -> Any:
    """Return the content of json bytes, on request without polygons (their place holds 0). Raises as `read_json`."""
    data = data if polygons else POLYGONS.sub(b'"segmentation":0', data)
    text = data if data.isascii() else decoded(data, path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as problem:
        if not polygons:  # lines and columns are those of the whole file
            return read_json(path)
        raise ValueError(f"{path}:{problem.lineno}: not json: {problem.msg} at column {problem.colno}") from problem
    except (RecursionError, ValueError) as problem:  # brackets without end, or a number of thousands of digits
        raise ValueError(f"{path}: not json that can be read: {problem}") from None


def _lists(path: Path, content: Any) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """Return images, annotations and categories. Raises ValueError if the file is not an annotation file."""
    if not isinstance(content, dict):
        kind = "a list, like a results file" if isinstance(content, list) else f"a {type(content).__name__}"
        raise ValueError(f"{path}: this json is {kind}; expected an object with images, annotations and categories")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list) or not set(map(type, content[key])) <= {dict}:
            raise ValueError(f"{path}: {key}: expected a list of objects; is this an annotation file of COCO's format?")
    return content["images"], content["annotations"], content["categories"]


def _classes(path: Path, annotations: list[Entry], categories: list[Entry]) -> tuple[list[str], Ids]:
    """Return the names and the ids of the classes, in the order of the ids.

    Raises ValueError for ids and names that are not unique.
    """
    used = set(column(annotations, "category_id", {int, str, float}))
    spare = {id(group) for group in groups(categories) if type(group.get("id")) in (int, str, float)}
    categories = [entry for entry in categories if id(entry) not in spare or entry["id"] in used]
    numbers = [whole_number(entry.get("id")) for entry in categories]
    if None not in numbers:
        categories = sorted(categories, key=lambda entry: whole_number(entry.get("id")) or 0)
    faults: list[Fault] = []
    ids = Ids(path, "categories", categories, faults)
    if faults:
        raise ValueError(summary([fault.text for fault in faults], "fault"))
    names = [str(entry.get("name") or f"category {entry['id']}") for entry in categories]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: categories: {', '.join(map(repr, twice))}: more than one has this name; rename them")
    return names, ids


def groups(categories: list[Entry]) -> list[Entry]:
    """Return the categories that only group others: Roboflow's category 0, also where a class has its name."""
    names, above = (
        Counter(text for entry in categories if isinstance(text := entry.get(key), str))
        for key in ("name", "supercategory")
    )
    found = []
    for entry in categories:
        name = entry.get("name")
        if isinstance(name, str) and above[name] and (own := entry.get("supercategory")) in (None, "", "none"):
            within = above[name] - (own == name)
            every = within == len(categories) - 1
            found += [entry] if within and (names[name] > 1 or (every and entry.get("id") == 0)) else []
    return found


def _sizes(path: Path, images: list[Entry], faults: list[Fault]) -> np.ndarray:
    """Return w, h of the images, int64 `[I, 2]`, 0 where an entry does not say. Impossible ones become faults."""
    sizes = np.zeros((len(images), 2), dtype=np.int64)
    for k, entry in enumerate(images):
        for side, key in enumerate(("width", "height")):
            value = entry.get(key)
            number = 0 if value is None else whole_number(value)
            if number is None or not 0 <= number <= LARGEST:
                where = _place(path, "images", k, entry)
                faults.append(Fault(f"{where}: {key} {value!r}: expected a number of pixels", k))
            else:
                sizes[k, side] = number
    return sizes


def box_of(entry: Entry) -> list[Any] | tuple[float, ...]:
    """Return the four values of an entry's box, or of the box around its polygons; NaN where it has neither."""
    box = entry.get("bbox")
    if type(box) is list and len(box) == 4:
        return box
    polygons = entry.get("segmentation")
    if not box and type(polygons) is list:
        values = list(chain.from_iterable(part if type(part) is list else [part] for part in polygons))
        if len(values) >= 6 and len(values) % 2 == 0 and all(map(is_number, values)):
            left, top = min(values[::2]), min(values[1::2])
            return left, top, max(values[::2]) - left, max(values[1::2]) - top
    return (math.nan,) * 4


def _place(path: Path, key: str, k: int, entry: Entry) -> str:
    number = f" (id {entry['id']})" if entry.get("id") is not None else ""
    return f"{path}: {key}[{k}]{number}"


def _known(index: np.integer) -> int | None:
    return int(index) if index >= 0 else None
