"""The user's function that is called after every epoch, with the numbers of that epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolo.process.distributed import from_rank_0, rank
from yolo.training.checkpoint import random_state, set_random_state
from yolo.training.transform import name_of

EpochEnd = Callable[[int, dict[str, Any]], object]
"""Takes the epoch, from 0, and what its line of metrics.jsonl holds: `epoch`, `step`, losses, metrics. A metric that
the data does not define is None."""


def called(function: EpochEnd, row: dict[str, Any], folder: Path) -> RuntimeError | None:
    """Call the function in process 0, and return in every process an error that names it if it failed.

    A collective call. The function cannot change the run: it gets a copy of the numbers in `row`, and random numbers
    are put back after it. `folder` is that of the run, for the message.
    """
    cause, text = None, ""
    if rank() == 0:
        state = random_state()
        try:
            function(row["epoch"], dict(row))
        except Exception as problem:  # whatever a user's function may raise
            cause, text = problem, f"{type(problem).__name__}: {problem}"
        finally:
            set_random_state(state)
    if not (text := from_rank_0(text)):
        return None
    error = RuntimeError(
        f"on_epoch_end={name_of(function)} failed after epoch {row['epoch'] + 1} ({text}); {folder} is saved up to "
        f"there, and can be resumed"
    )
    error.__cause__ = cause
    return error
