"""A run as Python sees it after its training."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from yolo.models.detector import Detector
from yolo.models.load import load
from yolo.training.run_folder import BEST


@dataclass(frozen=True)
class Trained:
    """A run that `yolo.train` made or resumed."""

    folder: Path
    """The folder of the run."""
    finished: bool
    """Whether training is complete; False if it was interrupted: `yolo.train(resume=run.folder)` continues it."""
    best_epoch: int
    """The epoch, from 0, with the best `early_metric`; -1 as long as there is none."""
    history: list[dict[str, Any]] = field(repr=False)
    """What metrics.jsonl holds: for each epoch a dict of `epoch`, `step`, losses and metrics. A metric that the data
    does not define is None."""

    @property
    def metrics(self) -> dict[str, Any]:
        """The numbers of the last epoch; empty if none is complete."""
        return self.history[-1] if self.history else {}

    @property
    def best(self) -> dict[str, Any]:
        """The numbers of the epoch whose weights best.safetensors has; empty if there is none."""
        # Without a best epoch it has the weights of the last one that was evaluated.
        rows = [
            row
            for row in self.history
            if row["epoch"] == self.best_epoch or (self.best_epoch < 0 and "eval_seconds" in row)
        ]
        return rows[-1] if rows else {}

    @cached_property
    def model(self) -> Detector:
        """The detector in best.safetensors, loaded at first use. Raises FileNotFoundError if there is none yet."""
        return load(self.folder / BEST)
