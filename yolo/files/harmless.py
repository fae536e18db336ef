"""Names of classes and files where they could do harm: as names of files and folders, as cells of a csv file."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
import unicodedata
from collections.abc import Iterable

LONGEST = 255
"""Bytes that the name of a file may have on the usual disks."""

ROOM = 40
"""Bytes that are left for what is added to a name: a number, an ending, the marks of a file that is being written."""

CHARACTERS = 60
"""Characters of a class name that its folder keeps."""

FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""The beginning of a cell that a spreadsheet would compute, or that got a `'` before it so that none does."""


def folder_name(name: str, characters: int = CHARACTERS) -> str:
    """Return a name as that of a folder which every disk accepts; several names may give the same one.

    Characters that some disks refuse become `_`, spaces and dots at the ends are removed, some `characters` are kept,
    and what Windows takes for a device gets a `_` before it.
    """
    composed = unicodedata.normalize("NFC", name)
    plain = "".join("_" if c in '<>:"/\\|?*' or not c.isprintable() else c for c in composed)
    plain = plain[:characters].strip(" .") or "_"
    device = re.match(r"(CON|PRN|AUX|NUL|(COM|LPT)[\d¹²³]) *(\.|$)", plain, re.IGNORECASE)
    return f"_{plain}" if device else plain


def cut(name: str, room: int = ROOM) -> str:
    """Return the beginning of a file name that leaves `room` bytes below the limit of the disk."""
    if len(os.fsencode(name)) <= LONGEST - room:
        return name
    while len(os.fsencode(name)) > LONGEST - room:
        name = name[:-1]
    return name


def seen_alike(name: str) -> str:
    """Return a key, equal for names that are one file on some disks: by case, or by how letters are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class Distinct:
    """Gives out names of files or folders of which no two are one on any disk."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}  # or many equal names would be counted from the start each time

    def take(self, name: str) -> str:
        """Return the name, or if it was given out `name-2`, `name-3`, ..."""
        key = seen_alike(name)
        for number in itertools.count(self._next.get(key, 1)):
            found = name if number == 1 else f"{name}-{number}"
            if seen_alike(found) not in self._taken:
                break
        self._next[key] = number + 1
        self._taken.add(seen_alike(found))
        return found


def folders_of(names: Iterable[str]) -> list[str]:
    """Return a folder for each name, of which no two are one on any disk."""
    distinct = Distinct()
    return [distinct.take(folder_name(name)) for name in names]


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as lines of a csv file: numbers as they are, texts quoted where they have to be.

    A text that a spreadsheet would compute gets a `'` before it.
    """
    text = io.StringIO()
    csv.writer(text).writerows([_cell(value) if isinstance(value, str) else value for value in row] for row in rows)
    return text.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if FORMULA.match(text) else text


def uncell(text: str) -> str:
    """Return the text of a cell of `csv_lines`."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text
