"""The format of darknet and YOLO: an image's objects are the lines `class cx cy w h` of a text file.

The four numbers are fractions of the image. An image without label file is an image without objects. The labels of
`images/a/b.jpg` are `labels/a/b.txt`; without a folder `images` in its path, the text file is beside the image.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yolo.data.index import Index, Rows, image_size
from yolo.images.files import IMAGE_SUFFIXES
from yolo.names import agreed, read_names
from yolo.options.yaml_file import yaml_errors

ALL = "all"

SPLITS = ("train", "val", "valid", "test")


@dataclass(frozen=True)
class Split:
    """A split: folders of images or lists of them, the class names if there are any, and the source for messages."""

    source: Path
    places: tuple[Path, ...]
    names: list[str] | None


def splits(path: Path) -> dict[str, Split]:
    """Return the splits by name; empty where `path` is not of this format. Raises ValueError for a bad description."""
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(path)
    if path.suffix.lower() == ".data":
        return _from_data(path)
    # A folder: its data.yaml if there is one, else its folders of images.
    described = path / "data.yaml"
    if described.is_file():
        return _from_yaml(described)
    images = path / "images"
    if not images.is_dir() or not ((path / "labels").is_dir() or _names_file(path)):
        return {}
    file = _names_file(path)
    names = read_names(file) if file else None
    folders = sorted(folder for folder in images.iterdir() if folder.is_dir())
    found = {folder.name: Split(folder, (folder,), names) for folder in folders}
    return found or {ALL: Split(images, (images,), names)}


def _names_file(folder: Path) -> Path | None:
    return next((file for file in (folder / "classes.txt", *sorted(folder.glob("*.names"))) if file.is_file()), None)


def _from_yaml(file: Path) -> dict[str, Split]:
    """Return the splits of a data.yaml as Ultralytics writes it; `names` is a list, or a mapping from 0 on."""
    with yaml_errors(file):
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    if not isinstance(content, dict):
        raise ValueError(f"{file}: holds {type(content).__name__}; expected keys such as path, train, val, names")
    names = _names(file, content)
    # Folders are relative to `path`, which is relative to the file itself.
    root = file.parent / str(content.get("path") or "")
    found = {}
    for split in SPLITS:
        if content.get(split):
            places = content[split] if isinstance(content[split], list) else [content[split]]
            if not all(isinstance(place, str) for place in places):
                raise ValueError(f"{file}: {split}: {content[split]!r}: expected a folder or a list of them")
            found[split] = Split(file, tuple(_start(place, root, file.parent) for place in places), names)
    if not found:
        raise ValueError(f"{file}: no split; expected {', '.join(SPLITS)}, folders or lists of images")
    return found


def _names(file: Path, content: dict[str, Any]) -> list[str] | None:
    """Return the class names of a data.yaml. Raises ValueError if their numbers have gaps or `nc` differs."""
    names = content.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise ValueError(f"{file}: names: their numbers are {', '.join(map(str, names))}; expected 0, 1, 2, ...")
        names = [names[k] for k in range(len(names))]
    if names is None:
        return None
    if not isinstance(names, list) or not names:
        raise ValueError(f"{file}: names: {names!r}: expected a list of class names, or a table from 0 on")
    if content.get("nc", len(names)) != len(names):
        raise ValueError(f"{file}: nc is {content['nc']!r}, but there are {len(names)} names")
    return [str(name) for name in names]


def _from_data(file: Path) -> dict[str, Split]:
    """Return the splits of darknet's `key = value` lines.

    Files are looked for in the current folder, as darknet does, then beside the .data file.
    """
    # Every key with its line and value.
    table: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        text = line.split("#")[0].strip()
        key, equals, value = text.partition("=")
        if text and not equals:
            raise ValueError(f"{file}:{number}: {text!r}: expected key = value")
        if text:
            table[key.strip()] = number, value.strip()
    # Class names, whose number must be that of `classes`.
    names = None
    if "names" in table:
        names = read_names(_beside(file, *table["names"]))
    number, classes = table.get("classes", (0, ""))
    if classes and names is not None and classes != str(len(names)):
        raise ValueError(
            f"{file}:{number}: classes = {classes}, but there are {len(names)} names in {table['names'][1]}"
        )
    found = {key: Split(file, (_beside(file, *table[key]),), names) for key in SPLITS if key in table}
    if not found:
        raise ValueError(f"{file}: no split; expected lines such as train = train.txt and valid = valid.txt")
    return found


def _start(place: str, *roots: Path) -> Path:
    """Return a relative place in the first of `roots` where it exists, else in the first one."""
    return next((root / place for root in roots if (root / place).exists()), roots[0] / place)


def _beside(file: Path, number: int, name: str) -> Path:
    """Return the path of `name`, which line `number` of `file` names. Raises ValueError if there is no such file."""
    found = _start(name, Path(), file.parent)
    if not found.exists():
        raise ValueError(f"{file}:{number}: {name}: no such file, neither here nor beside {file.name}")
    return found


def read(split: Split, names: Sequence[str] | None, *, skip_faults: bool) -> Index:
    """Return the images and objects of a split.

    Raises ValueError for faults, and for other class names than those beside the data.
    """
    used = agreed(split.names, names, str(split.source))
    rows = Rows()
    images, folders = _images(split.places, rows.faults)
    for path in images:
        # Fractions of the image need its size, so images without objects are not opened.
        labels = label_file(path)
        text = _text(labels, rows.faults)
        size = (0, 0)
        if text.strip() and path.is_file():
            try:
                size = image_size(str(path))
            except ValueError as problem:
                rows.faults.append(str(problem))
                continue
        # An object per line; a bad line is a fault.
        rows.add_image(str(path), size)
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
    rows.faults += _orphans(images, folders)
    return rows.index(split.source, used, skip_faults=skip_faults)


def label_file(image: Path) -> Path:
    """Return the text file with the labels of an image."""
    parts = list(image.parts)
    for folder in ("images", "JPEGImages"):
        if folder in parts[:-1]:
            last = len(parts) - 2 - parts[-2::-1].index(folder)
            return Path(*parts[:last], "labels", *parts[last + 1 :]).with_suffix(".txt")
    return image.with_suffix(".txt")


def _images(places: Sequence[Path], faults: list[str]) -> tuple[list[Path], set[Path]]:
    """Return the images of folders and lists, and the folders among `places`.

    Images are in the order of the lists, in a folder in the order of their names.
    """
    images: list[Path] = []
    folders = set()
    for place in places:
        if place.is_dir():
            images += sorted(path for path in place.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
            folders.add(place)
        elif place.is_file():
            images += _listed(place)
        else:
            faults.append(f"{place}: no such folder and no list of images")
    return images, folders


def _listed(listing: Path) -> Iterator[Path]:
    """Yield the images of a list, one per line. Relative paths start at the list's folder, or at the current one."""
    for line in listing.read_text(encoding="utf-8-sig").splitlines():
        if line.strip():
            beside = listing.parent / line.strip()
            yield beside if beside.exists() or not Path(line.strip()).exists() else Path(line.strip())


def _text(labels: Path, faults: list[str]) -> str:
    """Return the content of a label file; empty if there is none."""
    try:
        return labels.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as problem:
        faults.append(f"{labels}: not a text file (byte {problem.start})")
        return ""


def _row(line: str, names: Sequence[str]) -> tuple[int, list[float]]:
    """Return class index and cx, cy, w, h of a line. Raises ValueError for a bad line."""
    words = line.split()
    expected = f"expected 'class cx cy w h', an integer below {len(names)} and four fractions of the image"
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


def _orphans(images: Sequence[Path], folders: set[Path]) -> list[str]:
    """Return a fault for every label file that belongs to no image of these folders."""
    known = {str(label_file(path)) for path in images}
    faults = []
    for folder in sorted({label_file(folder / "any.jpg").parent for folder in folders}):
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            file = folder / name
            if file.suffix == ".txt" and name != "classes.txt" and str(file) not in known:
                faults.append(f"{file}: labels without an image; expected an image of that name in its folder")
    return faults
