"""The folder of one call of `detect`: fresh, empty, or one that an earlier call wrote. No other file is ever replaced.

A file `.detect` in the folder is its mark. Each line is a json list of a file that was written, relative to the folder,
and of the time of its last change in nanoseconds, 0 while the call runs. So a label that the user has corrected since,
or an image that the user has put there, is not one of the call's files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from yolo.files.atomic import naming, replacing
from yolo.files.reading import read_bytes
from yolo.images.sources import MARK


class ResultFolder:
    """A context manager for the files in a folder. The files of an earlier call are removed when this one ends well.

    Raises FileExistsError, when it is entered, for a folder with files that no call of `detect` wrote.
    """

    def __init__(self, folder: Path, spare: AbstractSet[tuple[int, int]] = frozenset()) -> None:
        self.folder, self.spare = folder, spare  # `spare`: devices and inodes of files that are kept
        self.tidies = True  # False keeps the files of the earlier call in any case
        self._before: dict[str, int] = {}  # the files of earlier calls, with the times of their last change
        self._now: dict[str, str] = {}  # those of this call by their lower-case names, as many disks compare them

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        mark, whole = self.folder / MARK, ""
        if mark.is_file():
            try:
                text = read_bytes(mark).decode()
                whole, cut = text[: text.rfind("\n") + 1], text[text.rfind("\n") + 1 :]
                self._before = dict(map(_entry, whole.splitlines()))
                if not '["'.startswith(cut[:2]):  # half a line of a killed process is dropped
                    raise ValueError(cut)
            except (ValueError, TypeError, RecursionError) as problem:
                raise FileExistsError(
                    f"{mark}: not a list that detect wrote; give another folder with --out"
                ) from problem
        elif any(self.folder.iterdir()):
            raise FileExistsError("it has files that detect did not write; give an empty or a new folder with --out")
        self._mark = mark.open("ab")
        self._mark.truncate(len(whole))
        return self

    def claim(self, path: Path) -> Path:
        """Return the path of a file that is about to be written.

        Raises FileExistsError if this call has written it, or if it is not as an earlier call left it.
        """
        name = path.relative_to(self.folder).as_posix()
        if name.casefold() in self._now:
            raise FileExistsError(f"{path}: two results of this call have this name; give them folders of their own")
        if path.exists() and not self._is_ours(name):
            raise FileExistsError(f"{path}: not as detect left it, so it is not replaced; give another --out")
        self._now[name.casefold()] = name
        with naming(self.folder / MARK):
            self._mark.write(json.dumps([name, 0]).encode("ascii") + b"\n")
            self._mark.flush()
        return path

    def _is_ours(self, name: str) -> bool:
        """Return whether an earlier call wrote the file and nobody has changed it since."""
        status = (self.folder / name).stat()
        known = self._before.get(name, -1) in (0, status.st_mtime_ns)
        return known and (status.st_dev, status.st_ino) not in self.spare

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a disk that is full
            self._mark.close()
        left = self._before.keys() - set(self._now.values())
        for name in sorted(left) if self.tidies and kind is None else ():
            with suppress(OSError):  # a file that is gone; a folder that holds others
                if self._is_ours(name):
                    (self.folder / name).unlink()
                    for parent in Path(name).parents[:-1]:
                        (self.folder / parent).rmdir()
        kept = {name: self._before[name] for name in left} | dict.fromkeys(self._now.values(), -1)
        lines = []
        for name, time in kept.items():
            with suppress(OSError):  # it is gone, or was never written
                found = (self.folder / name).stat().st_mtime_ns
                lines.append(json.dumps([name, found if time < 0 else time]) + "\n")
        try:
            with replacing(self.folder / MARK) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")
        except OSError:  # on a full disk the lines of `claim` remain; an error before this one says more
            if kind is None:
                raise


def _entry(line: str) -> tuple[str, int]:
    """Return a line of the mark. Raises ValueError or TypeError for others, such as a file outside of the folder."""
    name, time = json.loads(line)
    path = Path(name)
    if type(time) is not int or b"\0" in os.fsencode(name) or path.anchor or not path.name or ".." in path.parts:
        raise ValueError("expected the name of a file in the folder, and a time")
    return name, time
