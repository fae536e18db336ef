"""Watchers of a training: they see every step and every evaluation, change nothing, and have numbers of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from yolo.data.loader import Batch
from yolo.distributed import world_size
from yolo.models.detector import Detector
from yolo.options.registry import find_model, resolve
from yolo.options.training import Training
from yolo.training.validation import Validation

Arithmetic = Callable[[], AbstractContextManager[None]]


class Watcher:
    """What the engine calls. A watcher overrides what it needs; a checkpoint holds its state."""

    def step(self, first: int, batches: Sequence[Batch], /) -> None:
        """See the batches of a step that is done; `first` counts them within the epoch."""

    def evaluated(self, detector: Detector, /) -> dict[str, float]:
        """Return numbers of the detector that is being evaluated."""
        return {}

    def epoch(self) -> dict[str, float]:
        """Return the numbers of the epoch that ends, and start again."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Continue with that."""


def watchers(
    detector: Detector, options: Training, validation: Validation, arithmetic: Arithmetic
) -> dict[str, Watcher]:
    """Return the watchers that the options ask for, by name. Raises ValueError if several processes train."""
    found: dict[str, Watcher] = {}
    for make in find_model(options.model).watchers:
        found |= resolve(make)(detector, options, validation, arithmetic)
    if found and world_size() > 1:
        asked = ", ".join(f"{name}={getattr(options, name)}" for name in found)
        raise ValueError(f"{asked}: it sees the images of one process; leave it out")
    return found
