"""The numbers that darknet's `detector map` prints, so that its published logs can be compared.

Letters: `D` detections, `C` classes. It runs at confidence 0.005 and NMS 0.45 without a limit on detections; its label
files hold no crowds. Its matching is VOC's, except that the IoU must exceed the threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from yolo.metrics.match import claims
from yolo.metrics.precision import average_precision, even_recalls
from yolo.metrics.records import Records, select


class DarknetMap(NamedTuple):
    """`map` is the mean of `ap` float64 `[C]` over all classes; one without objects has 0. The others are counted at
    one confidence: right, false and missing detections, their ratios, and the mean IoU, in which false ones have 0."""

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
    """darknet's mAP and the line below it.

    Args:
        records: objects and all their detections. Crowds are left out first.
        threshold: `-iou_thresh`, which the IoU must exceed.
        points: `-points`: 101 for COCO's AP50, 11 for VOC 2007, 0 for the area under the curve.
        confidence: `-thresh`, for the counts: a detection counts if its score exceeds it.
    """
    truths = select(records.truths, (~records.truths.crowd).nonzero().squeeze(1))
    records = records._replace(truths=truths)
    claim = claims(records, threshold, strict=True)
    objects = torch.bincount(truths.label, minlength=records.classes).double()
    recalls, counted = even_recalls(points), torch.ones_like(claim.first)
    ap = average_precision(claim.first, counted, records.found.label, objects, recalls).clamp(min=0)
    sure = records.found.scores > confidence
    tp = int((claim.first & sure).sum())
    fp, fn = int(sure.sum()) - tp, len(truths.label) - tp
    iou = float(claim.iou[claim.first & sure].sum())
    precision, recall = tp / max(tp + fp, 1), tp / max(tp + fn, 1)
    return DarknetMap(
        map=float(ap.mean()),
        ap=ap,
        confidence=confidence,
        tp=tp,
        fp=fp,
        fn=fn,
        precision=precision,
        recall=recall,
        f1=2 * tp / max(2 * tp + fp + fn, 1),
        iou=iou / max(tp + fp, 1),
    )
