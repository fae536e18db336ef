"""Randomness and the order of images, as pure functions of the seed, the epoch and the image.

So a sample does not depend on the worker that makes it, on a restart, or on the samples before it.

Letters: `I` images of the data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch

from yolo.size import Size

CPU = torch.device("cpu")


class Draw(NamedTuple):
    """A sample that is to be made: the epoch, the index of the image, the size of the network input.

    `number` is the place in the epoch. Only an order that repeats images needs it: it tells their draws apart.
    """

    epoch: int
    image: int
    size: Size
    number: int = 0


def chance(seed: int, epoch: int, number: int, use: int = 0) -> np.random.Generator:
    """Return the random numbers of one thing in one epoch; every `use` of the same thing has its own."""
    return np.random.default_rng([seed, epoch, number, use])


@contextmanager
def torch_chance(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Seed torch's random numbers on the CPU and on `device`, and restore their state afterwards.

    For code that draws from them, such as torchvision's transforms and samplers.
    """
    gpu = device.type == "cuda"
    with torch.random.fork_rng([device] if gpu else []):
        torch.default_generator.manual_seed(seed)
        if gpu:
            torch.cuda.manual_seed_all(seed)
        yield


class Order(Protocol):
    """The images that an epoch visits: a pure function of the epoch, so that a resumed run sees the same ones."""

    @property
    def name(self) -> str:
        """What the order depends on, in words, such as `shuffled, seed 0`. Checkpoints compare it."""

    def __len__(self) -> int:
        """Return the number of indices, the same in every epoch."""

    def __call__(self, epoch: int, /) -> np.ndarray:
        """Return the indices of an epoch, int64 `[len(order)]` from 0 to I - 1. An image may come twice or never."""


@dataclass(frozen=True)
class Shuffled:
    """Every image once, in a random order that differs from epoch to epoch."""

    images: int
    seed: int

    @property
    def name(self) -> str:
        """The seed decides the order."""
        return f"shuffled, seed {self.seed}"

    def __len__(self) -> int:
        return self.images

    def __call__(self, epoch: int, /) -> np.ndarray:
        """Return the order of an epoch, int64 `[I]`."""
        return chance(self.seed, epoch, 0, use=1).permutation(self.images)


@dataclass(frozen=True)
class InOrder:
    """Every image once, in the order of the data set."""

    images: int
    name: str = "in order"

    def __len__(self) -> int:
        return self.images

    def __call__(self, _epoch: int, /) -> np.ndarray:
        """Return 0 to I - 1."""
        return np.arange(self.images)
