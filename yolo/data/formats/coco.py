"""COCO's format: a json file and the folders where its images may be."""

from __future__ import annotations

import json
import mmap
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yolo.data.check import UncheckedIndex, check
from yolo.data.formats.coco_json import Annotations, read_annotations
from yolo.data.index import Index
from yolo.data.part import Part
from yolo.data.paths import locate
from yolo.data.split_names import kind
from yolo.names import class_index, matched

NO_GROUP = ("", "none", "null")  # the supercategory of a category that is in no group

WINDOW = 2**22  # bytes that hold the categories of nearly every file


class Category(NamedTuple):
    """A category as a json file lists it."""

    id: int | str
    name: str
    group: str
    """Its supercategory."""


def read(part: Part, names: Sequence[str] | None, *, skip_faults: bool) -> Index:
    """Return the images and objects of a json file.

    Classes are those of all splits in the order of their ids, or `names`. Raises ValueError for faults of json entries
    and of images, and for a class with objects that `names` lacks.
    """
    (place,) = part.places
    file = place.labels
    assert file is not None, "a place of this format has a json file"
    given = read_annotations(file, skip_faults=skip_faults)
    own, notes = _classes(part, given)
    if names is not None:  # a class without objects here may be missing from them
        used = {given.names[label] for label in np.unique(given.label)}
        own = [name for name in own if name in used or class_index(name, names) is not None]
    classes, table = matched(own, names, str(file))
    label_of = dict(zip(own, table, strict=True))
    paths, moved = locate(given.file_names, place.images, part.root, file, part.split)
    left, top, w, h = given.boxes.T
    index = check(
        UncheckedIndex(
            source=file,
            names=classes,
            paths=[path if name else f"{place.images[-1]}/(image {number} has no file_name)"
                   for path, name, number in zip(paths, given.file_names, given.image_ids.tolist(), strict=True)],
            image_ids=given.image_ids,
            sizes=given.sizes,
            image=given.image,
            labels=np.array([label_of.get(name, -1) for name in given.names], dtype=np.int64)[given.label],
            boxes=np.stack((left, top, left + w, top + h), axis=1),
            read=given.boxes,
            area=given.area,
            crowd=given.crowd,
            where=given.where,
            faults=list(given.faults),
        ),
        skip_faults=skip_faults,
    )  # fmt: skip
    return replace(index, notes=[*part.notes, *notes, *moved, *index.notes])


def is_coco(file: Path) -> bool:
    """Return whether a json file has the lists of COCO's format, without reading it as json."""
    with _bytes_of(file) as data:
        return data.find(b'"images"') >= 0 and data.find(b'"annotations"') >= 0


def _classes(part: Part, given: Annotations) -> tuple[list[str], list[str]]:
    """Return the class names of all splits, and what is worth saying about them.

    A category without objects in any split that only groups the others is not a class: Roboflow writes one with id 0.
    Raises ValueError if two classes of the file have one name.
    """
    files = sorted(part.every or (given.path,), key=lambda file: kind(file.stem) != "train")
    tables = {file: categories(file) for file in files}
    own = [Category(*pair, "") for pair in zip(given.category_ids, given.names, strict=True)]
    if [category[:2] for category in sorted(tables[given.path], key=lambda c: str(c.id))] != sorted(
        (category[:2] for category in own), key=lambda c: str(c[0])
    ):
        tables[given.path] = own
    groups = {group for table in tables.values() for group in _groups(table)}
    with_objects = {given.category_ids[label] for label in np.unique(given.label)}
    groups = {
        group
        for group in groups
        if group.id not in with_objects and not any(_has_object(file, group.id) for file in files if file != given.path)
    }
    notes = [
        f"{part.source}: {group.name}, id {group.id}, only groups the other categories: not a class" for group in groups
    ]
    tables = {file: [category for category in table if category not in groups] for file, table in tables.items()}
    twice = [name for name, count in Counter(c.name for c in tables[given.path]).items() if count > 1]
    if twice:
        raise ValueError(
            f"{given.path}: categories: {', '.join(map(repr, twice))}: more than one has this name; rename them"
        )
    # By id where an id means one name in all files, else as they come.
    pairs = dict.fromkeys(category[:2] for table in tables.values() for category in table)
    ids, names = [number for number, _ in pairs], list(dict.fromkeys(name for _, name in pairs))
    if len(set(ids)) == len(names) == len(pairs) and all(isinstance(number, int) for number in ids):
        names = [name for _, name in sorted(pairs)]
    for file, table in tables.items():
        lacking = set(names) - {category.name for category in table}
        if lacking and table:
            listed = ", ".join(name for name in names if name in lacking)
            notes.append(f"{file} lists {len(table)} of the {len(names)} classes of all splits, without {listed}")
    return names, notes


def _groups(table: Sequence[Category]) -> list[Category]:
    """Return the categories that are in no group and give theirs to others."""
    return [
        category
        for category in table
        if category.group.casefold() in NO_GROUP
        and any(other.group == category.name for other in table if other is not category)
    ]


def categories(file: Path) -> list[Category]:
    """Return the categories of a json file, without reading the rest of it; empty for a file without them."""
    with _bytes_of(file) as data:
        found = data.rfind(b'"categories"')
        start = data.find(b"[", found)
        for size in (WINDOW, len(data)):
            text = bytes(data[start : start + size]).decode("utf-8", errors="replace")
            try:
                entries = json.JSONDecoder().raw_decode(text)[0] if min(found, start) >= 0 else []
            except json.JSONDecodeError:
                continue
            return [_category(entry) for entry in entries if isinstance(entry, dict) and "id" in entry]
    return []


def _category(entry: dict[str, Any]) -> Category:
    number = str(entry["id"])
    group = entry.get("supercategory")
    key = int(number) if number.isdecimal() else number
    return Category(key, str(entry.get("name", f"category {number}")), "" if group is None else str(group))


def _has_object(file: Path, category: int | str) -> bool:
    """Return whether a json file has an object of a category, without reading it as json."""
    with _bytes_of(file) as data:
        return (
            re.search(rb'"category_id"\s*:\s*"?%s(\.0)?"?\s*[,}]' % re.escape(str(category)).encode(), data) is not None
        )


@contextmanager
def _bytes_of(file: Path) -> Iterator[mmap.mmap | bytes]:
    """Yield the bytes of a file, read as they are needed; none for a file that cannot be read."""
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(file.open("rb"))
            data: mmap.mmap | bytes = stack.enter_context(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError):
            data = b""
        yield data
