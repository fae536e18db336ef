"""COCO's format: a json file and the folders where its images may be."""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from yolo.data.check import UncheckedIndex, check
from yolo.data.formats.coco_json import Annotations, groups, read_annotations
from yolo.data.formats.columns import whole_number
from yolo.data.index import Index
from yolo.data.part import Part
from yolo.data.paths import locate
from yolo.data.split_names import kind
from yolo.files.reading import open_regular
from yolo.names import class_index, matched

WINDOW = 2**22  # bytes that hold the categories of nearly every file


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

    A category that only groups the others and has no objects in any split is not a class: Roboflow writes one.
    """
    own, known = list(zip(given.category_ids, given.names, strict=True)), set(given.category_ids)
    notes = [
        f"{given.path}: category {entry['id']}, {entry.get('name')}, only groups the others: it is not a class"
        for entry in _categories(given.path)
        if whole_number(entry["id"]) not in known
    ]
    # The classes for training come first where ids do not decide.
    files = sorted({*part.every, given.path}, key=lambda file: (not _is_for_training(file), file))
    tables = {file: own if file == given.path else _others(file) for file in files}
    pairs = dict.fromkeys(pair for table in tables.values() for pair in table)
    names = list(dict.fromkeys(name for _, name in pairs))
    if len({number for number, _ in pairs}) == len(names) == len(pairs):
        names = [name for _, name in sorted(pairs)]
    for file, table in tables.items():
        there = {name for _, name in table}
        lacking = [name for name in names if name not in there]
        if lacking and table:
            few = f"{len(table)} of the {len(names)} classes of all splits"
            notes.append(f"{file} lists {few}, without {', '.join(lacking)}")
    return names, notes


def _is_for_training(file: Path) -> bool:
    return any(kind(word) == "train" for word in re.split(r"[^0-9A-Za-z]+", f"{file.parent.name} {file.stem}"))


def _others(file: Path) -> list[tuple[int, str]]:
    """Return ids and names of the classes of another split, without reading all of its file."""
    entries = _categories(file)
    spare = {id(entry) for entry in groups(entries)}
    used = _used(file) if spare else set()
    return [
        (number, str(entry.get("name") or f"category {entry['id']}"))
        for entry in entries
        if (number := whole_number(entry["id"])) is not None and (id(entry) not in spare or number in used)
    ]


def _categories(file: Path) -> list[dict[str, Any]]:
    """Return the entries of the categories of a json file without reading the rest; none for a file without them."""
    with _bytes_of(file) as data:
        found = data.rfind(b'"categories"')
        start = data.find(b"[", found)
        for size in (WINDOW, len(data)) if min(found, start) >= 0 else ():
            text = bytes(data[start : start + size]).decode("utf-8", errors="replace")
            with suppress(ValueError, RecursionError):
                entries = json.JSONDecoder().raw_decode(text)[0]
                return [entry for entry in entries if isinstance(entry, dict) and "id" in entry]
    return []


def _used(file: Path) -> set[int]:
    """Return the categories with an object in a json file, without reading it as json."""
    with _bytes_of(file) as data:
        return {
            int(found[1]) for found in re.finditer(rb'"category_id"\s*:\s*"?(-?[0-9]{1,18})(?:\.0)?"?\s*[,}]', data)
        }


@contextmanager
def _bytes_of(file: Path) -> Iterator[mmap.mmap | bytes]:
    """Yield the bytes of a file, read as they are needed; none for a file that cannot be read."""
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open_regular(file))
            data: mmap.mmap | bytes = stack.enter_context(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError):
            data = b""
        yield data
