"""Options of training: the learning rate. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

ScheduleName = Literal["warmup", "darknet", "cosine", "constant"]

USED: dict[ScheduleName, tuple[str, ...]] = {
    "warmup": ("lr", "peak_lr", "warmup_steps", "warmup_power"),
    "darknet": ("lr", "burn_in", "steps", "scales"),
    "cosine": ("lr", "peak_lr", "warmup_steps", "final_lr"),
    "constant": ("lr", "warmup_steps"),
}
"""What each schedule is made of; the other settings have no effect on it."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over the steps of the optimizer; `yolo/schedule.py` has the formulas.

    A setting that the schedule does not use is refused unless it has its default, so that none is without effect.
    """

    schedule: ScheduleName = "warmup"
    """warmup rises to a peak and falls as 1/step, darknet falls in stairs, cosine falls along half a cosine."""
    lr: float = 1e-4
    """Where warmup and cosine start from; darknet and constant: the full rate."""
    peak_lr: float = 8e-4
    """warmup, cosine: the highest rate, reached at the end of the warm-up."""
    warmup_steps: int = 333
    """warmup, cosine, constant: steps of the optimizer until the highest rate is reached."""
    warmup_power: float = 1.0
    """warmup: behind the peak the rate falls as 1/step to this power; 0 stays at the peak."""
    burn_in: int = 1000
    """darknet: steps of the optimizer in which the rate rises from 0, as (step/burn_in)^4; 0 is off."""
    steps: tuple[int, ...] = (400_000, 450_000)
    """darknet: from these steps of the optimizer on the rate is multiplied by its `scales`."""
    scales: tuple[float, ...] = (0.1, 0.1)
    """darknet: a factor for each of `steps`."""
    final_lr: float = 0.0
    """cosine: the rate of the last step."""

    @property
    def read(self) -> tuple[str, ...]:
        """The settings that have an effect, in their order."""
        skipped = self.schedule == "cosine" and self.warmup_steps == 0  # the first step has the peak already
        return tuple(name for name in USED[self.schedule] if not (skipped and name == "lr"))

    def __post_init__(self) -> None:
        self._refuse_without_effect()
        for name in ("lr", "peak_lr", "final_lr"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)}: expected a learning rate from 0")
        top = "peak_lr" if "peak_lr" in self.read else "lr"
        if not getattr(self, top) > 0:
            raise ValueError(f"{top}={getattr(self, top)} with schedule={self.schedule}: expected a rate above 0")
        for name in {"lr", "final_lr"}.intersection(self.read):
            if getattr(self, name) > getattr(self, top):
                raise ValueError(f"{name}={getattr(self, name)} is above {top}={getattr(self, top)}, the highest rate")
        least = 1 if self.schedule == "warmup" else 0
        if self.warmup_steps < least:
            raise ValueError(f"warmup_steps={self.warmup_steps}: expected at least {least} with {self.schedule}")
        if not 0 <= self.warmup_power < math.inf:
            raise ValueError(f"warmup_power={self.warmup_power}: expected a power from 0")
        self._check_stairs()

    def _refuse_without_effect(self) -> None:
        """ValueError that names the changed settings which the schedule does not read."""
        unread = [field for field in fields(self) if field.name not in ("schedule", *self.read)]
        changed = [f"{f.name}={getattr(self, f.name)}" for f in unread if getattr(self, f.name) != f.default]
        if changed:
            raise ValueError(
                f"without effect: {', '.join(changed)} with schedule={self.schedule}, which reads "
                f"{', '.join(self.read)}; leave it out"
            )

    def _check_stairs(self) -> None:
        """ValueError unless `steps` ascend and each has its factor."""
        if self.burn_in < 0:
            raise ValueError(f"burn_in={self.burn_in}: expected steps of the optimizer, 0 for none")
        if len(self.steps) != len(self.scales):
            raise ValueError(f"{len(self.steps)} steps and {len(self.scales)} scales: expected a factor for each step")
        if list(self.steps) != sorted({*self.steps}) or any(step < 1 for step in self.steps):
            raise ValueError(f"steps={self.steps}: expected steps of the optimizer from 1, each above the one before")
        if not all(0 < scale < math.inf for scale in self.scales):
            raise ValueError(f"scales={self.scales}: expected factors above 0")


@dataclass(frozen=True, kw_only=True)
class PlotLr:
    """Draws the learning rate of the four schedules and prints a few of its values.

    The chosen schedule has the given settings; the others start, rise and peak alike, so that they can be compared.
    """

    schedule: Annotated[Schedule, arg(name="")] = Schedule()
    """The one that is asked for."""
    total_steps: int = 3330
    """Steps of the optimizer: epochs times batches, divided by the batches of an accumulation."""
    out: Path = Path("runs/plot-lr/schedules.png")
    """The picture."""

    def __post_init__(self) -> None:
        if self.total_steps < 2:
            raise ValueError(f"total_steps={self.total_steps}: expected at least 2, or there is nothing to draw")
