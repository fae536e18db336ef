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
    """The confidence with the best F1, with the precision and recall there; all 0 without detections."""

    confidence: float
    f1: float
    precision: float
    recall: float


class Curves(NamedTuple):
    """`confidence` float64 `[N]`; `precision`, `recall`, `f1` float64 `[C + 1, N]`, of detections whose score exceeds
    it: a row for each class, and last all classes together (their counts added up). Without such detections precision
    is 1; NaN for a class without objects. `best` `[C + 1]` is exact, not from the N confidences."""

    confidence: Tensor
    precision: Tensor
    recall: Tensor
    f1: Tensor
    best: list[Best]


def confidence_curves(result: CocoResult) -> Curves:
    """The curves at IoU 0.5, at the confidences 0, 0.001, ..., 1."""
    found = verdict(result)
    scores, label = found.records.found.scores[found.counted], found.records.found.label[found.counted]
    hit, objects = found.hit[found.counted], found.objects
    at = torch.linspace(0, 1, 1001, dtype=torch.float64, device=scores.device)
    order = torch.argsort(-scores, stable=True)
    rankings = [(scores[label == c], hit[label == c], objects[c]) for c in range(len(objects))]
    rankings.append((scores[order], hit[order], objects.sum()))
    rows = [_row(*ranking, at) for ranking in rankings]
    precision, recall, f1 = (torch.stack(lines).cpu() for lines in zip(*(row[:3] for row in rows), strict=True))
    return Curves(at.cpu(), precision, recall, f1, [row[3] for row in rows])


def _row(scores: Tensor, hit: Tensor, objects: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor, Best]:
    """The three curves of one ranking by descending score, and its best."""
    hits = torch.nn.functional.pad(hit.cumsum(0), (1, 0)).double()
    seen = torch.arange(len(hits), dtype=torch.float64, device=hits.device)
    precision = torch.where(seen > 0, hits / seen.clamp(min=1), 1)
    recall = hits / objects  # NaN without objects
    f1 = 2 * hits / (seen + objects)
    f1 = torch.where(objects > 0, f1, torch.nan)
    kept = torch.searchsorted(-scores, -at)  # how many scores exceed each confidence
    # A confidence cannot part equal scores: only the places before another score can be chosen.
    lower = torch.nn.functional.pad(scores, (0, 1), value=0.0)
    upper = torch.nn.functional.pad(scores, (1, 0), value=1.0)
    possible = (lower < upper) & (seen > 0) & (objects > 0)
    if not bool(possible.any()):
        return precision[kept], recall[kept], f1[kept], Best(0.0, 0.0, 0.0, 0.0)
    n = int(torch.where(possible, f1, -1).argmax())
    chosen = torch.stack(((lower[n] + upper[n]) / 2, f1[n], precision[n], recall[n])).tolist()
    return precision[kept], recall[kept], f1[kept], Best(*chosen)
