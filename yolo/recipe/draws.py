"""Which images an epoch draws, and the input size of each batch, as darknet does it.

Letters: `I` images of the data set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from yolo.darknet.cfg import Cfg
from yolo.darknet.head_sections import HeadSection
from yolo.data.order import chance
from yolo.size import Size

SAME_SIZE = 10  # iterations of one size

LARGEST_LAST = 100  # final iterations that have the largest size


@dataclass(frozen=True)
class Replaced:
    """Images drawn with replacement: an epoch may visit an image several times or never.

    `length` is the number of draws of an epoch.
    """

    images: int
    seed: int
    length: int

    @property
    def name(self) -> str:
        """The seed and the number of draws decide the order."""
        return f"{self.length} drawn with replacement, seed {self.seed}"

    def __len__(self) -> int:
        return self.length

    def __call__(self, epoch: int, /) -> np.ndarray:
        """Return the indices of an epoch, int64 `[length]`."""
        return chance(self.seed, epoch, 0, use=16).integers(self.images, size=self.length)


def last_head(cfg: Cfg) -> HeadSection:
    """Return the last head section of a detector, whose keys of augmentation and of varying sizes count."""
    head = cfg.layers[cfg.heads[-1]]
    assert isinstance(head, HeadSection)
    return head


def ratio(random: np.random.Generator, most: float) -> float:
    """Return a factor between 1 and `most`, or as often the inverse of one."""
    value = 1 + (most - 1) * random.random()
    return value if random.integers(2) else 1 / value


def size_of(cfg: Cfg, iteration: int, total: int, seed: int) -> Size:
    """Return the network input of an iteration, counted from 0.

    Every 10 iterations have one size. It is the largest one in the first 10 and in the last 100.

    Args:
        cfg: `random` of its last head says how far sizes differ from its own, `resize_step` what divides them.
        iteration: number of updates before this one.
        total: iterations of the run.
        seed: seed of all randomness.
    """
    size, most, step = Size(cfg.net.height, cfg.net.width), last_head(cfg).random, cfg.net.resize_step
    most, block = 1.4 if most == 1 else most, iteration // SAME_SIZE
    if not most:
        return size
    largest = block == 0 or block * SAME_SIZE >= total - LARGEST_LAST
    factor = most if largest else ratio(chance(seed, block, 0, use=17), most)
    # One step more, as in darknet, rounded half up to steps: at least one step.
    drawn = Size(*(math.floor(factor * side / step + 1.5) * step for side in size))
    larger = drawn.height > size.height or drawn.width > size.width
    return size if factor < 1 and larger and not largest else drawn
