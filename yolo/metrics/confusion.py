"""Which class is taken for which: the confusion matrix of a detector, with background.

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
    """Counts int64 `[C + 1, C + 1]`: row = true class, column = detected class, the last of both is the background.

    Detections count if their score exceeds the confidence. The diagonal holds COCO's matches. Detections and objects
    that are left over are then matched with each other whatever their class, again the best score first, each with the
    free object that it overlaps most, from IoU 0.5 on. What is left after that is background that was taken for
    an object (last row), and objects that were not found (last column). Crowds and what lies in them are left out.
    """
    found = verdict(result)
    records, classes = found.records, found.records.classes
    truths = records.truths
    sure = found.counted & (records.found.scores > confidence)
    hit = found.hit & sure
    free = ~truths.crowd & ~result.matches.ignored[0]
    free[found.truth[hit]] = False
    objects = free.nonzero().squeeze(1)
    objects = objects[lexsort(truths.image[objects])]  # by image
    others = (sure & ~hit).nonzero().squeeze(1)
    others = others[lexsort(-records.found.scores[others])]
    start, end = runs(truths.image[objects], records.found.image[others])
    who, whom, iou = pairs(records.found.boxes[others], truths.boxes[objects], start, end, IOU)
    taken = greedy(
        who, whom, iou, torch.zeros_like(who, dtype=torch.bool), iou.new_tensor([IOU]), len(others), len(objects)
    )[0]
    wrong = taken >= 0
    confused = objects[taken[wrong]]
    lost = free.index_fill(0, confused, False)
    background = torch.full_like(records.rank, classes)
    true = torch.cat((truths.label[found.truth[hit]], truths.label[confused], background[: int((~wrong).sum())]))
    detected = torch.cat(
        (records.found.label[hit], records.found.label[others[wrong]], records.found.label[others[~wrong]])
    )
    counts = torch.bincount(true * (classes + 1) + detected, minlength=(classes + 1) ** 2)
    matrix = counts.view(classes + 1, classes + 1)
    matrix[:-1, -1] = torch.bincount(truths.label[lost], minlength=classes)
    return matrix.cpu()
