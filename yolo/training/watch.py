"""Watchers of a training: they see every step and every evaluation, and add their own numbers and files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yolo.data.loader import Batch
from yolo.models.detector import Detector
from yolo.options.registry import find_model, resolve
from yolo.options.training import Training
from yolo.process.distributed import world_size
from yolo.training.precision import Arithmetic
from yolo.training.validation import Validation


class Watcher:
    """The base class of watchers, with the methods that the engine calls. Its state is saved in the checkpoint."""

    of_one_process = True
    """Whether it sees the images of one process only, so that it is refused in several."""

    def step(self, first: int, batches: Sequence[Batch], /) -> None:
        """See the batches of a completed step; `first` is the index of the first one within the epoch."""

    def read(self, step: int, loss: float, /) -> dict[str, float]:
        """See the loss of a step, some steps later, and return more numbers of it for TensorBoard."""
        return {}

    def evaluated(self, detector: Detector, /) -> dict[str, float]:
        """Return the watcher's numbers of the detector that is being evaluated."""
        return {}

    def best(self, detector: Detector, /) -> None:
        """See the detector that was evaluated, in process 0, when it is the best so far."""

    def stopped(self) -> None:
        """See the end of a training that is stopped before its last step."""

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
    alone = [name for name, watcher in found.items() if watcher.of_one_process]
    if alone and world_size() > 1:
        enabled = ", ".join(f"{name}={getattr(options, name)}" for name in alone)
        raise ValueError(f"{enabled}: it sees the images of one process; leave it out")
    return found
