"""Labels and confident detections that contradict each other: the likeliest label errors.

A model makes errors too, so a contradiction counts only where this model is usually right. A label that is not found is
suspicious if nearly all labels of its size, and of its class, are found. docs/doctor.md has how often that is an error.

Letters: `G` objects and `D` detections of one image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from yolo.doctor.finding import Box, Finding, Shown
from yolo.doctor.opened import Part
from yolo.doctor.twins import overlaps
from yolo.evaluation.detect_all import detect_all
from yolo.models.detector import Detector
from yolo.options.detection import Filter

LOW = Filter(confidence=0.01, nms=0.6, max_detections=300)
"""A label that has no detection with these thresholds is not found at all."""

FOUND, NEAR, CLEAR = 0.45, 0.3, 0.5
"""IoU from which a detection finds a label of its class, is near one, and is of the object that another label names."""

DOUBT = 0.05
"""Part of a detection's score: the label that it contradicts has no detection of its own class with so high a score."""

WRONG_CLASS, MISPLACED, MISSING = 0.7, 0.8, 0.8
"""Scores from which detections contradict labels. An object that nobody labelled needs the highest: COCO's labels, like
most, leave out many small things."""

PLAUSIBLE, EXPECTED = 0.5, 0.9
"""Shares of similar labels that are found, from which one that is not may be misplaced, and is an error by itself."""

EXPLAINED, SAME = 0.3, 0.7
"""A detection near a label of another class is another object if that label is found with this score; to this IoU."""

FEW, INSIDE = 3, 0.8
"""In a crowd something is always found beside a label that is not. A detection belongs to a label of its class if there
are so few in the image, or if so much of one box is within the other."""

LITTLE, SIMILAR = 0.02, 100
"""Score up to which a label counts as not found; number of labels of similar size that a share is taken of."""

CONFIRMED = 0.3
"""Score of a detection from which a label is right, however odd its box is."""


@dataclass
class Evidence:
    """The detections of a split and how they meet its labels."""

    part: Part
    boxes: np.ndarray
    """float64 `[D, 4]` xyxy in pixels, of all images."""
    labels: np.ndarray
    scores: np.ndarray
    starts: np.ndarray
    """The detections of image k are `starts[k]` to `starts[k + 1] - 1`."""

    @cached_property
    def support(self) -> np.ndarray:
        """The highest score of a detection of each object's class that finds it, 0 for none; float64, of all images."""
        index = self.part.data.index
        support = np.zeros(len(index.labels))
        for _, found, objects, table in self.tables():
            finds = (self.labels[found][:, None] == index.labels[objects]) & (table >= FOUND)
            support[objects] = np.where(finds, self.scores[found][:, None], 0).max(axis=0, initial=0)
        return support

    def tables(self) -> Iterator[tuple[int, slice, slice, np.ndarray]]:
        """Yield for every image its number, detections, objects, and their IoU `[D, G]`."""
        offsets = self.part.data.index.offsets
        for k in range(len(self.part.data)):
            found, objects = slice(*self.starts[k : k + 2].tolist()), slice(*offsets[k : k + 2].tolist())
            yield k, found, objects, overlaps(self.boxes[found], self.part.data.index.boxes[objects])

    def finding(self, kind: str, d: int, image: int, objects: Sequence[int], sentence: str, score: float) -> Finding:
        """Return a finding about a detection and the labels that it contradicts."""
        x1, y1, x2, y2 = self.boxes[d].tolist()
        box: Box = (x1, y1, x2, y2)
        path = str(self.part.data.path(image))
        return Finding(
            kind=kind,
            sentence=sentence,
            places=tuple(map(self.part.place, objects)) or (path,),
            shown=(Shown(self.part.name, image, tuple(objects), ((box, self.seen(d)),)),),
            score=score,
        )

    def seen(self, d: int) -> str:
        """Return class and score of a detection."""
        return f"{self.part.names[int(self.labels[d])]} {self.scores[d]:.2f}"


def gather(model: Detector, part: Part, batch_size: int) -> Evidence:
    """Return what the model finds in a split. Raises ValueError for classes that the model lacks."""
    found = detect_all(model, part.data, batch_size, LOW)
    image, labels, boxes, scores = (x.cpu().numpy() for x in (found.image, found.label, found.boxes, found.scores))
    order = np.lexsort((-scores, image))
    corners = np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1)[order]
    starts = np.searchsorted(image[order], np.arange(len(part.data) + 1))
    return Evidence(part, corners, labels[order], scores[order], starts)


def label_errors(all_evidence: Sequence[Evidence]) -> list[Finding]:
    """Return what labels and detections say of each other. A label is in one finding only."""
    found = []
    for evidence, expected in zip(all_evidence, _expected(all_evidence), strict=True):
        blamed: set[int] = set()
        for k, of_image, objects, table in evidence.tables():
            for finding in _contradictions(evidence, k, of_image.start, objects.start, table, expected[objects]):
                blamed.update(finding.shown[0].objects)
                found.append(finding)
        index = evidence.part.data.index
        never = (evidence.support < LITTLE) & ~index.crowd & (expected >= EXPECTED)
        for n in np.flatnonzero(never).tolist():
            if n not in blamed:
                sentence = f"{evidence.part.label(n)}: not found; {expected[n]:.0%} of the labels like it are"
                found.append(evidence.part.about("never found", sentence, n, score=float(expected[n])))
    return found


def _contradictions(
    evidence: Evidence, image: int, d0: int, g0: int, table: np.ndarray, expected: np.ndarray
) -> Iterator[Finding]:
    """Yield the wrong classes, misplaced boxes and missing labels of an image.

    Args:
        evidence: the detections of the split.
        image: number of the image.
        d0: its first detection.
        g0: its first object.
        table: IoU of its detections and objects `[D, G]`.
        expected: share of similar labels that are found, of its objects `[G]`.
    """
    part, index = evidence.part, evidence.part.data.index
    found, objects = slice(d0, d0 + len(table)), slice(g0, g0 + len(expected))
    boxes, truths, crowd = evidence.boxes[found], index.boxes[objects], index.crowd[objects]
    scores, support = evidence.scores[found], evidence.support[objects]
    same = evidence.labels[found][:, None] == index.labels[objects]
    # Detections without a label of their class, and those with no label near that they may belong to.
    free = ~((table >= FOUND) & same).any(axis=1) & (_covered(boxes, truths[crowd]) <= 0.5)
    alone = ~((table >= NEAR) & (same | (support < EXPLAINED))).any(axis=1) & (table.max(axis=1, initial=0) < SAME)
    # Labels that a free detection of their class may belong to: one of a few in the image, or one within the other.
    inside = _shared(boxes, truths) >= INSIDE
    candidates = same & (expected >= PLAUSIBLE) & (inside | (same.sum(axis=1) <= FEW)[:, None])
    open_labels, told = ~crowd, np.zeros(len(boxes), bool)
    for d in np.flatnonzero(free & (scores >= WRONG_CLASS)).tolist():
        lost = open_labels & (support < DOUBT * scores[d])
        under = np.where(lost & ~same[d], table[d], 0)
        beside = np.where(lost & candidates[d], 1 + table[d], 0) if scores[d] >= MISPLACED else np.zeros(0)
        seen, score = evidence.seen(d0 + d), float(scores[d])
        if told[d]:
            continue
        if under.max(initial=0) >= CLEAR:
            g = int(under.argmax())
            sentence = f"labelled {part.label(g0 + g)}, but the model sees {seen}, IoU {under[g]:.2f}"
            kind, chosen, score = "wrong class", [g], score * float(under[g])
        elif beside.any():
            g = int(beside.argmax())
            kind, chosen = "misplaced box", [g]
            sentence = f"{part.label(g0 + g)}: nothing is found there, but {seen} beside it"
        elif score >= MISSING and alone[d]:
            kind, chosen, sentence = "missing label", [], f"{seen} has no label"
        else:
            continue
        open_labels[chosen] = False
        told |= overlaps(boxes, boxes[d : d + 1])[:, 0] >= NEAR  # other detections of the same thing
        yield evidence.finding(kind, d0 + d, image, [g0 + g for g in chosen], sentence, score)


def _shared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the part of the smaller box that is in the other one, for boxes `[D, 4]` and `[G, 4]`; `[D, G]`."""
    inter = (np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])).clip(0)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return inter.prod(axis=2) / np.maximum(np.minimum(areas[0][:, None], areas[1][None]), 1e-12)


def _covered(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the largest part of each box `[D, 4]` that one of the others covers, `[D]`; 0 without others."""
    inter = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return inter.clip(0).prod(axis=2).max(axis=1, initial=0) / np.maximum(area, 1e-12)


def _expected(all_evidence: Sequence[Evidence]) -> list[np.ndarray]:
    """Return for every object of each split the share of similar labels that are found: of its size, of its class.

    The lower of the two counts. Shares of few labels are drawn towards the share of all.
    """
    index = [evidence.part.data.index for evidence in all_evidence]
    sizes = [(x.boxes[:, 2:] - x.boxes[:, :2]).prod(axis=1) / x.sizes[x.image].prod(axis=1) for x in index]
    size = np.concatenate(sizes) if sizes else np.zeros(0)
    found = np.concatenate([evidence.support >= LITTLE for evidence in all_evidence]) if sizes else np.zeros(0)
    names = [evidence.part.names for evidence in all_evidence]
    known = {name: k for k, name in enumerate(dict.fromkeys(name for own in names for name in own))}
    label = np.concatenate([np.array([known[n] for n in own])[x.labels] for own, x in zip(names, index, strict=True)])
    # By size: the mean over the neighbours in the order of sizes.
    order, overall = np.argsort(size, kind="stable"), float(found.mean()) if len(found) else 0.0
    sums = np.concatenate(([0], np.cumsum(found[order])))
    rank = np.arange(len(size))
    low = np.clip(rank - SIMILAR // 2, 0, max(len(size) - SIMILAR, 0))
    high = np.minimum(low + SIMILAR, len(size))
    by_size = np.empty(len(size))
    by_size[order] = (sums[high] - sums[low]) / np.maximum(high - low, 1)
    # By class, of the labels at least as large as a third of this one's: small ones are harder.
    by_class = _by_class(label, size, found, overall)
    expected = np.minimum(by_size, by_class)
    return np.split(expected, np.cumsum([len(part) for part in sizes])[:-1])


def _by_class(label: np.ndarray, size: np.ndarray, found: np.ndarray, overall: float) -> np.ndarray:
    """Return for every object the share of the labels of its class that are found, of this size or larger."""
    result = np.empty(len(label))
    for own in np.unique(label):
        members = np.flatnonzero(label == own)
        members = members[np.argsort(-size[members], kind="stable")]
        count = np.searchsorted(-size[members], -size[members] / 3, side="right")
        result[members] = (np.cumsum(found[members])[count - 1] + 2 * overall) / (count + 2)
    return result
