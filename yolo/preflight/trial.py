"""A copy of the detector that takes training steps, and how many of them there is time for."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TypeVar

import torch

from yolo.boxes import Detections
from yolo.data.loader import Batch
from yolo.images.placement import Placement
from yolo.options.detection import Filter
from yolo.preflight.subject import Subject
from yolo.training.precision import Arithmetic

T = TypeVar("T")

LATER = "--seconds gives the check more time, a smaller --size needs less"
"""The remedy where there was no time for a verdict."""

LOW = Filter(confidence=0.01)
"""A threshold that detections of a network exceed that has learned little."""


class Trial:
    """A copy of the detector of a run, with an optimizer of its own; the run does not change.

    It computes in the precision of the run, but in float32 in place of float16, whose infinite gradients are normal and
    say nothing.
    """

    def __init__(self, subject: Subject) -> None:
        parts = subject.parts
        self.detector, self.clip = subject.detector(), parts.options.clip
        self.optimizer = parts.optimizer(self.detector)
        self.arithmetic: Arithmetic = nullcontext if parts.precision == torch.float16 else parts.arithmetic

    def backward(self, batch: Batch) -> dict[str, float]:
        """Add the gradients of a batch to those that are there, and return the terms of its loss."""
        with self.arithmetic():
            terms = self.detector.losses(batch.images.to(self.detector.device), batch.targets).terms
            total = torch.stack(list(terms.values())).sum()
            if total.requires_grad:  # otherwise no parameter gets a gradient, which the caller sees
                total.backward()
        return {name: float(value.detach()) for name, value in terms.items()}

    def loss(self, batch: Batch) -> float:
        """Return the loss of a batch in the present mode; in training mode batch norm sees it."""
        with torch.no_grad():
            return sum(self.backward(batch).values())

    def step(self, batch: Batch, rate: float) -> float:
        """Take a step at a learning rate. Returns the loss before it, infinity if the gradient is not finite."""
        network = self.detector.network
        network.zero_grad(set_to_none=True)
        loss = sum(self.backward(batch).values())
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), self.clip or math.inf)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimizer.step()
        return loss if norm.isfinite() else math.inf

    def detect(self, batch: Batch, options: Filter) -> list[Detections]:
        """Return the detections in the images of a batch, in the pixels of its targets."""
        sizes = [target["size"] for target in batch.targets]
        placements = [Placement.of(size, size, letterbox=self.detector.letterbox) for size in sizes]
        return self.detector.detect_batch(batch.images, placements, options)


def within(seconds: float, items: Iterable[T]) -> Iterator[T]:
    """Yield items until the time is used up, the first one in any case."""
    end = time.perf_counter() + seconds
    for item in items:
        yield item
        if time.perf_counter() > end:
            break


def seconds_per_image(trial: Trial, batches: Iterator[Batch]) -> tuple[float, float]:
    """Return the seconds of making an image, and of a step with it; of the second of two steps, the first is slow."""
    for _ in range(2):
        start = time.perf_counter()
        batch = next(batches)
        made = time.perf_counter()
        trial.step(batch, 0.0)
        taken = time.perf_counter()
    return (made - start) / len(batch.images), (taken - made) / len(batch.images)


def fitting(most: int, seconds: float, each: float) -> int:
    """Return how many images of `each` seconds fit into a time: at most `most`, but 2, which batch norm needs."""
    return max(2, min(most, int(seconds / each)))
