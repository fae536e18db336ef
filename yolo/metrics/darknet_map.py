"""The numbers that darknet's `detector map` prints, for comparison with its published logs.

Letters: `D` detections, `C` classes. It runs at confidence 0.005 and NMS 0.45 without a limit on detections; its label
files contain no crowds. Its matching is VOC's, except that the IoU must exceed the threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from yolo.metrics.match import claims
from yolo.metrics.precision import average_precision, even_recalls
from yolo.metrics.records import Records, select


class DarknetMap(NamedTuple):
    """What darknet prints.

    `map` is the mean of `ap` float64 `[C]` over all classes; a class without objects has 0. The other numbers are those
    at one `confidence`: the numbers of correct, false and missing detections, their ratios, and the mean IoU of all
    detections, where a false one has 0.
    """

    map: float
    ap: Tensor
    confidence: float
    tp: int
    fp: int
    fn: int
    precision: float
    recall: float
    f1: float
    iou: float


def darknet_map(records: Records, threshold: float = 0.5, *, points: int = 0, confidence: float = 0.25) -> DarknetMap:
    """Return darknet's mAP and its counts at one confidence.

    Args:
        records: objects and all their detections. Crowds are left out first.
        threshold: `-iou_thresh`, which the IoU must exceed.
        points: `-points`: 101 for COCO's AP50, 11 for VOC 2007, 0 for the area under the curve.
        confidence: `-thresh`, for the counts: a detection counts if its score exceeds it.
    """
    truths = select(records.truths, (~records.truths.crowd).nonzero().squeeze(1))
    records = records._replace(truths=truths)
    # AP: every detection counts.
    claim = claims(records, threshold, strict=True)
    objects = torch.bincount(truths.label, minlength=records.classes).double()
    counted = torch.ones_like(claim.first)
    ap = average_precision(claim.first, counted, records.found.label, objects, even_recalls(points)).clamp(min=0)
    # The counts at one confidence.
    sure = records.found.scores > confidence
    hit = claim.first & sure
    tp = int(hit.sum())
    fp, fn = int(sure.sum()) - tp, len(truths.label) - tp
    return DarknetMap(
        map=float(ap.mean()),
        ap=ap,
        confidence=confidence,
        tp=tp,
        fp=fp,
        fn=fn,
        precision=tp / max(tp + fp, 1),
        recall=tp / max(tp + fn, 1),
        f1=2 * tp / max(2 * tp + fp + fn, 1),
        iou=float(claim.iou[hit].sum()) / max(tp + fp, 1),
    )
