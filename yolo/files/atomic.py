"""Files that are written whole or not at all, by one process at a time."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import FileIO
from pathlib import Path

from yolo.files.harmless import cut


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`. It replaces `path` if the block ends well and is removed otherwise.

    The content is on the disk before the name changes. So a full disk, a killed process or a power cut leaves the old
    file or the new one, never half of one. Missing folders are created, and removed again if the block fails. The file
    has the mode of the user's umask. An OSError of writing names `path`. Raises OSError for a pipe or a device.
    """
    temporary = temporary_of(path)
    with naming(path, temporary), _folder_of(path):
        yield from _replaced(path, temporary)


def temporary_of(path: Path) -> Path:
    """Return the path under which this process writes a file that is not whole yet. Raises OSError for a device."""
    # A file that takes its name, as root's may, would destroy it. /dev/stdout may lead to a file.
    if (path.exists() and not (path.is_dir() or path.is_file())) or os.path.realpath(path.parent) == "/dev":
        raise OSError(f"{path}: is a pipe or a device, expected the name of a file to write; name another one")
    mark = f".{os.getpid()}.part"
    return path.with_name(f".{cut(path.name, len(mark) + 1)}{mark}")


@contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Have an OSError of the block name `path` where it names no file, as those of writing, or its `temporary` one."""
    try:
        yield
    except BrokenPipeError:  # of what is printed
        raise
    except OSError as problem:
        if problem.errno is not None and (problem.filename is None or str(problem.filename) == str(temporary)):
            problem.filename = str(path)
            del problem.filename2  # of a renaming; None would be shown
        raise


@contextmanager
def _folder_of(path: Path) -> Iterator[None]:
    """Make the missing folders of a file, and remove them again if the block fails."""
    missing = [] if path.parent.is_dir() else [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _tidied(os.path.abspath(path.parent))
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):  # another process may have used it
                folder.rmdir()
        raise


def _replaced(path: Path, temporary: Path) -> Iterator[Path]:
    """Yield the temporary path; afterwards it has the name `path`, or is gone."""
    file = None
    try:
        if (file := open_alone(temporary)) is None:  # locked while it is written, by which others know that it is
            temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        if temporary.stat().st_mode != mode:  # safetensors makes files that only their owner may read
            temporary.chmod(mode)
        with temporary.open("rb") as whole:
            os.fsync(whole.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        if file is not None:
            file.close()


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that `replacing` left in a folder when its process was killed.

    The lock decides whether a process still writes one, not its number: that may be of another machine or container.
    """
    names: list[str] = []
    with suppress(OSError):  # a folder may be written and not listed
        names = [name for name in os.listdir(folder) if re.fullmatch(r"(?s)\..+\.\d+\.part", name)]
    for place in map(folder.joinpath, names):
        with suppress(OSError), open(place, "r+b", buffering=0, opener=_plainly) as file:  # another one may remove it
            if _lock(file, wait=False) and os.path.samestat(os.fstat(file.fileno()), place.stat()):
                place.unlink()


@cache
def _tidied(folder: str) -> None:
    """Remove leftovers when this process writes into a folder for the first time."""
    remove_leftovers(Path(folder))


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Wait until no other process or thread is in such a block for `path`. Yields False if files cannot be locked."""
    place = path.with_name(f"{path.name}.part")
    file = open_alone(place)
    try:
        yield file is not None
    finally:
        if file is not None:
            place.unlink(missing_ok=True)
            file.close()


# The file that is being written is itself the lock. The package filelock was weighed: its lock file has to stay after
# use, so COCO alone would leave 118,287 of them. Beside the data they would be in the user's way. In the cache they
# would not exclude other users of the same data. Where flock is missing, its marker outlives a killed process.
def open_alone(path: Path, *, wait: bool = True) -> FileIO | None:
    """Open `path` for appending once no other process or thread has it open in this way.

    Returns:
        The file, which stays locked until it is closed; None if files cannot be locked here.

    Raises BlockingIOError if another one has it open and `wait` is False, and OSError for a link, a folder or a pipe.
    """
    while True:
        with suppress(FileNotFoundError):
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:  # never write into what a link names
                raise OSError(f"{path}: is a link, a folder or a pipe, expected no file or one to write; move it away")
        file = open(path, "ab", buffering=0, opener=_plainly)  # noqa: SIM115, it is returned
        try:
            locked = _lock(file, wait)
        except BlockingIOError:
            file.close()
            raise
        if not locked:
            file.close()
            with suppress(OSError):
                if path.stat().st_size == 0:
                    path.unlink()
            return None
        # The previous owner may have renamed or removed the file. Then its name is free, or belongs to a new file.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _plainly(path: str, flags: int) -> int:
    """Open a file, but not through a symbolic link, and without waiting for the reader of a pipe."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def _lock(file: FileIO, wait: bool) -> bool:
    """Lock the open file until it is closed. Returns False if there are no locks here.

    If another process has locked it, wait for its end, or raise BlockingIOError if not `wait`.
    """
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock

        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            logging.getLogger("yolo").warning("%s: another process is working on it; waiting", file.name)
            flock(file, LOCK_EX)
    except BlockingIOError:
        raise
    except (ImportError, OSError):  # Windows; some network file systems
        return False
    return True
