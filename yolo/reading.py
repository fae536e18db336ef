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


def read_bytes(path: str | os.PathLike[str], limit: int = LIMIT) -> bytes:
    """Return the content of a regular file.

    Raises ValueError for a pipe or a device, which could wait or go on for ever, and for more than `limit` bytes;
    OSError if the file cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"{path}: has {size:,} bytes, expected at most {limit:,}")
        return file.read(limit)


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Return a regular file, opened for reading. Raises as `read_bytes`."""
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError(f"{path}: is a pipe or a device, expected a regular file; copy its content into one")
    return file


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a named pipe is opened too, without waiting for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def reading(path: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """Turn all that a parser can raise during the block into a ValueError that begins with the file.

    Args:
        path: the file.
        kind: what the file should be, for the message: "a COCO annotation file".

    ValueErrors that name the file and OSErrors of the system pass (Pillow raises others for damaged images). Readers
    check what they can name better; this is for the rest.
    """
    try:
        yield
    except ImportError:
        raise
    except Exception as problem:
        of_system = isinstance(problem, OSError) and problem.errno is not None
        if of_system or (isinstance(problem, ValueError) and str(path) in str(problem)):
            raise
        found = " ".join(str(problem).split())[:200]
        what = type(problem).__name__ + (f": {found}" if found else "")
        raise ValueError(
            f"{Path(path)}: cannot be read as {kind} ({what}); it is damaged, or another kind of file"
        ) from problem
