"""Precision, recall and F1 against the confidence, and the confidence with the best F1.

Letters: `D` detections, `C` classes, `N` confidences.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from yolo.metrics.coco import CocoResult
from yolo.metrics.verdict import verdict


class Best(NamedTuple):
    """The confidence with the best F1, and precision and recall there; all 0 without detections."""

    confidence: float
    f1: float
    precision: float
    recall: float


class Curves(NamedTuple):
    """Curves over `confidence` float64 `[N]`.

    `precision`, `recall`, `f1` float64 `[C + 1, N]` are those of the detections whose score exceeds the confidence: one
    row per class, and a last row for all classes together (their counts added up). Without such detections precision is
    1; a class without objects has recall and F1 NaN. `best` `[C + 1]` is exact, not limited to the N confidences.
    """

    confidence: Tensor
    precision: Tensor
    recall: Tensor
    f1: Tensor
    best: list[Best]


def confidence_curves(result: CocoResult) -> Curves:
    """Return the curves at IoU 0.5, at the confidences 0, 0.001, ..., 1."""
    found = verdict(result)
    scores, label = found.records.found.scores[found.counted], found.records.found.label[found.counted]
    hit, objects = found.hit[found.counted], found.objects
    at = torch.linspace(0, 1, 1001, dtype=torch.float64, device=scores.device)
    # Within a class detections are sorted already; all classes together have to be.
    order = torch.argsort(-scores, stable=True)
    rankings = [(scores[label == c], hit[label == c], objects[c]) for c in range(len(objects))]
    rankings.append((scores[order], hit[order], objects.sum()))
    rows = [_row(*ranking, at) for ranking in rankings]
    precision, recall, f1 = (torch.stack(lines).cpu() for lines in zip(*(row[:3] for row in rows), strict=True))
    return Curves(at.cpu(), precision, recall, f1, [row[3] for row in rows])


def _row(scores: Tensor, hit: Tensor, objects: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor, Best]:
    """Return the three curves `[N]` of one ranking by descending score, and its best confidence."""
    # Place n of these has the n best detections.
    hits = torch.nn.functional.pad(hit.cumsum(0), (1, 0)).double()
    seen = torch.arange(len(hits), dtype=torch.float64, device=hits.device)
    precision = torch.where(seen > 0, hits / seen.clamp(min=1), 1)
    recall = hits / objects  # NaN without objects
    f1 = torch.where(objects > 0, 2 * hits / (seen + objects), torch.nan)
    kept = torch.searchsorted(-scores, -at)  # the number of scores that exceed each confidence
    # A confidence cannot separate equal scores: only places before a different score can be chosen.
    lower = torch.nn.functional.pad(scores, (0, 1), value=0.0)
    upper = torch.nn.functional.pad(scores, (1, 0), value=1.0)
    possible = (lower < upper) & (seen > 0) & (objects > 0)
    best = Best(0.0, 0.0, 0.0, 0.0)
    if bool(possible.any()):
        n = int(torch.where(possible, f1, -1).argmax())
        best = Best(*torch.stack(((lower[n] + upper[n]) / 2, f1[n], precision[n], recall[n])).tolist())
    return precision[kept], recall[kept], f1[kept], best
