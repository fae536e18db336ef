"""Files that describe a data set of YOLO's format: data.yaml as Ultralytics writes it, darknet's .data. No torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from yolo.data.formats.yaml_names import names_in
from yolo.data.part import Part, Place
from yolo.data.paths import listed, place
from yolo.data.split_names import WORDS
from yolo.files.reading import reading
from yolo.files.text import lines_of, read_text
from yolo.names import read_names
from yolo.options.yaml_nodes import LARGEST, plain_values

SPLITS = tuple(word for words in WORDS.values() for word in words)

YAML = (".yaml", ".yml")

NAMES = re.compile(r"classes\.txt|_darknet\.labels|.*\.names", re.IGNORECASE)


def describes(file: Path) -> bool:
    """Return whether a file of any name describes a data set: it has splits and, in yaml, class names."""
    if not file.is_file() or file.stat().st_size > LARGEST:
        return False
    try:
        if file.suffix.lower() in YAML:
            content = plain_values(file, read_text(file))
            return isinstance(content, dict) and bool(_splits(content)) and bool({"names", "nc"} & content.keys())
        return bool(_splits(_table(file)))
    except ValueError:
        return False


def from_file(file: Path) -> dict[str, Part]:
    """Return the splits that a description names. Raises ValueError, with the line where known, for a bad one."""
    with reading(file, "a description of a data set"):
        return from_yaml(file) if file.suffix.lower() in YAML else from_data(file)


def from_yaml(file: Path) -> dict[str, Part]:
    """Return the splits of a data.yaml as Ultralytics writes it; `names` is a list, or a mapping from 0 on."""
    text = read_text(file)
    content = plain_values(file, text)
    if not isinstance(content, dict):
        raise ValueError(f"{file}: holds {type(content).__name__}; expected keys such as path, train, val, names")
    # Folders are relative to `path`, which is relative to the file itself.
    root, as_written = place(str(content.get("path") or ""), [file.parent])
    given: dict[str, list[str]] = {}
    for split, value in _splits(content).items():
        given[split] = value if isinstance(value, list) else [value]
        if not all(isinstance(name, str) for name in given[split]):
            raise ValueError(f"{file}: {split}: {value!r}: expected a folder or a list of them")
    if not given:
        raise ValueError(f"{file}: no split; expected train, val or test, folders or lists of images")
    used = root if os.path.isdir(root) else file.parent
    names = names_in(file, text, lambda: names_near([used, file.parent]))
    notes = () if as_written else (f"{file}: path: {content['path']} is not there; {root} is used",)
    return _parts(file, given, [root, file.parent, file.parent / file.stem], used, names, notes)


def from_data(file: Path) -> dict[str, Part]:
    """Return the splits of darknet's `key = value` lines.

    Files are looked for in the current folder, as darknet does, then beside the .data file.
    """
    table = _table(file)
    roots = [Path(), file.parent]
    # Class names, whose number must be that of `classes`.
    names = None
    if "names" in table:
        number, name = table["names"]
        found, _ = place(name, roots)
        if not os.path.isfile(found):
            raise ValueError(f"{file}:{number}: {name}: no such file, neither here nor beside {file.name}")
        names = read_names(found)
    number, classes = table.get("classes", (0, ""))
    if classes and names is not None and classes != str(len(names)):
        raise ValueError(
            f"{file}:{number}: classes = {classes}, but there are {len(names)} names in {table['names'][1]}"
        )
    given = {split: [value] for split, (_, value) in _splits(table).items()}
    if not given:
        raise ValueError(f"{file}: no split; expected lines such as train = train.txt and valid = valid.txt")
    return _parts(file, given, roots, file.parent, names if names is not None else names_near([file.parent]))


def _table(file: Path) -> dict[str, tuple[int, str]]:
    """Return every key of a .data file with its line and value. Raises ValueError for a line of another kind."""
    table: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines_of(read_text(file)), start=1):
        text = line.split("#")[0].strip()
        key, equals, value = text.partition("=")
        if text and not equals:
            raise ValueError(f"{file}:{number}: {text!r}: expected key = value")
        if text:
            table[key.strip()] = number, value.strip()
    return table


def _splits(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the entries that are splits, by a word for one in any case, and not empty."""
    found = {key: value for key, value in content.items() if str(key).casefold() in SPLITS and value}
    return dict(sorted(found.items(), key=lambda item: SPLITS.index(item[0].casefold())))


def _parts(
    file: Path,
    given: Mapping[str, list[str]],
    roots: list[Path],
    root: Path,
    names: list[str] | None,
    notes: tuple[str, ...] = (),
) -> dict[str, Part]:
    """Return the splits whose places are `given`, each of them looked for below `roots`."""
    found = {split: [(text, *place(text, roots)) for text in texts] for split, texts in given.items()}
    moved = [(text, path) for places in found.values() for text, path, as_written in places if not as_written]
    if moved:
        text, path = moved[0]
        count = f"{len(moved)} of {sum(map(len, given.values()))} paths"
        notes = (*notes, f"{file}: {count} are not as written, such as {text}; found by their ends: {path}")
    return {
        split: Part(
            format="yolo",
            layout=file.name,
            split=str(split),
            root=root,
            source=file,
            places=tuple(Place((path,)) for _, path, _ in places),
            names=None if names is None else tuple(names),
            notes=notes,
        )
        for split, places in found.items()
    }


def names_near(folders: Iterable[Path]) -> list[str] | None:
    """Return the class names in the first of `folders` that has a file of them; None if none has one.

    Such files are `classes.txt`, `*.names` and `_darknet.labels`. Raises ValueError if two in one folder differ.
    """
    for folder in folders:
        read = {file: read_names(file) for file in names_files(folder)}
        for names in read.values():
            if any(names != others for others in read.values()):
                raise ValueError(f"{' and '.join(map(str, read))} have different class names; remove the wrong one")
            return names
    return None


def names_files(folder: Path) -> list[Path]:
    """Return the files of class names in a folder, in order."""
    names = sorted(entry.name for entry in listed(folder) if entry.is_file())
    return [folder / name for name in names if NAMES.fullmatch(name)]
