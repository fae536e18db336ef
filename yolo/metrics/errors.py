"""What costs the AP: false detections and missed objects by kind, and what AP would be without each kind.

Letters: `G` objects, `D` detections, `C` classes. After TIDE (Bolya et al. 2020, §2), whose six kinds and two IoUs
these are. Where several descriptions fit a false detection, the first of the list is taken.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from yolo.metrics.coco import CocoResult
from yolo.metrics.match import pairs
from yolo.metrics.precision import COCO_POINTS, average_precision, mean_over_classes
from yolo.metrics.records import begins, lexsort, runs
from yolo.metrics.verdict import IOU, Verdict, verdict

NEAR = 0.1
"""An object that a detection overlaps by less than this has nothing to do with it."""

KINDS = ("duplicate", "classification", "localisation", "both", "background", "missed")


class Errors(NamedTuple):
    """`ap`: AP at the threshold. `number`: how many errors of each kind. `cost`: how much higher AP were without."""

    ap: float
    number: dict[str, int]
    cost: dict[str, float]


def error_breakdown(result: CocoResult, threshold: float = IOU) -> Errors:
    """The errors at an IoU threshold `t` of the evaluation.

    - duplicate: overlaps an object of its class by `t` or more, which a better detection has found. Without: removed.
    - classification: overlaps an object of another class by `t` or more. Without: the best such detection of an object
      that nothing has found gets its class, the others are removed.
    - localisation: overlaps an object of its class by 0.1 to `t`. Without: the best such detection of an object that
      nothing has found becomes right, the others are removed.
    - both: overlaps only objects of other classes by 0.1 to `t`. Without: removed.
    - background: overlaps nothing by 0.1. Without: removed.
    - missed: an object that nothing has found and that is not the one meant in a classification or localisation error.
      Without: it does not count; a class that has lost all its objects so has AP 1.

    The costs do not add up to what is lacking to 1: errors hide each other. Crowds are left out.
    """
    found = verdict(result, threshold)
    records, truths = found.records, found.records.truths
    false = (found.counted & ~found.hit).nonzero().squeeze(1)
    (same, same_truth), (other, other_truth) = _nearest(found, false)
    conditions = (same >= threshold, other >= threshold, same >= NEAR, other >= NEAR)
    kind = torch.full_like(false, len(conditions))
    for k, condition in reversed(list(enumerate(conditions))):
        kind[condition] = k
    meant = torch.where(kind == 1, other_truth, same_truth)
    meant = torch.where((kind == 1) | (kind == 2), meant, -1)
    missed = found.missed.index_fill(0, meant[meant >= 0], False)
    number = [int((kind == k).sum()) for k in range(len(KINDS) - 1)]
    ap = _ap(found.hit, found.counted, records.found.label, records.found.scores, found.objects)
    cost = {}
    for k, name in enumerate(KINDS[:-1]):
        hit, counted, label = found.hit.clone(), found.counted.clone(), records.found.label.clone()
        chosen = false[kind == k]
        counted[chosen] = False
        leaders, objects = _first_to_mean(chosen, meant[kind == k], records.found.scores, found.missed)
        hit[leaders], counted[leaders], label[leaders] = True, True, truths.label[objects]
        cost[name] = _ap(hit, counted, label, records.found.scores, found.objects) - ap
    fewer = found.objects - torch.bincount(truths.label[missed], minlength=records.classes)
    cost["missed"] = _ap(found.hit, found.counted, records.found.label, records.found.scores, found.objects, fewer) - ap
    return Errors(ap, dict(zip(KINDS, [*number, int(missed.sum())], strict=True)), cost)


def _nearest(found: Verdict, false: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each false detection the largest IoU with an object of its image, and that object: first among those of its
    class, then of the others. 0 and -1 where it overlaps none by 0.1."""
    records, truths = found.records, found.records.truths
    objects = (~truths.crowd).nonzero().squeeze(1)
    objects = objects[lexsort(truths.image[objects])]  # by image
    start, end = runs(truths.image[objects], records.found.image[false])
    who, whom, iou = pairs(records.found.boxes[false], truths.boxes[objects], start, end, NEAR)
    whom = objects[whom]
    same = truths.label[whom] == records.found.label[false[who]]
    nearest = []
    for wanted in (same, ~same):
        detection, truth, best = who[wanted], whom[wanted], iou[wanted]
        first = begins(detection)  # the pairs of a detection stand by descending IoU
        at = detection[first]
        nearest.append(
            (
                iou.new_zeros(len(false)).index_copy(0, at, best[first]),
                torch.full_like(false, -1).index_copy(0, at, truth[first]),
            )
        )
    return nearest


def _first_to_mean(chosen: Tensor, meant: Tensor, scores: Tensor, missed: Tensor) -> tuple[Tensor, Tensor]:
    """The best of the chosen detections for every missed object that one of them means, and these objects."""
    chosen, meant = chosen[meant >= 0], meant[meant >= 0]
    chosen, meant = chosen[missed[meant]], meant[missed[meant]]
    order = lexsort(meant, -scores[chosen])
    chosen, meant = chosen[order], meant[order]
    first = begins(meant)
    return chosen[first], meant[first]


def _ap(
    hit: Tensor, counted: Tensor, label: Tensor, scores: Tensor, objects: Tensor, left: Tensor | None = None
) -> float:
    """Mean AP over the classes with objects `[C]`, by COCO's 101 points; `left` `[C]` of them are to be found."""
    order = lexsort(label, -scores)
    left = objects if left is None else left
    ap = average_precision(hit[order], counted[order], label[order], left, COCO_POINTS)
    return mean_over_classes(torch.where((objects > 0) & (left == 0), 1, ap))
