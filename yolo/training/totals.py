"""The sums and means of an epoch, and the best epoch so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from yolo.models.detector import Losses
from yolo.process.distributed import gather, rank, sum_over_ranks


class Totals:
    """The sums over images, on the device; each process has the sums of its own images.

    `terms` are the sums of the loss terms over images, float64 `[]`; `counts` the detector's counts, int64 `[]`;
    `ratios` the sum and the number of each of its means, float64 `[2]`.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._clear()

    def _clear(self) -> None:
        self.terms: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}
        self.ratios: dict[str, Tensor] = {}
        self.images = 0
        self.steps, self.norms, self.largest_norm = 0, 0.0, 0.0

    def add(self, losses: Losses, images: int) -> None:
        """Add the mean losses and the counts of a batch of `images` images. Nothing waits for the device."""
        sums = {name: value.detach().double() * images for name, value in losses.terms.items()}
        pairs = {name: torch.stack([part.detach().double() for part in pair]) for name, pair in losses.means.items()}
        for total, values in ((self.terms, sums), (self.counts, losses.counts), (self.ratios, pairs)):
            for name, value in values.items():
                total[name] = total[name] + value if name in total else value
        self.images += images

    def add_step(self, norm: float) -> None:
        """Add an optimizer step with the norm of its gradient."""
        self.steps, self.norms, self.largest_norm = self.steps + 1, self.norms + norm, max(self.largest_norm, norm)

    def means(self, part: str) -> dict[str, float]:
        """Return the means of the terms over the images of all processes, `part/loss` (their sum) first."""
        images = torch.tensor(float(self.images), dtype=torch.float64, device=self.device)
        *sums, images = sum_over_ranks(torch.stack([*self.terms.values(), images])).unbind()
        means = {f"{part}/{name}": float(total / images) for name, total in zip(self.terms, sums, strict=True)}
        return {f"{part}/loss": sum(means.values()), **means}

    def take(self) -> dict[str, float]:
        """Return means of the terms, counts and gradient norms of the epoch over all processes, and reset to 0."""
        values = self.means("train")
        values |= {f"train/{name}": int(sum_over_ranks(count)) for name, count in self.counts.items()}
        pairs = {name: sum_over_ranks(pair).tolist() for name, pair in self.ratios.items()}
        values |= {f"train/{name}": total / number for name, (total, number) in pairs.items() if number}
        if self.steps:
            values |= {"train/gradient": self.norms / self.steps, "train/gradient_max": self.largest_norm}
        self._clear()
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of all processes. A collective call."""
        return {
            "sums": {name: gather(value[None]) for name, value in self.terms.items()},
            "counts": {name: gather(value[None]) for name, value in self.counts.items()},
            "ratios": {name: gather(value[None]) for name, value in self.ratios.items()},
            "images": self.images,
            "gradient": [float(self.steps), self.norms, self.largest_norm],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`, each process with its own sums."""
        self.terms = {name: values[rank()].to(self.device) for name, values in state["sums"].items()}
        self.counts = {name: values[rank()].to(self.device) for name, values in state["counts"].items()}
        # Older checkpoints have no ratios.
        self.ratios = {name: values[rank()].to(self.device) for name, values in state.get("ratios", {}).items()}
        self.images = state["images"]
        steps, self.norms, self.largest_norm = state["gradient"]
        self.steps = int(steps)


class Best:
    """The best epoch so far: the one with the highest metric, or with the lowest if its name has a "/" (a loss)."""

    def __init__(self, metric: str) -> None:
        self.metric, self.value, self.epoch = metric, -math.inf, -1

    def better(self, epoch: int, values: Mapping[str, float | None]) -> bool:
        """Return whether this epoch is better than all before it; if so, it is the best from now on.

        An epoch whose metric is not defined (None) never is.
        """
        found = values[self.metric]
        if found is None:
            return False
        value = -found if "/" in self.metric else found
        if not (value > self.value or self.epoch < 0 or math.isnan(self.value)):
            return False
        self.value, self.epoch = value, epoch
        return True

    def __str__(self) -> str:
        if self.epoch < 0:
            return f"{self.metric} is not defined without objects: the newest weights are kept"
        return f"best {self.metric} {abs(self.value):.4f} in epoch {self.epoch + 1}"

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs."""
        return {"best": self.value, "best_epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.value, self.epoch = state["best"], state["best_epoch"]
        if self.value == -1 and "/" not in self.metric:  # older versions wrote -1 where it was not defined
            self.value, self.epoch = -math.inf, -1
