"""What costs AP: false detections and missed objects by kind, and what AP would be without each kind.

Letters: `G` objects, `D` detections, `C` classes. After TIDE (Bolya et al. 2020, §2), which defines the six kinds and
the two IoUs. Where several descriptions fit a false detection, the first of the list applies.
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
"""A detection whose IoU with an object is smaller than this has nothing to do with it."""

KINDS = ("duplicate", "classification", "localisation", "both", "background", "missed")


class Errors(NamedTuple):
    """`ap`: AP at the threshold. `number`: the number of errors by kind. `cost`: the gain in AP without that kind."""

    ap: float
    number: dict[str, int]
    cost: dict[str, float]


def error_breakdown(result: CocoResult, threshold: float = IOU) -> Errors:
    """Return the errors at an IoU threshold `t` of the evaluation, by kind, and what each kind costs.

    - duplicate: overlaps an object of its class by `t` or more, which a better detection has found. Without: removed.
    - classification: overlaps an object of another class by `t` or more. Without: the best such detection of an object
      that nothing has found gets its class, the others are removed.
    - localisation: overlaps an object of its class by 0.1 to `t`. Without: the best such detection of an object that
      nothing has found becomes correct, the others are removed.
    - both: overlaps only objects of other classes by 0.1 to `t`. Without: removed.
    - background: overlaps no object by 0.1 or more. Without: removed.
    - missed: an object that nothing has found and that no classification or localisation error is about. Without: it
      does not count; a class that loses all its objects this way has AP 1.

    The costs do not add up to 1 - AP, because errors hide each other. Crowds are left out.
    """
    found = verdict(result, threshold)
    truths, label, scores = found.records.truths, found.records.found.label, found.records.found.scores

    # The kind of each false detection: the first condition that it meets.
    false = (found.counted & ~found.hit).nonzero().squeeze(1)
    (same, same_truth), (other, other_truth) = _nearest(found, false)
    conditions = (same >= threshold, other >= threshold, same >= NEAR, other >= NEAR)
    kind = torch.full_like(false, len(conditions))
    for k, condition in reversed(list(enumerate(conditions))):
        kind[condition] = k

    # The object that a classification or localisation error is about, else -1. Such an object is not missed.
    meant = torch.where(kind == 1, other_truth, same_truth)
    meant = torch.where((kind == 1) | (kind == 2), meant, -1)
    missed = found.missed.index_fill(0, meant[meant >= 0], False)
    number = dict(
        zip(KINDS, [*(int((kind == k).sum()) for k in range(len(conditions) + 1)), int(missed.sum())], strict=True)
    )

    # AP after correcting one kind at a time.
    ap = _ap(found.hit, found.counted, label, scores, found.objects)
    cost = {}
    for k, name in enumerate(KINDS[:-1]):
        hit, counted, corrected = found.hit.clone(), found.counted.clone(), label.clone()
        chosen = false[kind == k]
        counted[chosen] = False
        leaders, objects = _best_of_missed(chosen, meant[kind == k], scores, found.missed)
        hit[leaders], counted[leaders], corrected[leaders] = True, True, truths.label[objects]
        cost[name] = _ap(hit, counted, corrected, scores, found.objects) - ap
    fewer = found.objects - torch.bincount(truths.label[missed], minlength=found.records.classes)
    cost["missed"] = _ap(found.hit, found.counted, label, scores, found.objects, fewer) - ap
    return Errors(ap, number, cost)


def _nearest(found: Verdict, false: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the largest IoU of each detection in `false` with an object of its image, and that object.

    First among the objects of its class, then among the others. 0 and -1 where it overlaps none by 0.1 or more.
    """
    records, truths = found.records, found.records.truths
    objects = (~truths.crowd).nonzero().squeeze(1)
    objects = objects[lexsort(truths.image[objects])]  # by image
    start, end = runs(truths.image[objects], records.found.image[false])
    who, whom, iou = pairs(records.found.boxes[false], truths.boxes[objects], start, end, NEAR)
    whom = objects[whom]
    same = truths.label[whom] == records.found.label[false[who]]
    nearest = []
    for wanted in (same, ~same):
        first = begins(who[wanted])  # the pairs of a detection are sorted by descending IoU
        at = who[wanted][first]
        overlap = iou.new_zeros(len(false)).index_copy(0, at, iou[wanted][first])
        nearest.append((overlap, torch.full_like(false, -1).index_copy(0, at, whom[wanted][first])))
    return nearest


def _best_of_missed(chosen: Tensor, meant: Tensor, scores: Tensor, missed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best of the chosen detections for every missed object that one of them means, and these objects."""
    chosen, meant = chosen[meant >= 0], meant[meant >= 0]
    chosen, meant = chosen[missed[meant]], meant[missed[meant]]
    order = lexsort(meant, -scores[chosen])
    chosen, meant = chosen[order], meant[order]
    first = begins(meant)
    return chosen[first], meant[first]


def _ap(
    hit: Tensor, counted: Tensor, label: Tensor, scores: Tensor, objects: Tensor, left: Tensor | None = None
) -> float:
    """Return the mean AP over the classes with `objects` `[C]`, by COCO's 101 points; `left` `[C]` are to be found."""
    order = lexsort(label, -scores)
    left = objects if left is None else left
    ap = average_precision(hit[order], counted[order], label[order], left, COCO_POINTS)
    return mean_over_classes(torch.where((objects > 0) & (left == 0), 1, ap))
