"""Files that are written whole or not at all."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place when the block ends well and vanishes otherwise.

    The content is on the disk before the name changes, so a full disk, a killed process or a power cut leaves
    the old file or the new one, never half of one. Missing folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Waits until no other process or thread is in such a block for `path`; False where files cannot be locked."""
    place = path.with_name(f"{path.name}.part")
    while True:
        file = place.open("ab", buffering=0)
        locked = lock(file)
        with suppress(FileNotFoundError):  # while we waited it was removed
            if not locked or os.path.samestat(os.fstat(file.fileno()), place.stat()):
                break
        file.close()
    try:
        yield locked
    finally:
        place.unlink(missing_ok=True)
        file.close()


def lock(file: FileIO) -> bool:
    """Waits until the open file is ours, which lasts until it is closed; False where there are no locks."""
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock

        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            logging.getLogger("yolo").warning("%s: another process is at it; waiting", file.name)
            flock(file, LOCK_EX)
    except (ImportError, OSError):
        return False
    return True
