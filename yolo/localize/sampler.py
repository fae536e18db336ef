"""Epochs of all images with an object (positives) and a share of those without (negatives), against imbalance.

Letters: `I` images of the data set.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from yolo.data.order import chance


class BalancedOrder:
    """All positives once and `ratio` times as many negatives without repetition, shuffled together.

    Every epoch draws other negatives and another order. The number of negatives is rounded, and at least 1. With fewer
    negatives in the data, all are used and `note` names the ratio that is left.

    Args:
        labels: `[I]` 0 or 1, the presence of an object in each image.
        ratio: negatives per positive, above 0.
        seed: of the random numbers.

    Raises:
        ValueError: for other labels, labels without a 0 or without a 1, and a ratio out of range.
    """

    def __init__(self, labels: np.ndarray, ratio: float, seed: int) -> None:
        if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
            raise ValueError(f"labels {list(labels.shape)}: {np.unique(labels)[:5]}; expected [I] of 0 and 1")
        if not 0 < ratio < np.inf:
            raise ValueError(f"ratio={ratio}: expected a number above 0, the negatives per positive")
        self._positives, self._negatives = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
        positives, negatives = len(self._positives), len(self._negatives)
        if not positives or not negatives:
            raise ValueError(
                f"{positives} positives (1) and {negatives} negatives (0): nothing to balance; "
                "add images of the other kind, or shuffle without this order"
            )
        self._drawn, self.note = max(1, round(ratio * positives)), ""
        if self._drawn > negatives:
            self._drawn, ratio = negatives, negatives / positives
            self.note = f"{negatives} negatives are too few for {positives} positives. Adjusting ratio to {ratio:.2f}"
        self._ratio, self._seed = ratio, seed

    @property
    def name(self) -> str:
        """The ratio and the seed decide the order."""
        return f"{self._ratio:g} negatives per positive, shuffled, seed {self._seed}"

    def __len__(self) -> int:
        return len(self._positives) + self._drawn

    def __call__(self, epoch: int, /) -> np.ndarray:
        """Return the indices of an epoch, int64."""
        random = chance(self._seed, epoch, 0, use=4)
        negatives = random.choice(self._negatives, self._drawn, replace=False)
        return random.permutation(np.concatenate((self._positives, negatives)))


class BalancedSampler(Sampler[int]):
    """`BalancedOrder` for a plain DataLoader. Every iteration is an epoch, from 0; `set_epoch` chooses the next one.

    Args:
        labels: 0 or 1 for each image of the data set, as a sequence, an array or a tensor `[I]`.
        negative_ratio: negatives per positive, above 0.
        seed: of the random numbers.

    Raises:
        ValueError: as `BalancedOrder`.
    """

    def __init__(self, labels: Sequence[int] | np.ndarray | Tensor, negative_ratio: float = 1.0, seed: int = 0) -> None:
        self.order = BalancedOrder(torch.as_tensor(labels).cpu().numpy(), negative_ratio, seed)
        self.epoch = 0
        if self.order.note:
            warnings.warn(self.order.note, stacklevel=2)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        indices = self.order(self.epoch)
        self.epoch += 1
        return iter(indices.tolist())

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of an epoch, from 0, as after a resume."""
        self.epoch = epoch
