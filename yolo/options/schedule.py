"""The learning rate of a training. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from yolo.options.bounds import Bound, Checked, Count

Rate = Annotated[float, Bound("a learning rate from 0", low=0, below=math.inf)]

ScheduleName = Literal["warmup", "darknet", "cosine", "constant", "step"]

USED: dict[ScheduleName, tuple[str, ...]] = {
    "warmup": ("lr", "peak_lr", "warmup_steps", "warmup_share", "warmup_power"),
    "darknet": ("lr", "burn_in", "warmup_share", "steps", "scales"),
    "cosine": ("lr", "peak_lr", "warmup_steps", "warmup_share", "final_lr"),
    "constant": ("lr", "warmup_steps", "warmup_share"),
    "step": ("lr", "warmup_steps", "warmup_share", "step_epochs", "gamma"),
}
"""The settings that each schedule reads. The others have no effect on it."""


@dataclass(frozen=True, kw_only=True)
class Schedule(Checked):
    """The learning rate over the steps of the optimizer; `yolo/training/schedule.py` has the formulas.

    A setting that the chosen schedule does not read is an error unless it has its default.
    """

    schedule: ScheduleName = "cosine"
    """warmup rises to a peak, then falls as 1/step. darknet falls in stairs at given steps. cosine rises to a peak and
    then falls along half a cosine. constant stays. step is multiplied by gamma every few epochs."""
    lr: Rate = 1e-4
    """warmup, cosine: the rate at the start. darknet, constant, step: the full rate."""
    peak_lr: Rate = 6e-3
    """warmup, cosine: the highest rate, reached at the end of the warm-up."""
    warmup_steps: int = 100
    """All but darknet: optimizer steps until the highest rate is reached."""
    warmup_share: Annotated[float | None, Bound("a share above 0, at most 1, or None", above=0, high=1)] = None
    """All: the warm-up (of darknet its burn-in) is at most this share of all steps, so that a short training reaches
    its full rate; None keeps its length."""
    warmup_power: Annotated[float, Bound("a power from 0", low=0, below=math.inf)] = 1.0
    """warmup: after the peak the rate falls as 1/step to this power; 0 stays at the peak."""
    burn_in: Annotated[int, Bound("steps of the optimizer, 0 for none", low=0)] = 1000
    """darknet: optimizer steps during which the rate rises from 0, as (step/burn_in)^4; 0 is off."""
    steps: tuple[int, ...] = (400_000, 450_000)
    """darknet: optimizer steps at which the rate is multiplied by the next of `scales`."""
    scales: tuple[float, ...] = (0.1, 0.1)
    """darknet: one factor for each of `steps`."""
    final_lr: Rate = 0.0
    """cosine: the rate of the last step."""
    step_epochs: Count = 10
    """step: number of epochs between two falls of the rate."""
    gamma: Annotated[float, Bound("a factor above 0, at most 1", above=0, high=1)] = 0.1
    """step: factor of each fall."""

    @property
    def read(self) -> tuple[str, ...]:
        """The settings that have an effect, in the order of `USED`."""
        skipped = self.schedule == "cosine" and self.warmup_steps == 0  # the first step already has the peak rate
        return tuple(name for name in USED[self.schedule] if not (skipped and name == "lr"))

    @property
    def rise(self) -> int:
        """The optimizer steps of the warm-up, which darknet calls burn-in."""
        return self.burn_in if self.schedule == "darknet" else self.warmup_steps

    def __post_init__(self) -> None:
        self._refuse_without_effect()
        super().__post_init__()
        # The highest rate is above 0, and no other rate is above it.
        top = "peak_lr" if "peak_lr" in self.read else "lr"
        if not getattr(self, top) > 0:
            raise ValueError(f"{top}={getattr(self, top)} with schedule={self.schedule}: expected a rate above 0")
        for name in {"lr", "final_lr"}.intersection(self.read):
            if getattr(self, name) > getattr(self, top):
                raise ValueError(f"{name}={getattr(self, name)} is above {top}={getattr(self, top)}, the highest rate")
        least = 1 if self.schedule == "warmup" else 0
        if self.warmup_steps < least:
            raise ValueError(f"warmup_steps={self.warmup_steps}: expected at least {least} with {self.schedule}")
        self._check_stairs()

    def _refuse_without_effect(self) -> None:
        """Raise ValueError with the changed settings that the schedule does not read, if there are any."""
        unread = [f for f in fields(self) if f.name not in ("schedule", *self.read)]
        values = [(f, getattr(self, f.name)) for f in unread]
        changed = [f"{f.name}={value} (by default {f.default})" for f, value in values if value != f.default]
        if changed:
            reads = f"schedule={self.schedule}, which reads {', '.join(self.read)}"
            raise ValueError(f"without effect: {', '.join(changed)} with {reads}; leave it out")

    def _check_stairs(self) -> None:
        """Raise ValueError unless `steps` ascend and each has its factor."""
        if len(self.steps) != len(self.scales):
            raise ValueError(f"{len(self.steps)} steps and {len(self.scales)} scales: expected a factor for each step")
        if list(self.steps) != sorted({*self.steps}) or any(step < 1 for step in self.steps):
            raise ValueError(f"steps={self.steps}: expected steps of the optimizer from 1, each above the one before")
        if not all(0 < scale < math.inf for scale in self.scales):
            raise ValueError(f"scales={self.scales}: expected factors above 0")
