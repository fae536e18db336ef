"""Which images a batch holds: a pure function of seed, epoch and batch number, for one process or many.

Letters: `I` images, `B` images in the batch of one process, `W` processes.
"""

from __future__ import annotations

import numpy as np

from yolo.data.order import Draw, chance, epoch_order
from yolo.options.augment import PLAIN, Augment
from yolo.size import Size

STEP = 32  # pixels: the largest stride of YOLOv3, which an input must be a multiple of


class Batches:
    """The batches of every epoch.

    Args:
        images: I.
        batch_size: B, of each process.
        size: network input (h, w) in pixels.
        seed: of the order and of the sizes.
        shuffle: False gives file order.
        options: `multi_scale`, the input of a batch is up to this times larger or smaller, in steps of 32 pixels; not
            in the `last_plain` epochs.
        epochs: how many there will be, for `options.last_plain`.
        rank, world: this process and W. All together see what one process with batches of W·B would see, batch for
            batch; so that none waits, the last batch is filled up with the first images of the epoch.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        size: tuple[int, int],
        *,
        seed: int = 0,
        shuffle: bool = True,
        options: Augment = PLAIN,
        epochs: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if images < 1 or batch_size < 1 or not 0 <= rank < world:
            raise ValueError(
                f"{images} images, batch size {batch_size}, process {rank} of {world}: expected an image, "
                f"a batch size from 1 and a process from 0 to {world - 1}"
            )
        self.images, self.batch_size, self.size, self.seed = images, batch_size, Size(*size), seed
        self.shuffle, self.options, self.epochs, self.rank, self.world = shuffle, options, epochs, rank, world
        options.ends_plain(0, epochs)  # says now what it would say in an epoch

    def __len__(self) -> int:
        """Batches in an epoch, the last one perhaps smaller."""
        return -(-self.images // (self.batch_size * self.world))

    def state_dict(self) -> dict[str, int]:
        """What the batches of an epoch follow from; a run that goes on with other values would see others."""
        return {
            "images": self.images,
            "batch_size": self.batch_size,
            "world": self.world,
            "seed": self.seed,
            "shuffle": int(self.shuffle),
        }

    def epoch(self, epoch: int) -> list[list[Draw]]:
        """The batches of this process."""
        order = epoch_order(self.images, self.seed, epoch) if self.shuffle else np.arange(self.images)
        order = np.resize(order, -(-self.images // self.world) * self.world)
        step = self.batch_size * self.world
        batches = []
        for number, first in enumerate(range(0, len(order), step)):
            size, whole = self._size(epoch, number), order[first : first + step]
            own = np.array_split(whole, self.world)[self.rank]
            batches.append([Draw(epoch, k, size) for k in own.tolist()])
        return batches

    def _size(self, epoch: int, number: int) -> Size:
        """The input of a batch; every process has the same."""
        most = self.options.multi_scale
        if most == 1 or self.options.ends_plain(epoch, self.epochs):
            return self.size
        factor = most ** chance(self.seed, epoch, number, use=2).uniform(-1, 1)
        return Size(*(max(STEP, round(side * factor / STEP) * STEP) for side in self.size))
