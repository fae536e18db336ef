"""A run folder has one owner: while a training writes there, another one is refused before it writes anything.

The folder of a study likewise.

The system's lock on a file decides. It ends with the process, however that ends, so nothing has to be cleaned up after
a crash. The text in the file only says who the owner is.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path

from yolo.files.atomic import open_alone, remove_leftovers
from yolo.files.reading import read_bytes
from yolo.process.distributed import from_rank_0, print_once, rank
from yolo.training.run_folder import next_folder

OWNER = ".owner"
"""In the folder of a run or study: locked by what writes there, with a line on it."""

_held: set[FileIO] = set()


def _let_go() -> None:
    """Close the locks in a forked process: a worker that outlives its training must not go on owning the folder."""
    for file in _held:
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@contextmanager
def owned(folder: Path | None) -> Iterator[Path]:
    """Own the folder of a run, by default the next one in runs/, during the block; yields it. A collective call.

    Missing folders are made, and removed at the end if nothing was written. All processes of a training share the lock
    of process 0. Raises BlockingIOError, with who has it, if another training owns the folder; OSError if it cannot be
    made.
    """
    with ExitStack() as stack:
        error = ""
        if rank() == 0:
            try:
                folder = stack.enter_context(owned_alone(folder))
            except OSError as problem:
                error = str(problem)
        if error := from_rank_0(error):
            raise BlockingIOError(error)
        yield Path(from_rank_0(str(folder)))


@contextmanager
def owned_alone(folder: Path | None, kind: str = "training") -> Iterator[Path]:
    """The same for a single process, a training or another `kind` of owner."""
    above = Path("runs") if folder is None else folder.parent
    made = [path for path in (above, *above.parents) if not path.exists()]
    if folder is None:
        folder = next_folder()
        made = [folder, *made]
    elif not folder.exists():
        made = [folder, *made]
    elif not folder.is_dir():
        raise NotADirectoryError(f"{folder}: is a file, expected a folder; give another one with --out")
    try:
        with _locked(folder, kind):
            remove_leftovers(folder)
            yield folder
    finally:
        with suppress(OSError):  # it has files, or another process has removed it
            for path in made:
                path.rmdir()


@contextmanager
def _locked(folder: Path, kind: str) -> Iterator[None]:
    """Lock the folder, made if it is missing, during the block. Raises BlockingIOError if another process has it."""
    place = folder / OWNER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = open_alone(place, wait=False)
        except FileNotFoundError:  # another owner has just ended, and removed the empty folder that it had made
            folder.mkdir(parents=True, exist_ok=True)
            file = open_alone(place, wait=False)
    except BlockingIOError:
        raise BlockingIOError(
            f"{folder}: another {kind} writes here: {_who(place) or 'one that begins just now'}; wait until it ends or "
            f"stop it, or give another folder with --out"
        ) from None
    if file is None:
        print_once(f"{folder}: files cannot be locked here, so make sure yourself that no other {kind} uses it")
        yield
        return
    with file:
        file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}: {_command()}".encode())
        _held.add(file)
        try:
            yield
        finally:
            _held.discard(file)
            place.unlink(missing_ok=True)


def _who(place: Path) -> str:
    """Return the line of the owner; what is no text in it, or longer than a line, is left out."""
    with suppress(OSError, ValueError):
        text = read_bytes(place, 100_000).decode(errors="replace")
        return "".join(character for character in text[:1000] if character.isprintable())
    return ""


def _command() -> str:
    """Return the command line of this process, as one line."""
    return " ".join(shlex.join([Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]]).split())
