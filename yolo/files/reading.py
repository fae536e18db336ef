"""Files of others: regular, of a bounded size, and with one kind of error. No torch."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

LIMIT = 2**31
"""Bytes that are read of a text or image file at most; COCO's largest annotation file has 449 MB."""

LONGEST = 5000
"""Characters of a message at most; it may show a value of the file."""

START = 2**16
"""Bytes that are read where the beginning of a file tells what it is."""


def read_bytes(path: str | os.PathLike[str], limit: int = LIMIT) -> bytes:
    """Return the content of a regular file.

    Raises ValueError for a pipe or a device, which could wait or go on for ever, and for more than `limit` bytes;
    OSError if the file cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"{path}: has {size:,} bytes, expected at most {limit:,}")
        return file.read(limit) or b""  # None: a file of /proc, which would wait


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Return a file, open for reading. Raises ValueError if it is not a regular one, OSError if it cannot be opened."""
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 (the caller closes it)
    except ValueError as problem:  # a zero byte, or half of a letter
        raise ValueError(f"{path!r}: not the name of a file: {problem}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError(f"{path}: is a pipe or a device, expected a regular file; copy its content into one")
    return file


def first_line(path: str | os.PathLike[str]) -> bytes:
    """Return the first line with text in the beginning of a file; empty for what is not a regular file.

    Raises OSError if the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            return next((line for line in (file.read(START) or b"").split(b"\n") if line.strip()), b"").strip()
    except ValueError:
        return b""


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a named pipe is opened too, without waiting for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def shortened() -> Iterator[None]:
    """Cut the middle out of the message of a ValueError that shows much of a file."""
    try:
        yield
    except ValueError as problem:
        if len(text := str(problem)) <= LONGEST:
            raise
        raise ValueError(f"{text[: LONGEST - 1000]} ... {text[-900:]}") from problem


@contextmanager
def reading(path: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """Turn all that a parser can raise during the block into a ValueError that begins with the file.

    Args:
        path: the file.
        kind: what the file should be, for the message: "a COCO annotation file".

    OSErrors of the system and ValueErrors that name the file pass (Pillow raises other OSErrors for damaged images); a
    MemoryError gets the file's name. Of a message that shows much of the file the middle is cut out. Readers check what
    they can name better; this is for the rest.
    """
    try:
        with shortened():
            yield
    except MemoryError as problem:
        raise MemoryError(f"while {path} was read as {kind}") from problem
    except Exception as problem:
        of_system = isinstance(problem, ImportError) or (isinstance(problem, OSError) and problem.errno is not None)
        if of_system or (isinstance(problem, ValueError) and str(path) in str(problem)):
            raise
        found = " ".join(str(problem).split())[:200]
        what = type(problem).__name__ + (f": {found}" if found else "")
        raise ValueError(
            f"{Path(path)}: cannot be read as {kind} ({what}); it is damaged, or another kind of file"
        ) from problem
