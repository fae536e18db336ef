"""What a user reads when a command fails: the message of a named error, and a sentence for all others. No torch."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Sequence
from pathlib import Path

MEMORY = re.compile(
    "can't allocate memory|not enough memory|out of memory|OutOfMemoryError|Insufficient memory|bad_alloc|ALLOC_FAILED"
    "|Cannot allocate memory"
)
"""What PyTorch on CPUs and GPUs, OpenCV, C++ and the system say when there is no memory left."""

_TRAINING = "--batch-size (--accumulate makes up for it), --size or --workers, or --cache none"
LESS = {
    "train": _TRAINING,
    "check": _TRAINING,
    "ablate": f"--jobs, or after -- {_TRAINING}",
    "detect": "--batch-size or --size",
    "eval": "--batch-size or --size",
    "doctor": "--batch-size or --size",
    "explain": "--size",
    "convert": "--size",
    "summary": "--size",
    "show-data": "--images, --limit or --size",
    "get": "--images",
}
"""What takes less memory, by verb."""

PACKAGE = Path(__file__).parents[1]


def sentence(problem: Exception, verb: Sequence[str] = ()) -> str:
    """Return what is wrong, and what to do; `verb` holds the first word of the command line, if there is one."""
    text = str(problem)
    own = isinstance(problem, OSError) and problem.errno is None  # an error of this program
    named = own or isinstance(problem, (ValueError, ImportError))
    if isinstance(problem, MemoryError) or (not named and MEMORY.search(f"{type(problem).__name__} {text}")):
        less = next((f"a smaller {LESS[word]}" for word in verb if word in LESS), "smaller files")
        return f"out of memory ({_first_line(text) or 'no details'}); what takes less: {less}"
    if isinstance(problem, RuntimeError) and text.startswith("Symlink loop"):  # pathlib's, up to Python 3.12
        return f"{text}: a link that leads to itself; expected a file or a folder"
    if package := _not_imported(problem):
        return (
            f"{package} cannot be imported ({type(problem).__name__}: {_first_line(text)}); install it again, "
            f"in the version that fits the others: docs/install.md"
        )
    if isinstance(problem, FileNotFoundError) and not _has_folder():
        return "the current folder does not exist any more; change to another one"
    if named or isinstance(problem, OSError):
        return re.sub(r"\n(?=error:)", "\n  ", text) or type(problem).__name__
    return (
        f"unforeseen {type(problem).__name__} in {_place(problem)}: {_first_line(text) or 'no details'}; this is a "
        f"fault of the program: please report it with the command on the Issues page of the repository; "
        f"--traceback prints where it came from"
    )


def _first_line(text: str) -> str:
    """Return the first line that is not empty, up to 300 characters."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:300]


def _own(frame: traceback.FrameSummary) -> bool:
    return PACKAGE in Path(frame.filename).parents


def _not_imported(problem: Exception) -> str:
    """Return the package outside this program during whose import an error was raised; empty if it was not."""
    frames = traceback.extract_tb(problem.__traceback__)
    start = max((k for k, frame in enumerate(frames) if _own(frame)), default=-1) + 1
    if start == len(frames) or frames[start].name != "<module>" or start == 0:
        return ""
    tree = Path(frames[start].filename)
    folders = [folder.name for folder in tree.parents if (folder / "__init__.py").exists()]
    return folders[-1] if folders else tree.stem


def _has_folder() -> bool:
    """Return whether the current folder exists."""
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _place(problem: Exception) -> str:
    """Return file and line of this program where an error was raised."""
    frames = [frame for frame in traceback.extract_tb(problem.__traceback__) if _own(frame)]
    return f"{Path(frames[-1].filename).relative_to(PACKAGE.parent)}:{frames[-1].lineno}" if frames else "the program"
