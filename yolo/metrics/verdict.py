"""What became of every detection and object at one IoU threshold: the common ground of curves, confusions and errors.

Letters: `G` objects, `D` detections. All from COCO's matching, in the first area range of its rules.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from yolo.metrics.coco import CocoResult
from yolo.metrics.records import Records

IOU = 0.5
"""Smallest IoU of a right detection, unless another is asked for."""


class Verdict(NamedTuple):
    """`truth` int64 `[D]`: the object that a detection found, -1 for none. `hit` bool `[D]`: it is right. `counted`
    bool `[D]`: right or false; the others found an ignored object, or have a size outside the range. `missed` bool
    `[G]`: no detection found this object, which counts."""

    records: Records
    truth: Tensor
    hit: Tensor
    counted: Tensor
    missed: Tensor

    @property
    def objects(self) -> Tensor:
        """How many objects of each class count, float64 `[C]`."""
        found = self.records.truths.label[self.truth[self.hit]]
        labels = torch.cat((found, self.records.truths.label[self.missed]))
        return torch.bincount(labels, minlength=self.records.classes).double()


def verdict(result: CocoResult, threshold: float = IOU) -> Verdict:
    """The verdict at an IoU threshold of the evaluation's rules. ValueError for another threshold."""
    if threshold not in result.rules.thresholds:
        raise ValueError(f"IoU {threshold}: expected one of the evaluated thresholds, {result.rules.thresholds}")
    records, matches = result.records, result.matches
    low, high = next(iter(result.rules.areas.values()))
    truth = torch.full_like(records.rank, -1)
    truth[matches.found] = matches.truth[0, result.rules.thresholds.index(threshold)]
    ignored = torch.cat((matches.ignored[0], torch.zeros(1, dtype=torch.bool, device=truth.device)))
    skipped = ignored[truth]  # the last place, -1, stands for no object
    area = records.found.boxes[:, 2] * records.found.boxes[:, 3]
    inside = (area >= low) & (area <= high)
    hit = (truth >= 0) & ~skipped
    missed = ~matches.ignored[0]
    missed[truth[hit]] = False
    return Verdict(records, truth, hit, hit | (inside & (truth < 0)), missed)
