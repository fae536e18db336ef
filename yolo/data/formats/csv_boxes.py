"""A csv file of boxes, one row per object: `file,class,x1,y1,x2,y2`, in pixels that count from 0.

Files are relative to the folder of the csv file, or absolute. An image without objects is a row with a file only. Other
columns are ignored but for `crowd`, 1 for a group of objects. The classes are those of the files of all splits in
alphabetical order.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from yolo.data.check import Rows
from yolo.data.index import Index
from yolo.data.part import Part
from yolo.data.paths import locate
from yolo.files.atomic import replacing
from yolo.files.harmless import csv_lines, uncell
from yolo.files.reading import reading
from yolo.files.text import read_text
from yolo.names import matched

CROWD = {"": False, "0": False, "1": True}
"""What the column `crowd` may hold."""

COLUMNS = ("file", "class", "x1", "y1", "x2", "y2")

MORE = "more values than columns"

Row = dict[str, str]


def write(file: Path, index: Index) -> None:
    """Write the boxes of an index, those inside the images, with every digit. `crowd` is a column if there are crowds.

    An image that the index has more than once is written once. Raises OSError if the file cannot be written.
    """
    folder, seen = Path(os.path.abspath(file.parent)), set[Path]()
    more = ("crowd",) if index.crowd.any() else ()
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        stream.write(csv_lines([(*COLUMNS, *more)]))
        for k in range(len(index)):
            path, objects = Path(os.path.abspath(index.path(k))), range(index.offsets[k], index.offsets[k + 1])
            name = str(path.relative_to(folder) if path.is_relative_to(folder) else path)
            found = [(index.names[index.labels[n]], *index.boxes[n].tolist(), int(index.crowd[n])) for n in objects]
            if path not in seen:
                stream.write(csv_lines((name, *values[: 5 + len(more)]) for values in found or [("",) * 6]))
            seen.add(path)


def read(part: Part, names: Sequence[str] | None, *, skip_faults: bool) -> Index:
    """Return the images and objects of a split, images in the order of their first rows.

    Raises ValueError for faults, for a missing column, and for a class that `names` lacks.
    """
    tables: dict[Path, list[tuple[str, Row]]] = {}
    for file in part.every:
        with reading(file, "a csv file of boxes"):
            tables[file] = _rows(file)
    own = sorted({row["class"] for table in tables.values() for _, row in table} - {""})
    used, labels = matched(own, names, ", ".join(map(str, part.every)))
    label_of = dict(zip(own, labels, strict=True))
    images: dict[str, list[tuple[str, Row]]] = {}
    for place, row in tables[part.source]:
        images.setdefault(row["file"], []).append((place, row))
    paths, notes = locate(list(images), [part.root], part.root, part.source, part.split)
    rows = Rows()
    for path, objects in zip(paths, images.values(), strict=True):
        rows.add_image(path)
        for place, row in objects:
            if any(row[name] for name in COLUMNS[1:]):
                _add_object(rows, place, row, label_of)
    index = rows.index(part.source, used, skip_faults=skip_faults)
    return replace(index, notes=[*part.notes, *notes, *index.notes])


def _add_object(rows: Rows, place: str, row: Row, label_of: dict[str, int]) -> None:
    """Add the object of a row, or what is wrong with it."""
    try:
        x1, y1, x2, y2 = (float(row[name]) for name in COLUMNS[2:])
        usable = (
            bool(row["class"])
            and not re.search(r"\d", row.get(MORE, ""))  # 1,5 for 1.5 moves all that follow
            and row.get("crowd", "") in CROWD
            and all(map(math.isfinite, (x1, y1, x2, y2)))
            and x1 <= x2
            and y1 <= y2
        )
    except ValueError:
        usable = False
    if usable:
        rows.add_object(place, label_of[row["class"]], (x1, y1, x2, y2), CROWD[row.get("crowd", "")])
    else:
        values = ",".join(row[name] for name in (*COLUMNS[1:], "crowd", MORE) if name in row)[:200]
        rows.add_fault(f"{place}: {values}: expected a class and four numbers, x1 <= x2 and y1 <= y2, and crowd 0 or 1")


def _rows(file: Path) -> list[tuple[str, Row]]:
    """Return the rows of a file with their places. Raises ValueError if a column or the name of a file is missing."""
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""), restkey=MORE, restval="")
    try:
        lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if lacking:
            raise ValueError(f"{file}: no column {', '.join(lacking)}; the first line must be {','.join(COLUMNS)}")
        found = [
            (f"{file}:{reader.line_num}", {key: uncell("".join(text).strip()) for key, text in row.items() if key})
            for row in reader
        ]
    except csv.Error as problem:
        raise ValueError(f"{file}:{reader.line_num}: {problem}") from problem
    if nameless := next((place for place, row in found if not row["file"]), ""):
        raise ValueError(f"{nameless}: the file is empty; expected the path of an image")
    return found
