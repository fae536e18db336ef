"""What became of every detection and object at one IoU threshold, from which curves, confusions and errors start.

Letters: `G` objects, `D` detections, `C` classes. All from COCO's matching, in the first area range of its rules.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from yolo.metrics.coco import CocoResult
from yolo.metrics.records import Records

IOU = 0.5
"""Default of the smallest IoU of a correct detection."""


class Verdict(NamedTuple):
    """The verdict on the detections and objects of `records`.

    `truth` int64 `[D]`: the object that a detection matches, -1 for none. `hit` bool `[D]`: the detection is correct.
    `counted` bool `[D]`: it is correct or false; all others match an ignored object, or have a size outside the range.
    `missed` bool `[G]`: the object counts and no detection matches it.
    """

    records: Records
    truth: Tensor
    hit: Tensor
    counted: Tensor
    missed: Tensor

    @property
    def objects(self) -> Tensor:
        """The number of objects of each class that count, float64 `[C]`."""
        counting = self.missed.index_fill(0, self.truth[self.hit], True)
        return torch.bincount(self.records.truths.label[counting], minlength=self.records.classes).double()


def verdict(result: CocoResult, threshold: float = IOU) -> Verdict:
    """Return the verdict at an IoU threshold of the evaluation's rules.

    Raises:
        ValueError: The rules do not have this threshold.
    """
    if threshold not in result.rules.thresholds:
        raise ValueError(f"IoU {threshold}: expected one of the evaluated thresholds, {result.rules.thresholds}")
    records, matches = result.records, result.matches
    t = result.rules.thresholds.index(threshold)
    # From the detections that reach some object to all detections.
    truth = torch.full_like(records.rank, -1)
    truth[matches.found] = matches.truth[0, t]
    hit = torch.zeros_like(records.rank, dtype=torch.bool)
    hit[matches.found] = matches.hits(0)[0][t]
    inside = records.found.within(*next(iter(result.rules.areas.values())))
    missed = ~matches.ignored[0]
    missed[truth[hit]] = False
    return Verdict(records, truth, hit, hit | (inside & (truth < 0)), missed)
