"""How far AP depends on which images happen to be in the data set: bootstrap intervals over images.

Letters: `B` resamples, `I` images, `C` classes, `T` IoU thresholds. A resample draws I images with replacement
(Efron 1979). One that is drawn twice counts as two images, one that is not drawn is absent. Nothing is matched anew:
matches are made within an image, so a resample only weighs them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from yolo.metrics.coco import CocoResult
from yolo.metrics.precision import COCO_POINTS, EPS, curve, running

_ELEMENTS = 1 << 23  # numbers of one intermediate tensor, which bounds the memory


class Interval(NamedTuple):
    """Lower and upper end."""

    low: float
    high: float


def bootstrap(result: CocoResult, resamples: int = 1000, *, level: float = 0.95, seed: int = 0) -> dict[str, Interval]:
    """How far `AP` and `AP50` would differ with other images, as many as these: the interval that holds `level`.

    The central part of the resamples, moved so that their mean lies on the value. It has to be moved: on few images
    AP is biased upwards (rare classes with few false detections among so few images), and a resample, with a third
    of the images absent, is biased once more. For the same reason the interval says nothing about AP on far more
    images.

    The draws depend on the seed alone, not on the device. AP50 is left out if 0.5 is not among the thresholds; nothing
    comes out without objects.
    """
    by_threshold = resampled(result, resamples, seed)
    chosen = {"AP": (result.ap(), by_threshold.mean(1))}
    if 0.5 in result.rules.thresholds:
        chosen["AP50"] = result.ap(0.5), by_threshold[:, result.rules.thresholds.index(0.5)]
    return {name: _centred(value, ap[~ap.isnan()].cpu(), level) for name, (value, ap) in chosen.items() if value > -1}


def resampled(result: CocoResult, resamples: int, seed: int = 0) -> Tensor:
    """AP at each threshold of so many random resamples, float64 `[B, T]`; NaN where one has no objects.

    The draws depend on the seed and the number of images alone: the results of two detectors on the same images
    can be compared resample by resample.
    """
    images = result.records.images
    chunk = max(1, _ELEMENTS // max(len(result.records.rank), len(result.records.truths.label), images, 1))
    generator = torch.Generator().manual_seed(seed)
    values = []
    for first in range(0, resamples, chunk):
        drawn = torch.randint(images, (min(chunk, resamples - first), images), generator=generator)
        weights = torch.zeros_like(drawn).scatter_add_(1, drawn, torch.ones_like(drawn))
        values.append(resampled_ap(result, weights.to(result.records.image_ids.device)))
    return torch.cat(values)


def _centred(value: float, resamples: Tensor, level: float) -> Interval:
    """The central part of the resamples, moved by what their mean is off, within 0 to 1."""
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    moved = torch.quantile(resamples, ends) - resamples.mean() + value
    return Interval(*moved.clamp(0, 1).tolist())


def resampled_ap(result: CocoResult, weights: Tensor) -> Tensor:
    """AP at each threshold of each resample, float64 `[B, T]`; NaN where a resample has no objects.

    `weights` int64 `[B, I]`: how often each image was drawn, in the order of `records.image_ids`.
    """
    records, matches = result.records, result.matches
    found, truths, classes = records.found, records.truths, records.classes
    ignored = torch.cat((matches.ignored[0], torch.zeros(1, dtype=torch.bool, device=weights.device)))
    low, high = next(iter(result.rules.areas.values()))
    area = found.boxes[:, 2] * found.boxes[:, 3]
    inside = (area >= low) & (area <= high)
    weights = weights.int()
    objects = _per_class(weights[:, truths.image] * ~matches.ignored[0], truths.label, classes).double()
    label, image = found.label[matches.found], found.image[matches.found]
    seen = running(weights[:, found.image] * inside, found.label, classes, matches.found)
    inside, own = inside[matches.found], weights[:, image]
    points = torch.tensor(COCO_POINTS, dtype=torch.float64, device=weights.device)
    rows = torch.arange(len(weights), device=weights.device).unsqueeze(1) * classes
    aps = []
    for truth in matches.truth[0]:
        skipped = (truth >= 0) & ignored[truth]
        hit = (truth >= 0) & ~skipped
        change = (hit & ~inside).int() - (skipped & inside).int()
        hits = hit.nonzero().squeeze(1)
        count = running(own * hit, label, classes, hits).double()
        total = (seen[:, hits] + running(own * change, label, classes, hits)).double()
        ranking = rows + label[hits]
        # A hit that was not drawn stands where the hit before it stands, or lower: it changes nothing.
        best = curve(
            (count / (total + EPS)).flatten(),
            (count / objects.gather(1, label[hits].expand(len(weights), -1)).clamp(min=1)).flatten(),
            ranking.flatten(),
            len(weights) * classes,
            points,
        )
        ap = best.view(len(weights), classes, -1).mean(2)
        aps.append(torch.where(objects > 0, ap, torch.nan).nanmean(1))
    return torch.stack(aps, dim=1)


def _per_class(values: Tensor, label: Tensor, classes: int) -> Tensor:
    """Sums `[B, C]` of `values` `[B, n]` over each class; `label` `[n]` ascends."""
    sums = torch.nn.functional.pad(values.cumsum(1, dtype=torch.int32), (1, 0))
    ends = torch.searchsorted(label, torch.arange(classes + 1, device=label.device))
    return sums[:, ends[1:]] - sums[:, ends[:-1]]
