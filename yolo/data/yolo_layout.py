"""Where a data set in YOLO's format has its pictures and class names: a folder, a data.yaml, or darknet's `.data`.

| given | splits | class names |
|---|---|---|
| folder | its `data.yaml`, else the folders in `images/` (or `images/` itself: `all`) | `classes.txt`, `*.names` |
| `*.yaml` | `train`, `val`, `test`: folders or lists of pictures, from `path` on, relative to the file | `names` |
| `*.data` | `train`, `valid`, `test`: lists of pictures | the file `names` |
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yolo.names import read_names

ALL = "all"
SPLITS = ("train", "val", "valid", "test")


@dataclass(frozen=True)
class Split:
    """Some pictures. `places` are folders of them or lists, `names` the classes, `source` is for messages."""

    source: Path
    places: tuple[Path, ...]
    names: list[str] | None


def splits(path: Path) -> dict[str, Split]:
    """The splits by name; empty where `path` is not of this format. ValueError for a bad description."""
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(path)
    if path.suffix.lower() == ".data":
        return _from_data(path)
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
    """`path` and folders as Ultralytics' data.yaml has them; `names` a list or a table from 0 on."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        place = f"{mark.line + 1}: column {mark.column + 1}" if mark else ""
        raise ValueError(f"{file}:{place}: not yaml: {problem.problem}") from problem
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ValueError(f"{file}: not yaml: {problem}") from problem
    if not isinstance(content, dict):
        raise ValueError(f"{file}: holds {type(content).__name__}; expected keys such as path, train, val, names")
    names = _names(file, content)
    root = file.parent / str(content.get("path") or "")
    found = {}
    for split in SPLITS:
        if content.get(split):
            places = content[split] if isinstance(content[split], list) else [content[split]]
            if not all(isinstance(place, str) for place in places):
                raise ValueError(f"{file}: {split}: {content[split]!r}: expected a folder or a list of them")
            found[split] = Split(file, tuple(_start(place, root, file.parent) for place in places), names)
    if not found:
        raise ValueError(f"{file}: no split; expected {', '.join(SPLITS)}, folders or lists of pictures")
    return found


def _names(file: Path, content: dict[str, Any]) -> list[str] | None:
    """The class names of a data.yaml. ValueError where their numbers have gaps or `nc` is another."""
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
    """darknet's `key = value` lines. Files are looked for in the present folder, as darknet does, then beside it."""
    table: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        text = line.split("#")[0].strip()
        key, equals, value = text.partition("=")
        if text and not equals:
            raise ValueError(f"{file}:{number}: {text!r}: expected key = value")
        if text:
            table[key.strip()] = number, value.strip()
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
    """A relative place from the first of `roots` where it exists, else from the first."""
    return next((root / place for root in roots if (root / place).exists()), roots[0] / place)


def _beside(file: Path, number: int, name: str) -> Path:
    """A file that line `number` of `file` names. ValueError where it is not there."""
    found = _start(name, Path(), file.parent)
    if not found.exists():
        raise ValueError(f"{file}:{number}: {name}: no such file, neither here nor beside {file.name}")
    return found
