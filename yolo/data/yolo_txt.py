"""The format of darknet and YOLO: a picture's objects are the lines `class cx cy w h` of a text file.

The four numbers are fractions of the picture. A picture without label file is a picture without objects. The labels of
`images/a/b.jpg` are `labels/a/b.txt`; without a folder `images` in its path, the text file is beside the picture.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from yolo.data.classes import agreed
from yolo.data.index import Index, Rows, picture_size
from yolo.data.yolo_layout import Split
from yolo.sources import PICTURES


def read(split: Split, names: Sequence[str] | None, *, skip_faults: bool) -> Index:
    """The pictures and objects of a split. ValueError for faults, and for other names than those beside the data."""
    used = agreed(split.names, names, str(split.source))
    rows = Rows()
    pictures, folders = _pictures(split.places, rows.faults)
    for path in pictures:
        labels = label_file(path)
        text = _text(labels, rows.faults)
        size = (0, 0)
        if text.strip() and path.is_file():
            try:
                size = picture_size(str(path))
            except ValueError as problem:
                rows.faults.append(str(problem))
                continue
        rows.add_picture(str(path), size)
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            try:
                label, fractions = _row(line, used)
            except ValueError as problem:
                rows.faults.append(f"{labels}:{number}: {problem}")
                continue
            cx, cy, w, h = (value * size[k % 2] for k, value in enumerate(fractions))
            rows.add_object(f"{labels}:{number}", label, (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))
    rows.faults += _orphans(pictures, folders)
    return rows.index(split.source, used, skip_faults=skip_faults)


def label_file(picture: Path) -> Path:
    """The text file with the labels of a picture."""
    parts = list(picture.parts)
    for folder in ("images", "JPEGImages"):
        if folder in parts[:-1]:
            last = len(parts) - 2 - parts[-2::-1].index(folder)
            return Path(*parts[:last], "labels", *parts[last + 1 :]).with_suffix(".txt")
    return picture.with_suffix(".txt")


def _pictures(places: Sequence[Path], faults: list[str]) -> tuple[list[Path], set[Path]]:
    """The pictures of folders and of lists of files, and those folders. Order: that of the lists, names in folders."""
    pictures: list[Path] = []
    folders = set()
    for place in places:
        if place.is_dir():
            pictures += sorted(path for path in place.iterdir() if path.suffix.lower() in PICTURES)
            folders.add(place)
        elif place.is_file():
            pictures += _listed(place)
        else:
            faults.append(f"{place}: no such folder and no list of pictures")
    return pictures, folders


def _listed(listing: Path) -> Iterator[Path]:
    """The pictures of a list, a line each. Relative ones start at the list's folder, or at the present one."""
    for line in listing.read_text(encoding="utf-8-sig").splitlines():
        if line.strip():
            beside = listing.parent / line.strip()
            yield beside if beside.exists() or not Path(line.strip()).exists() else Path(line.strip())


def _text(labels: Path, faults: list[str]) -> str:
    """The content of a label file; empty without one."""
    try:
        return labels.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as problem:
        faults.append(f"{labels}: not a text file (byte {problem.start})")
        return ""


def _row(line: str, names: Sequence[str]) -> tuple[int, list[float]]:
    """Class index and cx, cy, w, h of a line. ValueError where it is none."""
    words = line.split()
    expected = f"expected 'class cx cy w h', an integer below {len(names)} and four fractions of the picture"
    if len(words) != 5:
        raise ValueError(f"{len(words)} values in {line.strip()[:80]!r}; {expected}")
    try:
        values = [float(word) for word in words]
    except ValueError as problem:
        raise ValueError(f"{line.strip()!r}: {expected}") from problem
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{line.strip()!r}: not finite; {expected}")
    if values[0] != int(values[0]) or not 0 <= values[0] < len(names):
        raise ValueError(f"class {words[0]}: there are {len(names)} classes; {expected}")
    if min(values[3:]) < 0:
        raise ValueError(f"{line.strip()!r}: the size is negative; {expected}")
    return int(values[0]), values[1:]


def _orphans(pictures: Sequence[Path], folders: set[Path]) -> list[str]:
    """Label files beside those of whole folders of pictures that belong to no picture."""
    known = {str(label_file(path)) for path in pictures}
    faults = []
    for folder in sorted({label_file(folder / "any.jpg").parent for folder in folders}):
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            file = folder / name
            if file.suffix == ".txt" and name != "classes.txt" and str(file) not in known:
                faults.append(f"{file}: labels for no picture; expected one of that name in the folder of pictures")
    return faults
