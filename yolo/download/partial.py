"""A download that has not arrived yet, and what the whole file must be. No torch."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Literal, NamedTuple

from yolo.atomic import open_alone


class Checksum(NamedTuple):
    """The digest of a whole file, in hexadecimal: `Checksum("sha256", "523e4e69...")`."""

    kind: Literal["md5", "sha1", "sha256"]
    digest: str


Check = Callable[[Path], str | None]
"""What is wrong with the content of a file; None if nothing is."""


class Wanted(NamedTuple):
    """What is known of a whole file: its size in bytes, its checksum, what its content must be like."""

    size: int | None
    checksum: Checksum | None
    check: Check | None = None

    def mismatch(self, path: Path) -> str | None:
        """Why the file at `path` is not that one; None if it is, or if nothing is known."""
        if self.size is not None and (found := path.stat().st_size) != self.size:
            return f"{found:,} bytes, expected {self.size:,}"
        if self.checksum is not None:
            kind, expected = self.checksum.kind, self.checksum.digest.lower()
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
            if digest != expected:
                return f"{kind} {digest}, expected {expected}"
        return None if self.check is None else self.check(path)


class Partial:
    """The first bytes of a file, open for appending.

    A note beside it has two lines: the address that they came from, and the validator (ETag or Last-Modified) by
    which the server there tells whether its file is still the same.
    """

    def __init__(self, path: Path, file: FileIO, locked: bool) -> None:
        self.path, self.file, self.locked = path, file, locked
        self.note = path.with_name(f"{path.name}.from")
        self.done = False

    @property
    def size(self) -> int:
        """Bytes so far."""
        return os.fstat(self.file.fileno()).st_size

    def is_whole(self, wanted: Wanted) -> bool:
        """Whether an earlier call was ended between the last byte and the renaming. Too many bytes are dropped."""
        if not self.size or (wanted.size is None and wanted.checksum is None):
            return False
        whole = wanted.mismatch(self.path) is None
        if not whole and wanted.size is not None and self.size >= wanted.size:
            self.restart()
        return whole

    def restart(self, url: str = "", validator: str | None = None) -> None:
        """Throws all bytes away; those that follow come from `url`."""
        self.file.truncate(0)
        self.note.unlink(missing_ok=True)
        if validator:
            self.note.write_bytes(f"{url}\n{validator}".encode("latin-1", "replace"))

    def validator(self, url: str) -> str | None:
        """What `url` called the file that the bytes are from; None if they are from elsewhere or it did not say."""
        with suppress(FileNotFoundError):
            source, _, validator = self.note.read_bytes().decode("latin-1").partition("\n")
            return validator if source == url else None
        return None

    def append(self, data: bytes) -> None:
        """OSError if not all of it fits on the disk; what fits is kept."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self.file.write(rest) :]
        except OSError as error:
            kept = ", which are kept" if self.locked else ""
            problem = f"{self.path}: {error.strerror} after {self.size:,} bytes{kept}; make room and start again"
            raise OSError(error.errno, problem) from error

    def become(self, target: Path) -> None:
        """Takes the name `target`, when all bytes are on the disk."""
        os.fsync(self.file.fileno())
        self.note.unlink(missing_ok=True)
        if not self.locked:  # Windows renames no open file; elsewhere the lock is held until the name is taken
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
