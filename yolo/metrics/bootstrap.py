"""Bootstrap intervals over images: how much AP depends on which images happen to be in the data set.

Letters: `B` resamples, `I` images, `C` classes, `T` IoU thresholds. A resample draws I images with replacement
(Efron 1979). An image that is drawn twice counts as two images, one that is not drawn is absent. Nothing is matched
again: matches are made within an image, so a resample only gives them weights.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from yolo.metrics.coco import CocoResult
from yolo.metrics.weighted import Weighted


class Interval(NamedTuple):
    """Lower and upper end."""

    low: float
    high: float


def bootstrap(result: CocoResult, resamples: int = 1000, *, level: float = 0.95, seed: int = 0) -> dict[str, Interval]:
    """Return intervals of `AP` and `AP50`, which would hold a share `level` of the values on as many other images.

    An interval is the central part of the resamples, moved so that their mean is at the value. It has to be moved. On
    few images AP is biased upwards: rare classes have few false detections there. A resample, which lacks a third of
    the images, is biased once more. For the same reason the interval does not predict AP on far more images.

    The draws depend on the seed alone, not on the device. AP50 is left out if 0.5 is not among the thresholds, and both
    are without objects.
    """
    by_threshold = resampled(result, resamples, seed)
    chosen = {"AP": (result.ap(), by_threshold.mean(1))}
    if 0.5 in result.rules.thresholds:
        chosen["AP50"] = result.ap(0.5), by_threshold[:, result.rules.thresholds.index(0.5)]
    return {name: centred(value, ap[~ap.isnan()].cpu(), level) for name, (value, ap) in chosen.items() if value > -1}


def resampled(result: CocoResult, resamples: int, seed: int = 0) -> Tensor:
    """Return AP at each threshold of B = `resamples` random resamples, float64 `[B, T]`; NaN for those without objects.

    The draws depend on the seed and the number of images alone. So the results of two detectors on the same images can
    be compared resample by resample.
    """
    images, weighted = result.records.images, Weighted(result)
    generator = torch.Generator().manual_seed(seed)
    values = []
    for first in range(0, resamples, weighted.portion):
        drawn = torch.randint(images, (min(weighted.portion, resamples - first), images), generator=generator)
        weights = torch.zeros_like(drawn).scatter_add_(1, drawn, torch.ones_like(drawn))
        values.append(weighted.ap(weights.to(result.records.image_ids.device)))
    return torch.cat(values)


def centred(
    value: float, resamples: Tensor, level: float = 0.95, *, lowest: float = 0.0, highest: float = 1.0
) -> Interval:
    """Return the central part `level` of the resamples, moved so that their mean is `value`, clipped to both limits.

    `resamples` float64 `[B]`, of which there is at least one and none is NaN.
    """
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    moved = torch.quantile(resamples, ends) - resamples.mean() + value
    return Interval(*moved.clamp(lowest, highest).tolist())
