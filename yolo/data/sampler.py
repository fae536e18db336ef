"""Which images a batch holds: a pure function of seed, epoch and batch number, for one process or several.

Letters: `I` images, `B` images in the batch of one process, `W` processes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from yolo.data.order import Draw, InOrder, Order, Shuffled, chance
from yolo.options.augment import PLAIN, Augment
from yolo.size import Size

Sizes = Callable[[int, int], Size]
"""Returns the network input of a batch, from the epoch and the number of the batch in it."""

STEP = 32  # pixels: the largest stride of YOLOv3; the sides of its input are multiples of it


class Batches:
    """The batches of every epoch.

    Args:
        images: I, the number of images of the data set.
        batch_size: B, the number of images per process.
        size: network input (h, w) in pixels.
        seed: seed of the order and of the input sizes.
        shuffle: visit every image once in a random order; False keeps the order of the data set.
        order: another order of images, in place of `shuffle`. It may leave images out and repeat others.
        options: only `multi_scale` and `last_plain` are read. The input of a batch is up to `multi_scale` times larger
            or smaller, in steps of 32 pixels, except in the last `last_plain` epochs.
        epochs: number of epochs of the run; needed for `options.last_plain`.
        sizes: other inputs than those of `multi_scale`; the largest is that of the first batch.
        total: number of batches of the whole run, after which epochs are cut off; by default they are whole.
        rank, world: number of this process from 0, and W. Batch by batch, all processes together see what one process
            with batches of W·B images would see. The last batch is filled up with the first images of the epoch, so
            that no process waits for another.

    Raises ValueError for numbers out of range and for `shuffle=False` beside an order.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        size: tuple[int, int],
        *,
        seed: int = 0,
        shuffle: bool = True,
        order: Order | None = None,
        options: Augment = PLAIN,
        epochs: int = 0,
        sizes: Sizes | None = None,
        total: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if images < 1 or batch_size < 1 or not 0 <= rank < world:
            raise ValueError(
                f"{images} images, batch size {batch_size}, process {rank} of {world}: expected at least one image, "
                f"a batch size of at least 1 and a process from 0 to {world - 1}"
            )
        if order is not None and (not shuffle or not len(order)):
            raise ValueError(
                f"shuffle={shuffle} and an order of {len(order)} images ({order.name}): expected shuffle=True, which "
                f"an order replaces, and at least one image"
            )
        if order is None:
            order = Shuffled(images, seed) if shuffle else InOrder(images)
        self.images, self.batch_size, self.size, self.seed = images, batch_size, Size(*size), seed
        self.order, self.options, self.epochs = order, options, epochs
        self.sizes, self.total = sizes, total
        self.rank, self.world = rank, world
        options.ends_plain(0, epochs)  # raises here what it would raise in an epoch

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch; the last one may be smaller."""
        return -(-len(self.order) // (self.batch_size * self.world))

    def count(self, epoch: int) -> int:
        """Return the number of batches of this epoch, counted from 0."""
        return len(self) if self.total is None else max(0, min(len(self), self.total - epoch * len(self)))

    def state_dict(self) -> dict[str, int | str]:
        """Return what the batches of an epoch follow from. `order` is its name, and left out for those of `shuffle`."""
        state: dict[str, int | str] = {
            "images": self.images,
            "batch_size": self.batch_size,
            "world": self.world,
            "seed": self.seed,
            "shuffle": int(self.order != InOrder(self.images)),
        }
        named = self.order not in (InOrder(self.images), Shuffled(self.images, self.seed))
        return state | {"order": self.order.name} if named else state

    def epoch(self, epoch: int) -> list[list[Draw]]:
        """Return the batches of this process. Raises ValueError for an order that breaks its contract."""
        # The images of the epoch, in their order.
        order = self.order(epoch)
        fits = order.dtype.kind == "i" and order.shape == (len(self.order),)
        if not fits or order.min() < 0 or order.max() >= self.images:
            raise ValueError(
                f"the order of images ({self.order.name}) gave {order.dtype} {list(order.shape)} in epoch {epoch}; "
                f"expected {len(self.order)} integers from 0 to {self.images - 1}"
            )
        # They are filled up with its first images, so that every process has equally many.
        order = np.resize(order, -(-len(order) // self.world) * self.world)
        # A batch of all processes is cut into their shares.
        step = self.batch_size * self.world
        batches = []
        for number, first in enumerate(range(0, len(order), step)[: self.count(epoch)]):
            size, places = self._size(epoch, number), np.arange(first, min(first + step, len(order)))
            own = np.array_split(places, self.world)[self.rank]
            batches.append([Draw(epoch, int(order[place]), size, place) for place in own.tolist()])
        return batches

    def _size(self, epoch: int, number: int) -> Size:
        """Return the network input of a batch, the same in every process."""
        if self.sizes is not None:
            return self.sizes(epoch, number)
        most = self.options.multi_scale
        if most == 1 or self.options.ends_plain(epoch, self.epochs):
            return self.size
        return self._scaled(most ** chance(self.seed, epoch, number, use=2).uniform(-1, 1))

    @property
    def largest(self) -> Size:
        """The largest network input of a batch."""
        if self.sizes is not None:
            return self.sizes(0, 0)
        most = self.options.multi_scale
        return self.size if most == 1 else self._scaled(most)

    def _scaled(self, factor: float) -> Size:
        return Size(*(max(STEP, round(side * factor / STEP) * STEP) for side in self.size))
