"""What the parts of benchmarks/gpu.py share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from measure import Figures
from resume import BATCHES
from torch import Tensor

from yolo.data.shapes.scenes import make_shapes

Rows = Iterator[tuple[str, str]]
"""What was measured, and the figure; each row as soon as it is known."""


class Scale(NamedTuple):
    """How large everything is. The defaults are those of a run whose figures count."""

    cfgs: tuple[str, ...] = ("yolov3.cfg", "yolov3-tiny.cfg")
    """Of inference; the first one is trained and compiled, too."""
    size: int = 416
    """Height and width of the network input in pixels."""
    batches: tuple[int, ...] = (1, 64)
    """Of inference."""
    train_batches: tuple[int, ...] = (16, 64)
    steps: int = 80
    """Of an epoch of training: long beside the start of the worker processes."""
    rounds: int = 10
    matrix: int = 8192
    """Rows and columns of the matrix product."""
    loss_batch: int = 4
    candidates: int = 26_000
    """Of NMS."""
    detections: int = 500_000
    """Of the metrics."""
    workers: int | None = None
    """Processes that read images; None leaves the number to training."""
    preset_words: tuple[str, ...] = ()
    """Options on top of a preset."""


FULL = Scale()
QUICK = Scale(
    cfgs=("toy.cfg",),
    size=64,
    batches=(1, 2),
    train_batches=(2,),
    steps=2,
    rounds=1,
    matrix=128,
    loss_batch=1,
    candidates=500,
    detections=2000,
    workers=0,
    preset_words=("--epochs", "2", "--warmup-steps", "1"),
)


@dataclass
class Bench:
    """Where and how the parts run. `peak` is in operations per second, NaN until it is measured.

    `reserved` are the seconds that the parts after this one may need.
    """

    device: torch.device
    scale: Scale
    data: Path | None
    folder: Path
    keep: Path | None
    deadline: float
    peak: float = float("nan")
    reserved: float = 0

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU of NVIDIA's."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Return when the device has finished."""
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def seconds_left(self) -> float:
        """Return the seconds until the deadline."""
        return self.deadline - time.monotonic()

    def shapes(self) -> Path:
        """Return the folder of a small embedded set, drawn at the first call."""
        return make_shapes(self.folder / "shapes", train=4 * BATCHES, val=8)


class Part(NamedTuple):
    """A part of the benchmark. It is skipped by name unless `seconds` are left."""

    name: str
    seconds: float
    run: Callable[[Bench], Rows]


def require(holds: bool, what: str) -> None:
    """Raise RuntimeError unless a condition holds, which fails the part."""
    if not holds:
        raise RuntimeError(what)


def apart(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the largest of the differences |a - b| / |b| (2-norms) of pairs of tensors; inf for one not finite."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        a, b = a.detach().cpu().double(), b.detach().cpu().double()
        if not bool(a.isfinite().all()):
            return float("inf")
        worst = max(worst, float((a - b).norm() / b.norm().clamp(min=1e-30)))
    return worst


def in_words(figures: Figures, unit: str, form: str = ",.2f") -> str:
    """Return the figures as `median unit (minimum to maximum)`."""
    low, median, high = figures.spread(form).split()
    return f"{median} {unit} ({low} to {high})"
