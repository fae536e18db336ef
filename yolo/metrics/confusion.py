"""The confusion matrix of a detector, with background: which class is detected as which.

Letters: `G` objects, `D` detections, `C` classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from yolo.metrics.coco import CocoResult
from yolo.metrics.match import greedy, pairs
from yolo.metrics.records import lexsort, runs
from yolo.metrics.verdict import IOU, verdict


def confusion_matrix(result: CocoResult, confidence: float = 0.25) -> Tensor:
    """Return counts int64 `[C + 1, C + 1]`: row = true class, column = detected class, the last of both = background.

    Detections count if their score exceeds the confidence. The diagonal holds COCO's matches at IoU 0.5. The remaining
    detections and objects are then matched regardless of their class: by descending score, each detection takes the
    free object that it overlaps most, from IoU 0.5 on. What still remains is background that was detected as an object
    (last row), and objects that were missed (last column). Crowds and the detections in them are left out.
    """
    found = verdict(result)
    records, truths, classes = found.records, found.records.truths, found.records.classes
    label, scores = records.found.label, records.found.scores
    sure = found.counted & (scores > confidence)
    hit = found.hit & sure

    # The remaining objects by image, the remaining detections by descending score.
    free = ~truths.crowd & ~result.matches.ignored[0]
    free[found.truth[hit]] = False
    objects = free.nonzero().squeeze(1)
    objects = objects[lexsort(truths.image[objects])]
    others = (sure & ~hit).nonzero().squeeze(1)
    others = others[lexsort(-scores[others])]

    # Match them regardless of their class.
    start, end = runs(truths.image[objects], records.found.image[others])
    who, whom, iou = pairs(records.found.boxes[others], truths.boxes[objects], start, end, IOU)
    no_crowd = torch.zeros_like(who, dtype=torch.bool)
    taken = greedy(who, whom, iou, no_crowd, iou.new_tensor([IOU]), len(others), len(objects))[0]
    wrong = taken >= 0
    confused = objects[taken[wrong]]

    # Count pairs of classes: hits, confusions, false detections of background; then the missed objects.
    background = torch.full_like(others[~wrong], classes)
    true = torch.cat((truths.label[found.truth[hit]], truths.label[confused], background))
    detected = torch.cat((label[hit], label[others[wrong]], label[others[~wrong]]))
    counts = torch.bincount(true * (classes + 1) + detected, minlength=(classes + 1) ** 2)
    matrix = counts.view(classes + 1, classes + 1)
    free[confused] = False
    matrix[:-1, -1] = torch.bincount(truths.label[free], minlength=classes)
    return matrix.cpu()
