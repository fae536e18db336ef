"""Watchers of a training: they see every step and every evaluation, change nothing, and add their own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yolo.data.loader import Batch
from yolo.distributed import world_size
from yolo.models.detector import Detector
from yolo.options.registry import find_model, resolve
from yolo.options.training import Training
from yolo.training.precision import Arithmetic
from yolo.training.validation import Validation


class Watcher:
    """The base class of watchers, with the methods that the engine calls. Its state is saved in the checkpoint."""

    def step(self, first: int, batches: Sequence[Batch], /) -> None:
        """See the batches of a completed step; `first` is the index of the first one within the epoch."""

    def evaluated(self, detector: Detector, /) -> dict[str, float]:
        """Return the watcher's numbers of the detector that is being evaluated."""
        return {}

    def epoch(self) -> dict[str, float]:
        """Return the numbers of the epoch that ends, and reset."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Continue from `state_dict()`."""


def watchers(
    detector: Detector, options: Training, validation: Validation, arithmetic: Arithmetic
) -> dict[str, Watcher]:
    """Return the watchers that the options enable, by name. Raises ValueError for watchers in several processes."""
    found: dict[str, Watcher] = {}
    for make in find_model(options.model).watchers:
        found |= resolve(make)(detector, options, validation, arithmetic)
    if found and world_size() > 1:
        enabled = ", ".join(f"{name}={getattr(options, name)}" for name in found)
        raise ValueError(f"{enabled}: it sees the images of one process; leave it out")
    return found
