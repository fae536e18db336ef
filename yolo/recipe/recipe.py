"""The plan of a training that a cfg describes, in the terms of this program.

darknet counts *iterations*, updates of the weights by `batch` images, and knows no epochs: images are drawn with
replacement. Here an epoch is a number of iterations, the time between two evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass

from yolo.darknet.cfg import Cfg
from yolo.recipe.draws import Replaced, size_of
from yolo.recipe.rates import rate
from yolo.size import Size

SHORT, EPOCH = 10_000, (100, 1_000)
"""An epoch has 100 iterations in a training of up to 10,000, in a longer one 1,000."""


@dataclass(frozen=True)
class Recipe:
    """How a cfg trains its network.

    Args:
        cfg: the cfg, with the classes of the data.
        seed: seed of the order of images, their augmentation and the sizes of the input.
        first: number of iterations after which the weights were saved, 0 for initial ones.
    """

    cfg: Cfg
    seed: int = 0
    first: int = 0

    @property
    def mini_batch(self) -> int:
        """Number of images that the network sees at once."""
        return self.cfg.net.batch // self.cfg.net.subdivisions

    @property
    def batch(self) -> int:
        """Number of images of an iteration."""
        return self.mini_batch * self.cfg.net.subdivisions

    @property
    def total(self) -> int:
        """Number of iterations of the whole training."""
        return self.cfg.net.max_batches

    @property
    def epoch_steps(self) -> int:
        """Number of iterations of an epoch; the last one may have fewer."""
        return min(self.total, EPOCH[self.total > SHORT])

    @property
    def epochs(self) -> int:
        """Number of epochs of the whole training."""
        return -(-self.total // self.epoch_steps)

    @property
    def start(self) -> tuple[int, int]:
        """The epoch and the mini-batch in it at which the training begins."""
        epoch, iteration = divmod(self.first, self.epoch_steps)
        return epoch, iteration * self.cfg.net.subdivisions

    def size_of(self, epoch: int, number: int) -> Size:
        """Return the network input of a mini-batch, from the epoch and its number within the epoch."""
        iteration = epoch * self.epoch_steps + number // self.cfg.net.subdivisions
        return size_of(self.cfg, iteration, self.total, self.seed)

    def rate(self, t: int) -> float:
        """Return the learning rate of iteration `t`, from 1."""
        return rate(self.cfg.net, t, self.seed)

    def order(self, images: int) -> Replaced:
        """Return the order in which an epoch draws from `images` images."""
        return Replaced(images, self.seed, self.epoch_steps * self.batch)
