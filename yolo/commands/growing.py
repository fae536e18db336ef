"""A text file that is whole after each part that is added to it, whatever ends the program."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from yolo.files.atomic import naming, open_alone, temporary_of


class GrowingFile:
    """A file of parts between a `begin` and an `end`, such as the brackets of a list, each on the disk at once.

    It has a temporary name until `show`, so a call that has found nothing yet does not replace an older file. Bytes
    that are not valid text are escaped. Methods raise OSError with the name of the file; it is whole then too.
    """

    def __init__(self, path: Path, begin: str = "", end: str = "") -> None:
        self.path, self._end = path, end.encode()
        self._temporary: Path | None = temporary_of(path)
        self._at = 0  # where the end begins, and the next part is written
        with naming(path, self._temporary):
            self._lock = open_alone(self._temporary)  # so that nobody takes it for the leftover of a killed process
            self._file = self._temporary.open("wb", buffering=0)
        try:
            self.add(begin)
        except OSError:
            self.close(keep=False)
            raise

    def add(self, text: str) -> None:
        """Write a part."""
        data = text.encode("utf-8", "backslashreplace")
        with naming(self.path):
            try:
                self._write(data + self._end)
            except OSError:  # the disk is full: without the part
                with suppress(OSError):
                    self._finish()
                raise
        self._at += len(data)

    def show(self) -> None:
        """Give the file its name, from now on if the system allows that for an open file, else when it is closed."""
        if self._temporary is not None:
            with suppress(PermissionError):
                self._temporary.replace(self.path)
                self._temporary = None

    def close(self, *, keep: bool) -> None:
        """Close the file. One without its name gets it if it is to be kept, and is removed otherwise."""
        try:
            with naming(self.path, self._temporary), self._file:
                if keep:
                    self._finish()  # an interrupted `add` may have left a part of a part
                    os.fsync(self._file.fileno())
            if keep and self._temporary is not None:
                self._temporary.replace(self.path)
                self._temporary = None
        finally:
            if self._temporary is not None:
                self._temporary.unlink(missing_ok=True)
            if self._lock is not None:
                self._lock.close()

    def _finish(self) -> None:
        """Write the end, over bytes that the disk has already, and drop what is after it."""
        self._write(self._end)
        self._file.truncate()

    def _write(self, data: bytes) -> None:
        self._file.seek(self._at)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
