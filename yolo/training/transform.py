"""The user's transform of training images, and its name.

Only a command line and Python can name it: nothing that a file names is imported. A run keeps the name, in its
checkpoints and as a comment in options.yaml, so that a resume with another transform, or without it, is refused.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from functools import partial, reduce
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from yolo.data.transforms import Transform
from yolo.names import did_you_mean


class Named(NamedTuple):
    """A transform and its name, MODULE:FUNCTION. `given` is whether a name was given, which finds it again."""

    name: str
    call: Transform
    given: bool = False


def named(transform: Transform | str | None) -> Named | None:
    """Return a transform with its name, after importing it if it is a name.

    Modules in the current folder are found as well. Raises ValueError for a name that cannot be imported, or is not one
    of a function.
    """
    if transform is None:
        return None
    if not isinstance(transform, str):
        if not callable(transform):
            raise ValueError(f"transform: got {transform!r}, expected a function, or its name as MODULE:FUNCTION")
        return Named(name_of(transform), transform)
    module, _, function = transform.partition(":")
    if not module or not function:
        raise ValueError(f"--transform {transform}: expected MODULE:FUNCTION, such as my_augmentation:transform")
    # `python train.py` and a console script do not look in the current folder, as `python -m yolo` does.
    if not {"", os.getcwd()} & {*sys.path}:
        sys.path.insert(0, os.getcwd())
    try:
        found = import_module(module)
    except Exception as problem:  # whatever the user's module raises
        raise ValueError(
            f"--transform {transform}: importing {module} failed: {type(problem).__name__}: {problem}; modules are "
            f"searched in the current folder, {os.getcwd()}, and among those that are installed"
        ) from problem
    try:
        call: Any = reduce(getattr, function.split("."), found)
    except AttributeError:
        known = [name for name, value in vars(found).items() if callable(value) and not name.startswith("_")]
        hint = did_you_mean(function, known) or f"it has {', '.join(known) or 'no functions'}"
        raise ValueError(f"--transform {transform}: no {function} in {found.__file__}; {hint}") from None
    if not callable(call) or isinstance(call, type):
        raise ValueError(
            f"--transform {transform}: a {type(call).__name__}, expected a function or a transform object that takes "
            f"(image, target)"
        )
    return Named(transform, call, given=True)


def name_of(function: Callable[..., Any]) -> str:
    """Return MODULE:FUNCTION of a function; of another object that can be called, the name of its class.

    A module of torch, such as `v2.Compose`, and a `functools.partial` have their settings in it as well, in one line.
    """
    if hasattr(function, "__qualname__"):
        return f"{function.__module__}:{function.__qualname__}"
    settings = ""
    if isinstance(function, (nn.Module, partial)):
        # Without what differs from process to process.
        settings = " " + " ".join(re.sub(r" at 0x[0-9a-f]+", "", repr(function)).split())
    return f"{type(function).__module__}:{type(function).__qualname__}{settings}"


def with_name(text: str, transform: Named | None) -> str:
    """Return the text of options.yaml with the name of the transform as a comment, which nothing reads."""
    return text if transform is None else f"# trained with --transform {transform.name}; no file can give it\n{text}"


def check_same(folder: Path, was: str | None, now: Named | None) -> None:
    """Raise ValueError if the run in this folder was trained with another transform than a resume of it names."""
    if was == (now and now.name):
        return
    if was is None:
        assert now is not None, "they differ"
        raise ValueError(f"--transform {now.name}: {folder} was trained without a transform; leave it out")
    given = f", not {now.name}" if now else ""
    raise ValueError(
        f"{folder}: this run was trained with --transform {was}; give it again{given} (in Python transform=)"
    )
