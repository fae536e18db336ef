"""Files that describe a data set of YOLO's format: data.yaml as Ultralytics writes it, darknet's .data. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from yolo.data.formats.yaml_names import names_in
from yolo.names import read_names
from yolo.options.yaml_file import yaml_errors
from yolo.text import lines_of, read_text

SPLITS = ("train", "val", "valid", "test")


@dataclass(frozen=True)
class Split:
    """A split: folders of images or lists of them, the class names if there are any, and the source for messages."""

    source: Path
    places: tuple[Path, ...]
    names: list[str] | None


def from_yaml(file: Path) -> dict[str, Split]:
    """Return the splits of a data.yaml as Ultralytics writes it; `names` is a list, or a mapping from 0 on."""
    text = read_text(file)
    with yaml_errors(file):
        content = yaml.safe_load(text)
    if not isinstance(content, dict):
        raise ValueError(f"{file}: holds {type(content).__name__}; expected keys such as path, train, val, names")
    names = names_in(file, text)
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


def from_data(file: Path) -> dict[str, Split]:
    """Return the splits of darknet's `key = value` lines.

    Files are looked for in the current folder, as darknet does, then beside the .data file.
    """
    # Every key with its line and value.
    table: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines_of(read_text(file)), start=1):
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
