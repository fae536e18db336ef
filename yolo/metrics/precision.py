"""Precision and recall along a ranking, and the curve through them.

Letters: `N` hits (detections that found an object), `Q` rankings (one for each class, threshold, or resample), `R`
recall points, `C` classes, `D` detections. A hit is given by the precision and recall at its place in its ranking.
Between hits precision only falls, so a curve needs the hits alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

COCO_POINTS = tuple(np.linspace(0, 1, 101).tolist())
"""The recalls at which COCO reads precision, in pycocotools' own arithmetic: 0, 0.01, ..., 1."""

EPS = float(np.spacing(1))
"""What pycocotools adds to the number of detections before it divides by it."""


def curve(precision: Tensor, recall: Tensor, ranking: Tensor, rankings: int, points: Tensor) -> Tensor:
    """Return the best precision at or beyond each recall point, float64 `[Q, R]`; 0 beyond the last hit.

    Args:
        precision, recall: float64 `[N]` at the hits, in any order.
        ranking: int64 `[N]`, the ranking that a hit belongs to.
        rankings: Q.
        points: float64 `[R]`, ascending, the first is 0.
    """
    reached = torch.searchsorted(points, recall, right=True) - 1  # the last point that the hit has
    best = precision.new_zeros(rankings * len(points))
    best.scatter_reduce_(0, ranking * len(points) + reached, precision, "amax")
    return best.view(rankings, len(points)).flip(1).cummax(1).values.flip(1)


def envelope(precision: Tensor, ranking: Tensor) -> Tensor:
    """Return the best precision at each hit or a later one of its ranking, `[N]`.

    The hits are sorted by ranking, then by place. This is a running maximum from the end, in log2(N) steps of doubled
    reach.
    """
    best, reach = precision, 1
    while reach < len(best):
        same = ranking[reach:] == ranking[:-reach]
        later = torch.where(same, best[reach:], 0)
        best = torch.cat((torch.maximum(best[:-reach], later), best[-reach:]))
        reach *= 2
    return best


def running(values: Tensor, label: Tensor, classes: int, at: Tensor | None = None) -> Tensor:
    """Return running sums int32 `[..., n]` within each class, of integers or bools `[..., n]`.

    An element is part of its own sum. `label` `[n]` ascends. `at` int64 `[m]`: return the sums at these elements only,
    `[..., m]`.
    """
    sums = torch.nn.functional.pad(values.cumsum(-1, dtype=torch.int32), (1, 0))
    before = torch.searchsorted(label, torch.arange(classes, device=label.device))[label]
    if at is None:
        return sums[..., 1:] - sums[..., before]
    return sums[..., at + 1] - sums[..., before[at]]


def even_recalls(points: int) -> tuple[float, ...]:
    """Return `points` recalls from 0 to 1, k / (points - 1). COCO's own 101 differ from these in the last digit."""
    return tuple(k / (points - 1) for k in range(points))


def average_precision(
    hit: Tensor, counted: Tensor, label: Tensor, objects: Tensor, recalls: Sequence[float] = ()
) -> Tensor:
    """Return the area under the curve of each class, float64 `[C]`; 0 without hits, -1 without objects.

    Args:
        hit: bool `[D]`, the detections that found an object; sorted by class, then by descending score.
        counted: bool `[D]`, the correct and the false detections; all others are left out.
        label: int64 `[D]`, ascending.
        objects: float64 `[C]`, the number of objects to be found.
        recalls: the area is the mean of the best precision at or beyond these recalls (`COCO_POINTS`, or 11 even ones
            for VOC 2007). Without them it is the whole area under this step curve (VOC from 2010).
    """
    classes, at = len(objects), hit.nonzero().squeeze(1)
    count = running(hit, label, classes, at).double()
    precision = count / running(counted, label, classes, at)
    ranking = label[at]
    if recalls:
        points = torch.tensor(recalls, dtype=torch.float64, device=label.device)
        area = curve(precision, count / objects[ranking], ranking, classes, points).mean(1)
    else:  # every hit raises recall by the same step
        area = torch.zeros_like(objects).index_add(0, ranking, envelope(precision, ranking)) / objects
    return torch.where(objects > 0, area, -1)


def defined(value: float) -> float | None:
    """Return a metric, or None for -1: without objects there is no such number."""
    return None if value == -1 else value


def in_words(value: float | None) -> str:
    """Return a metric with four digits, `n/a` for None and -1."""
    return "n/a" if value is None or value == -1 else f"{value:.4f}"


def mean_over_classes(values: Tensor) -> float:
    """Return the mean of the values that are not -1; -1 if all are."""
    counted = values[values > -1]
    return float(counted.mean()) if len(counted) else -1.0
