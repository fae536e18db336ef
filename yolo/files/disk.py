"""Room on a disk: asked for before it is needed."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

FULL = {errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""The errors after which no other file can be written either: no room, a quota, a disk that is read only."""


def free_bytes(path: Path) -> tuple[int, Path]:
    """Return the free bytes on the disk where a path is or will be, and the existing folder that was asked."""
    whole = Path(os.path.abspath(path))
    folder = next(place for place in (whole, *whole.parents) if place.is_dir())
    return shutil.disk_usage(folder).free, folder


def in_words(size: float) -> str:
    """Return a number of bytes in MB, or in kB if there are few."""
    return f"{size / 1e6:,.0f} MB" if size >= 1e7 else f"{size / 1e3:,.0f} kB"


def need_room(path: Path, needed: float, what: str, remedy: str) -> None:
    """Raise OSError if the disk of a path has fewer than `needed` bytes free; `what` they are for, in words."""
    free, folder = free_bytes(path)
    if free < needed:
        raise OSError(f"{folder}: {in_words(free)} free, needs {in_words(needed)} for {what}; {remedy}")
