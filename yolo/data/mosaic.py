"""Mosaic: four images around a random point, each warped straight into its quarter (Bochkovskiy et al. 2020, §3.4).

Letters: `I` images, `h, w` height and width of the network input in pixels.

The partners of an image are drawn from its block. An epoch divides the images into random blocks of 32, in the order
in which a shuffled epoch visits them. So an image is decoded about once and used about four times if the last ones are
kept (`Recent`), and its partners still differ from epoch to epoch.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from threading import Lock

import numpy as np

from yolo.data.order import Draw, Shuffled
from yolo.data.sample import DataSet, Sample, View
from yolo.size import Size

BLOCK = 32

KEPT = 96 << 20  # bytes of decoded images that are kept in each process


class Recent(View):
    """A `DataSet` that keeps the samples it gave last, up to `most` bytes of pixels in each process.

    Samples are shared: do not change them. Several threads may read; two that ask for one image may both decode it.
    """

    def __init__(self, data: DataSet, most: int = KEPT) -> None:
        super().__init__(data)
        self.most = most
        self._kept: OrderedDict[int, Sample] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __getstate__(self) -> dict[str, object]:
        """Return the state of a copy in another process, which keeps samples of its own."""
        return {**vars(Recent(self.data, self.most)), "_lock": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__ |= {**state, "_lock": Lock()}

    def sample(self, k: int) -> Sample:
        """Return image `k` and its target."""
        with self._lock:
            if k in self._kept:
                self._kept.move_to_end(k)
                return self._kept[k]
        sample = self.data.sample(k)
        with self._lock:
            if k not in self._kept:
                self._bytes += sample[0].numel()
            self._kept[k] = sample
            while self._bytes > self.most and len(self._kept) > 1:
                _, (image, _) = self._kept.popitem(last=False)
                self._bytes -= image.numel()
        return sample


def partners(random: np.random.Generator, draw: Draw, images: int, seed: int, count: int = 3) -> list[int]:
    """Return `count` random images of the block of `draw.image`, other than that one where there are others.

    An image comes twice only if the block is too small.
    """
    order, place = _places(images, seed, draw.epoch)
    first = int(place[draw.image]) // BLOCK * BLOCK
    block = order[first : first + BLOCK]
    others = block[block != draw.image]
    chosen = others if len(others) else block
    return [int(k) for k in random.choice(chosen, size=count, replace=len(chosen) < count)]


@lru_cache(maxsize=2)
def _places(images: int, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of an epoch and the position of each image in it, int64 `[I]` each."""
    order = Shuffled(images, seed)(epoch)
    return order, np.argsort(order)


def quarters(random: np.random.Generator, size: Size) -> list[tuple[int, int, int, int]]:
    """Return the four windows (left, top, right, bottom) around a random point near the middle of the input."""
    h, w = size
    x, y = (int(random.uniform(0.3, 0.7) * side) for side in size.wh)
    return [(0, 0, x, y), (x, 0, w, y), (0, y, x, h), (x, y, w, h)]
