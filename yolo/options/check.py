"""The command `check`: the options of training, and how long it may take. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yolo.options.bounds import Checked, Number
from yolo.options.presets import Command, T


@dataclass(frozen=True, kw_only=True)
class Check(Checked, Command[T]):
    """Check whether a training would fail, and why, before it starts: data, augmentation, loss, learning, memory.

    With --run, look at a training after it.

    Give the options of `train`, from the same sources. A line for each check says PASS, WARN or FAIL, with cause and
    remedy. The exit status is 1 if one fails. Nothing is written but --json.
    """

    train: T
    """The training to check."""
    run: Path | None = None
    """Folder of a run that has ended: look at its curves and metrics instead. Other options are not read."""
    seconds: Number = 60
    """Time for all checks. With less of it, fewer steps are tried; the cheap checks are always made."""
    json: Path = Path("runs/check.json")
    """The file to write; an existing one is replaced."""
