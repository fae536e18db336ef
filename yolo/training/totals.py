"""What an epoch adds up to, and which epoch is the best one so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from yolo.distributed import gather, rank, sum_over_ranks
from yolo.models.detector import Losses


class Totals:
    """The sums of an epoch so far, on the device; each process has those of its own images.

    `terms` are the sums of the loss terms over images, float64; `counts` what the detector counted, int64.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._clear()

    def _clear(self) -> None:
        self.terms: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}
        self.images = 0
        self.steps, self.norms, self.largest_norm = 0, 0.0, 0.0

    def add(self, losses: Losses, images: int) -> None:
        """Add a batch of this many images. Nothing waits for the device."""
        sums = {name: value.detach().double() * images for name, value in losses.terms.items()}
        for total, values in ((self.terms, sums), (self.counts, losses.counts)):
            for name, value in values.items():
                total[name] = total[name] + value if name in total else value
        self.images += images

    def add_step(self, norm: float) -> None:
        """Add an optimizer step by the norm of its gradient."""
        self.steps, self.norms, self.largest_norm = self.steps + 1, self.norms + norm, max(self.largest_norm, norm)

    def take(self) -> dict[str, float]:
        """Return the means of the terms, the counts and the gradient norms over all processes, and start again at 0."""
        images = torch.tensor(float(self.images), dtype=torch.float64, device=self.device)
        *sums, images = sum_over_ranks(torch.stack([*self.terms.values(), images])).unbind()
        means = {f"train/{name}": float(total / images) for name, total in zip(self.terms, sums, strict=True)}
        counts = {f"train/{name}": int(sum_over_ranks(count)) for name, count in self.counts.items()}
        values = {"train/loss": sum(means.values()), **means, **counts}
        if self.steps:
            values |= {"train/gradient": self.norms / self.steps, "train/gradient_max": self.largest_norm}
        self._clear()
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return everything. A collective call: each process has sums of its own."""
        return {
            "sums": {name: gather(value[None]) for name, value in self.terms.items()},
            "counts": {name: gather(value[None]) for name, value in self.counts.items()},
            "images": self.images,
            "gradient": [float(self.steps), self.norms, self.largest_norm],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        self.terms = {name: values[rank()].to(self.device) for name, values in state["sums"].items()}
        self.counts = {name: values[rank()].to(self.device) for name, values in state["counts"].items()}
        self.images = state["images"]
        steps, self.norms, self.largest_norm = state["gradient"]
        self.steps = int(steps)


class Best:
    """The best epoch so far, by one metric: the highest one, or the lowest where its name has a "/" (a loss)."""

    def __init__(self, metric: str) -> None:
        self.metric, self.value, self.epoch = metric, -math.inf, -1

    def better(self, epoch: int, values: Mapping[str, float]) -> bool:
        """Return whether this epoch is better than all before, and remember it then."""
        value = -values[self.metric] if "/" in self.metric else values[self.metric]
        if not (value > self.value or self.epoch < 0 or math.isnan(self.value)):
            return False
        self.value, self.epoch = value, epoch
        return True

    def __str__(self) -> str:
        return f"best {self.metric} {abs(self.value):.4f} in epoch {self.epoch + 1}"

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"best": self.value, "best_epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        self.value, self.epoch = state["best"], state["best_epoch"]
