"""What the run that weights belong to says about its data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from yolo.options.presets import read_options
from yolo.options.training import Training
from yolo.training.run_folder import OPTIONS

Bad = Literal["error", "skip"]


def options_of(weights: Path) -> Training | None:
    """Return the options of the run whose folder, or whose file, `weights` is; None for other weights."""
    file = (weights if weights.is_dir() else weights.parent) / OPTIONS
    return read_options(file) if file.is_file() else None


def empty_of(given: bool, weights: Path | None) -> bool:
    """Return whether data without objects is accepted: if asked for, or by the run of the weights."""
    run = options_of(weights) if weights is not None else None
    return given or bool(run and run.allow_empty)


def bad_of(given: Bad | None, weights: Path | None) -> Bad:
    """Return what to do about faults: as given, else as in the run of the weights, else to report them as an error."""
    run = options_of(weights) if given is None and weights is not None else None
    return given or (run.bad if run else "error")
