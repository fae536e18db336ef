"""Pascal VOC's average precision.

Letters: `D` detections, `C` classes. Rules: the VOC development kit (Everingham et al. 2010, §4.2). A detection is
assigned to the object of its class that it overlaps most. The best detection of an object is correct, each further one
false. Objects marked difficult (crowds in COCO's data) do not count, and neither do the detections assigned to them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from yolo.metrics.match import claims
from yolo.metrics.precision import average_precision, even_recalls
from yolo.metrics.records import Records


def voc_ap(records: Records, threshold: float = 0.5, *, points: int = 0, inclusive: bool = False) -> Tensor:
    """Return AP of each class, float64 `[C]`; -1 for a class without objects. mAP is the mean of the others.

    Args:
        records: objects and all their detections.
        threshold: smallest IoU of a correct detection.
        points: 11 as in VOC 2007, or 0 for the area under the whole curve, as from 2010 on.
        inclusive: sides are right - left + 1. VOC's own corners are pixels that belong to the box, so its program does
            that. Data that were read with left = xmin - 1 and right = xmax include this 1 already.
    """
    claim = claims(records, threshold, inclusive=inclusive)
    crowd = records.truths.crowd
    skipped = (claim.truth >= 0) & crowd[claim.truth] if len(crowd) else torch.zeros_like(claim.first)
    objects = torch.bincount(records.truths.label[~crowd], minlength=records.classes).double()
    return average_precision(claim.first & ~skipped, ~skipped, records.found.label, objects, even_recalls(points))
