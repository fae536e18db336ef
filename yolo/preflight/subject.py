"""What the checks look at: the parts of a run, its batches, copies of its detector, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count

import numpy as np

from yolo.data.loader import Batch, collate
from yolo.data.order import Draw
from yolo.data.transforms import Augmented
from yolo.models.detector import Detector
from yolo.size import Size
from yolo.training.assemble import Parts
from yolo.training.checkpoint import random_state, set_random_state


@dataclass(frozen=True)
class Subject:
    """A run that has not begun. No check changes it: they work on copies, and random numbers are put back.

    Args:
        parts: the parts of the run.
        seconds: time for all checks; each may look at `left` and do less.
    """

    parts: Parts
    seconds: float = 60.0
    start: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Seconds that are left; negative when they are used up."""
        return self.start + self.seconds - time.perf_counter()

    @property
    def peak(self) -> float:
        """The highest learning rate of the schedule."""
        return max(map(self.parts.schedule, range(1, self.parts.total_steps + 1)))

    def detector(self) -> Detector:
        """Return a copy of the detector with a network of its own, in training mode, as the first epoch has it."""
        own = self.parts.detector
        own = own.replace(network=deepcopy(own.network))
        own.network.train()
        own.begin_epoch(0)
        return own

    def batches(self, images: int, size: Size | None = None) -> Iterator[Batch]:
        """Yield the batches of the run from its first one on, without end: the first `images` images of each.

        `size` is another input than that of the run.
        """
        parts = self.parts
        samples = parts.detector.samples(parts.seen)
        for epoch in count():
            for draws in parts.batches.epoch(epoch % parts.options.epochs):
                yield collate([samples[draw._replace(size=size or draw.size)] for draw in draws[:images]])

    @cached_property
    def order(self) -> list[int]:
        """All images in the order of the first epoch, but those with objects first."""
        index = self.parts.data.index
        there = np.bincount(index.image[~index.crowd], minlength=len(index)) > 0
        draws = [draw for draws in self.parts.batches.epoch(0) for draw in draws]
        return sorted((draw.image for draw in draws), key=lambda k: not there[k])

    def plain(self, images: Sequence[int]) -> Batch:
        """Return a batch of these images, not augmented."""
        detector = self.parts.detector
        samples = detector.samples(Augmented(self.parts.data, letterbox=detector.letterbox))
        return collate([samples[Draw(0, k, detector.size)] for k in images])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put all random numbers back at the end of the block, so that a training after it is the same as without it."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
