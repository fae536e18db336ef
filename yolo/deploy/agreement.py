"""Whether an exported file finds what its detector finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from yolo.boxes import Detections, xyxy_to_cxcywh
from yolo.detection.nms import Suppression
from yolo.options.detection import Filter

SCORE, PIXELS, SHARE = 1e-3, 0.5, 1e-4
"""How far score and box of the same detection may differ: a box by 0.5 pixels, or a share of its largest coordinate.

The share is more from 5,000 pixels on. Networks that have hardly learned have boxes of any size.
"""

EDGE = 1e-3
"""A score or an overlap that is so near to its threshold may fall on either side of it; a score by its share."""

EQUAL = 1e-5
"""Scores that are so near may change places."""


class Agreement(NamedTuple):
    """How two lists of detections in the same images compare.

    `equal` is the number of detections in both. `score` and `box` are the largest differences of a score and of an edge
    in pixels among these. `edge` is the number of detections in one list only that rounding explains: the score or
    overlap is within `EDGE` of its threshold, or one of the same score took the place, or it depends on such a one.
    `lost` and `won` describe those that nothing explains.
    """

    equal: int
    score: float
    box: float
    edge: int
    lost: list[str]
    won: list[str]

    def __str__(self) -> str:
        if not self.equal + self.edge:
            return "no detections"
        text = f"{self.equal:,} equal detections, scores within {self.score:.1e}, boxes within {self.box:.1e} pixels"
        return text + (f"; {self.edge} differ by rounding at a threshold or between equal scores" if self.edge else "")


def agreement(
    reference: Sequence[Detections],
    other: Sequence[Detections],
    options: Filter,
    kind: str = "iou",
    beta: float = 1.0,
    candidates: Sequence[Detections] | None = None,
) -> Agreement:
    """Compare detections image by image: equal class, score and box within `SCORE`, `PIXELS` and `SHARE`.

    Args:
        reference, other: detections of the same images, on the CPU.
        options: the thresholds that both were made with.
        kind, beta: the measure of NMS, as in `Suppression`. Boxes are compared in pixels here.
        candidates: what the reference had before NMS. Rounding can choose another one of these, and makes no new ones:
            without them, a box that is a little wrong looks like another one that was chosen.
    """
    rule = Suppression(options.nms, kind, beta, options.agnostic)
    count, score, box, edge = 0, 0.0, 0.0, 0
    told: list[list[str]] = [[], []]
    for number, (one, two) in enumerate(zip(reference, other, strict=True)):
        # The same detections, each once.
        free = torch.ones(len(two), dtype=torch.bool)
        alone: list[list[int]] = [[], []]
        for k in range(len(one)):
            far, near = _distances(one, k, two)
            fitting = free & _fits(one, k, two)
            if fitting.any():
                best = int(torch.where(fitting, near + far, torch.inf).argmin())
                free[best] = False
                count, score, box = count + 1, max(score, float(near[best])), max(box, float(far[best]))
            else:
                alone[0].append(k)
        alone[1] = free.nonzero().flatten().tolist()
        # The others: which of them rounding explains.
        known = [k for k in alone[1] if candidates is None or _fits(two, k, candidates[number]).any()]
        explained = _explained((one, two), (alone[0], known), rule, options)
        for side, found in enumerate((one, two)):
            told[side] += [_told(number, found, k) for k in alone[side] if k not in explained[side]]
            edge += len(explained[side])
    return Agreement(count, score, box, edge, *told)


def _explained(
    both: tuple[Detections, Detections],
    alone: tuple[list[int], list[int]],
    rule: Suppression,
    options: Filter,
) -> tuple[set[int], set[int]]:
    """Return which of the detections in one list only, by their indices, rounding explains.

    It explains those on an edge, and those that an explained one of the other list suppresses there.
    """
    found = tuple({k for k in alone[s] if _on_edge(both[s], k, both[1 - s], rule, options)} for s in (0, 1))
    more = True
    while more:
        more = False
        for s in (0, 1):
            for k in set(alone[s]) - found[s]:
                if any(_suppresses(both[1 - s], j, both[s], k, rule) for j in found[1 - s]):
                    found[s].add(k)
                    more = True
    return found[0], found[1]


def _suppresses(one: Detections, j: int, two: Detections, k: int, rule: Suppression) -> bool:
    """Return whether NMS that keeps detection `j` of a list drops detection `k` of another."""
    if (not rule.agnostic and one.labels[j] != two.labels[k]) or one.scores[j] < two.scores[k] - EQUAL:
        return False
    a, b = (xyxy_to_cxcywh(boxes.double()) for boxes in (one.boxes[j], two.boxes[k]))
    return float(rule.overlap(a, b)) > rule.threshold


def _distances(own: Detections, k: int, other: Detections) -> tuple[Tensor, Tensor]:
    """Return how far edges and scores of the `other` detections are from those of detection `k` of `own`."""
    same = other.boxes == own.boxes[k]  # also infinite ones
    far = torch.where(same, 0, (other.boxes - own.boxes[k]).abs()).amax(1)
    return far, (other.scores - own.scores[k]).abs()


def _fits(own: Detections, k: int, other: Detections) -> Tensor:
    """Return which of the `other` detections are detection `k` of `own`, bool `[D]`."""
    far, near = _distances(own, k, other)
    most = max(PIXELS, SHARE * float(own.boxes[k].abs().amax()))
    return (other.labels == own.labels[k]) & (far <= most) & (near <= SCORE)


def _on_edge(own: Detections, k: int, other: Detections, rule: Suppression, options: Filter) -> bool:
    """Return whether rounding can explain that detection `k` of `own` is not in the `other` list.

    Its score is at the confidence, it is the last one that a limit allows, its overlap with another is at NMS's, or one
    of the same score took its place.
    """
    score = float(own.scores[k])
    if abs(score - options.confidence) <= EDGE * score:
        return True
    if len(other) == options.max_detections and abs(score - float(other.scores[-1])) <= EDGE * score:
        return True
    box = xyxy_to_cxcywh(own.boxes[k : k + 1].double())
    for found in (own, other):
        same = (found.labels == own.labels[k]) | rule.agnostic
        overlap = rule.overlap(box, xyxy_to_cxcywh(found.boxes[same].double()))
        if ((overlap - rule.threshold).abs() <= EDGE).any():
            return True
        rivals = (found.scores[same] - score).abs() <= EQUAL
        if found is other and (rivals & (overlap > rule.threshold)).any():
            return True
    return False


def _told(number: int, found: Detections, k: int) -> str:
    box = " ".join(f"{value:.1f}" for value in found.boxes[k].tolist())
    return f"image {number}: class {int(found.labels[k])}, score {float(found.scores[k]):.4f}, box {box}"
