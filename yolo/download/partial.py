"""A download that is not complete yet, and what the complete file must be. No torch."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from yolo.files.atomic import open_alone
from yolo.files.reading import read_bytes

KINDS = {32: "md5", 40: "sha1", 64: "sha256"}
"""The kind of a checksum, by its number of hexadecimal digits."""

VALIDATOR = r"[ -~]{1,500}"
"""The pattern of validators that are sent back to a server."""

Check = Callable[[Path], str | None]
"""Returns what is wrong with the content of a file; None if nothing is."""


class Wanted(NamedTuple):
    """What is known of a complete file: its size in bytes, its checksum in hexadecimal, a check of its content."""

    size: int | None
    checksum: str | None
    check: Check | None = None

    def mismatch(self, path: Path) -> str | None:
        """Return why the file at `path` is another one; None if it is the right one, or if nothing is known."""
        if self.size is not None and (found := path.stat().st_size) != self.size:
            return f"{found:,} bytes, expected {self.size:,}"
        if self.checksum is not None:
            kind = KINDS[len(self.checksum)]
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
            if digest != self.checksum.lower():
                return f"{kind} {digest}, expected {self.checksum.lower()}"
        return None if self.check is None else self.check(path)


class Partial:
    """The first bytes of a file, open for appending.

    A note beside it has two lines: the address that the bytes came from, and the validator (ETag or Last-Modified) that
    tells whether the file at that address is still the same.
    """

    def __init__(self, path: Path, file: FileIO, locked: bool) -> None:
        self.path, self.file, self.locked = path, file, locked
        self.note = path.with_name(f"{path.name}.from")
        self.done = False

    @property
    def size(self) -> int:
        """The number of bytes so far."""
        return os.fstat(self.file.fileno()).st_size

    def is_whole(self, wanted: Wanted) -> bool:
        """Return whether all bytes are here, because an earlier call ended before it renamed the file.

        A file that is too long, or as long as expected but different, is emptied.
        """
        if not self.size or (wanted.size is None and wanted.checksum is None):
            return False  # nothing tells how long the file should be
        whole = wanted.mismatch(self.path) is None
        if not whole and wanted.size is not None and self.size >= wanted.size:
            self.restart()
        return whole

    def restart(self, url: str = "", validator: str | None = None) -> None:
        """Remove all bytes. Those that follow come from `url`, whose file has this validator."""
        self.file.truncate(0)
        self.note.unlink(missing_ok=True)
        if validator and re.fullmatch(VALIDATOR, validator):
            self.note.write_bytes(f"{url}\n{validator}".encode("latin-1", "replace"))

    def validator(self, url: str) -> str | None:
        """Return the validator that came with the bytes; None if there was none, or if they are not from `url`."""
        with suppress(FileNotFoundError, ValueError):
            source, _, validator = read_bytes(self.note, 2**14).decode("latin-1").partition("\n")
            return validator if source == url and re.fullmatch(VALIDATOR, validator) else None
        return None

    def append(self, data: bytes) -> None:
        """Write the bytes at the end. Raises OSError if they do not all fit on the disk; those that fit are kept."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self.file.write(rest) :]
        except OSError as error:
            kept = ", which are kept" if self.locked else ""
            problem = f"{self.path}: {error.strerror} after {self.size:,} bytes{kept}; make room and start again"
            raise OSError(error.errno, problem) from error

    def become(self, target: Path) -> None:
        """Rename the file to `target`, after all bytes are on the disk."""
        os.fsync(self.file.fileno())
        self.note.unlink(missing_ok=True)
        if not self.locked:  # Windows does not rename open files. Elsewhere the lock is kept until the file is renamed.
            self.file.close()
        self.path.replace(target)
        self.done = True


@contextmanager
def own_partial(target: Path) -> Iterator[Partial]:
    """Yield the partial file `TARGET.part`, after waiting for any other process or thread that has it.

    It stays if the block ends before it is complete, unless it is empty. Where files cannot be locked (Windows, some
    network file systems) it has a name of its own and is removed.
    """
    path = target.with_name(f"{target.name}.part")
    file = open_alone(path)
    locked = file is not None
    if file is None:
        path = target.with_name(f"{target.name}.{os.getpid()}-{threading.get_ident()}.part")
        file = path.open("wb", buffering=0)
    partial = Partial(path, file, locked)
    try:
        yield partial
    finally:
        stays = partial.done or (locked and partial.size > 0)
        # A locked file is removed before it is closed, or another process could already have it. Without a lock it
        # is closed first, because Windows does not remove open files.
        if not locked:
            file.close()
        if not stays:
            path.unlink(missing_ok=True)
            partial.note.unlink(missing_ok=True)
        file.close()
