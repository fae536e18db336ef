"""Where chance comes from: the seed, the epoch and the image, and nothing else.

An image is the same in whichever worker it is made, after a restart, and whatever came before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

from yolo.size import Size


class Draw(NamedTuple):
    """An image, by index, as it is to be in that epoch, for a network input of that size (h, w) in pixels."""

    epoch: int
    image: int
    size: Size


def chance(seed: int, epoch: int, number: int, use: int = 0) -> np.random.Generator:
    """The random numbers of one thing in one epoch; things of another `use` have others."""
    return np.random.default_rng([seed, epoch, number, use])


@contextmanager
def torch_chance(seed: int) -> Iterator[None]:
    """torch's random numbers on the CPU begin at `seed`, and go on afterwards where they stood.

    For code that takes its chance from there, such as torchvision's transforms.
    """
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


def epoch_order(images: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the images in an epoch, int64 `[I]`."""
    return chance(seed, epoch, 0, use=1).permutation(images)
