"""Slow, obvious references in float64 that import nothing from yolo: overlaps, NMS, decoding, letterbox, VOC's and
darknet's average precision.

Every formula is written as its source states it, in plain Python numbers and one loop per index. Boxes are
`(cx, cy, w, h)`. Sources: darknet (AlexeyAB), YOLOv2 §2, YOLOv3 §2.1, DIoU (Zheng et al. 2020, eq. 7).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Box = Sequence[float]


class Candidate(NamedTuple):
    """One box with one class."""

    box: tuple[float, ...]
    score: float
    label: int


class Decoded(NamedTuple):
    """A head after decoding: `boxes` `[A, H, W, 4]`, `objectness` `[A, H, W]`, `classes` `[A, H, W, C]`."""

    boxes: np.ndarray
    objectness: np.ndarray
    classes: np.ndarray


# overlaps


def corners(box: Box) -> tuple[float, float, float, float]:
    """Left, top, right, bottom."""
    cx, cy, w, h = box
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def iou(a: Box, b: Box) -> float:
    """Intersection over union, 0 if there is no intersection."""
    left_a, top_a, right_a, bottom_a = corners(a)
    left_b, top_b, right_b, bottom_b = corners(b)
    width = min(right_a, right_b) - max(left_a, left_b)
    height = min(bottom_a, bottom_b) - max(top_a, top_b)
    if width <= 0 or height <= 0:
        return 0.0
    intersection = width * height
    return intersection / (a[2] * a[3] + b[2] * b[3] - intersection)


def diou(a: Box, b: Box, beta: float = 1.0) -> float:
    """IoU minus (squared distance of the centres / squared diagonal of the enclosing box) to the power beta."""
    left_a, top_a, right_a, bottom_a = corners(a)
    left_b, top_b, right_b, bottom_b = corners(b)
    width = max(right_a, right_b) - min(left_a, left_b)
    height = max(bottom_a, bottom_b) - min(top_a, top_b)
    diagonal = width**2 + height**2
    if diagonal == 0:
        return iou(a, b)
    distance = (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
    return iou(a, b) - float((distance / diagonal) ** beta)


# non-maximum suppression


def nms(
    boxes: Sequence[Box],
    scores: Sequence[float],
    labels: Sequence[int],
    threshold: float,
    kind: str = "iou",
    beta: float = 1.0,
    agnostic: bool = False,
    limit: int | None = None,
) -> list[int]:
    """Class by class: take the best box, drop every later one that overlaps it by more than the threshold, repeat.

    Returns the kept indices by descending score; equal scores stay in their order.
    """
    kept = []
    for label in {0} if agnostic else set(labels):
        members = [k for k in range(len(boxes)) if agnostic or labels[k] == label]
        waiting = sorted(members, key=lambda k: -scores[k])  # sorted() is stable
        while waiting:
            best = waiting.pop(0)
            kept.append(best)
            waiting = [
                k
                for k in waiting
                if not (iou(boxes[best], boxes[k]) if kind == "iou" else diou(boxes[best], boxes[k], beta)) > threshold
            ]
    return sorted(kept, key=lambda k: (-scores[k], k))[:limit]


# heads


def sigmoid(t: float) -> float:
    """1 / (1 + e^-t)."""
    return 1 / (1 + math.exp(-t))


def decode(
    raw: Sequence[float],
    kind: str,
    cell: tuple[int, int],
    grid: tuple[int, int],
    anchor: tuple[float, float],
    size: tuple[int, int],
    scale_x_y: float = 1.0,
) -> tuple[tuple[float, ...], float, list[float]]:
    """Box, objectness and class scores of one slot.

    `kind` is yolo, new_coords or region; `cell` (row, column), `grid` (rows, columns), `anchor` (width, height) in
    pixels of the input, for region in cells; `size` (height, width) of the input.
    """
    i, j = cell
    rows, columns = grid
    tx, ty, tw, th, obj, *classes = raw
    if kind == "region":
        shifted = [math.exp(c - max(classes)) for c in classes]
        box = (
            (j + sigmoid(tx)) / columns,
            (i + sigmoid(ty)) / rows,
            math.exp(tw) * anchor[0] / columns,
            math.exp(th) * anchor[1] / rows,
        )
        return box, sigmoid(obj), [e / sum(shifted) for e in shifted]
    if kind == "new_coords":
        box = (
            (j + tx * scale_x_y - (scale_x_y - 1) / 2) / columns,
            (i + ty * scale_x_y - (scale_x_y - 1) / 2) / rows,
            (2 * tw) ** 2 * anchor[0] / size[1],
            (2 * th) ** 2 * anchor[1] / size[0],
        )
        return box, obj, classes
    box = (
        (j + sigmoid(tx) * scale_x_y - (scale_x_y - 1) / 2) / columns,
        (i + sigmoid(ty) * scale_x_y - (scale_x_y - 1) / 2) / rows,
        math.exp(tw) * anchor[0] / size[1],
        math.exp(th) * anchor[1] / size[0],
    )
    return box, sigmoid(obj), [sigmoid(c) for c in classes]


def decode_head(
    raw: np.ndarray,
    kind: str,
    anchors: Sequence[tuple[float, float]],
    size: tuple[int, int],
    scale_x_y: float = 1.0,
) -> Decoded:
    """Every slot of a head, raw `[A, H, W, 5 + C]`."""
    n_anchors, rows, columns, channels = raw.shape
    decoded = Decoded(
        np.zeros((n_anchors, rows, columns, 4)),
        np.zeros((n_anchors, rows, columns)),
        np.zeros((n_anchors, rows, columns, channels - 5)),
    )
    for a in range(n_anchors):
        for i in range(rows):
            for j in range(columns):
                values = raw[a, i, j].tolist()
                box, objectness, classes = decode(values, kind, (i, j), (rows, columns), anchors[a], size, scale_x_y)
                decoded.boxes[a, i, j] = box
                decoded.objectness[a, i, j] = objectness
                decoded.classes[a, i, j] = classes
    return decoded


def candidates(heads: Sequence[Decoded], threshold: float) -> list[Candidate]:
    """Darknet's order: heads, cells row by row, anchors in the order of the mask, classes."""
    found = []
    for head in heads:
        n_anchors, rows, columns, n_classes = head.classes.shape
        for i in range(rows):
            for j in range(columns):
                for a in range(n_anchors):
                    objectness = head.objectness[a, i, j]
                    if not objectness > threshold:
                        continue
                    for c in range(n_classes):
                        score = objectness * head.classes[a, i, j, c]
                        if score > threshold:
                            found.append(Candidate(tuple(head.boxes[a, i, j].tolist()), float(score), c))
    return found


# letterbox


def letterbox(picture: tuple[int, int], size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height of the resized picture, left and top of where it is pasted; sizes are (width, height)."""
    (picture_w, picture_h), (w, h) = picture, size
    if w / picture_w < h / picture_h:
        new_w, new_h = w, (picture_h * w) // picture_w
    else:
        new_w, new_h = (picture_w * h) // picture_h, h
    return (new_w, new_h), ((w - new_w) // 2, (h - new_h) // 2)


def correct_box(box: Box, picture: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box relative to the letterboxed input made relative to the picture (darknet's correct_yolo_boxes)."""
    (w, h), (new_w, new_h) = size, letterbox(picture, size)[0]
    x, y, box_w, box_h = box
    x = (x - (w - new_w) / 2 / w) / (new_w / w)
    y = (y - (h - new_h) / 2 / h) / (new_h / h)
    return x, y, box_w * w / new_w, box_h * h / new_h


# average precision; boxes are (left, top, width, height)


class Truth(NamedTuple):
    """An object; `difficult` ones do not count."""

    image: int
    label: int
    box: Box
    difficult: bool = False


class Hit(NamedTuple):
    """A detection."""

    image: int
    label: int
    box: Box
    score: float


def pixel_iou(a: Box, b: Box, inclusive: bool = False) -> float:
    """IoU; `inclusive`: a side is right - left + 1."""
    one = 1 if inclusive else 0
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]) + one
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]) + one
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] + one) * (a[3] + one) + (b[2] + one) * (b[3] + one) - both)


def favourite(hit: Hit, truths: Sequence[Truth], inclusive: bool = False) -> tuple[int, float]:
    """The object of its picture and class that a detection overlaps most, the first of equals; -1 for none."""
    best, most = -1, 0.0
    for n, truth in enumerate(truths):
        if (truth.image, truth.label) == (hit.image, hit.label):
            overlap = pixel_iou(hit.box, truth.box, inclusive)
            if overlap > most:
                best, most = n, overlap
    return best, most


def voc_ap(
    truths: Sequence[Truth],
    hits: Sequence[Hit],
    label: int,
    threshold: float,
    points: int = 0,
    inclusive: bool = False,
) -> float:
    """AP of one class as VOC's program computes it; -1 without objects. `points` 0: the area under the envelope."""
    total = sum(truth.label == label and not truth.difficult for truth in truths)
    if total == 0:
        return -1.0
    claimed: set[int] = set()
    tp = fp = 0
    curve: list[tuple[float, float]] = []  # recall, precision
    for hit in sorted((hit for hit in hits if hit.label == label), key=lambda hit: (-hit.score, hit.image)):
        n, overlap = favourite(hit, truths, inclusive)
        if n >= 0 and overlap >= threshold and truths[n].difficult:
            continue
        if n >= 0 and overlap >= threshold and n not in claimed:
            claimed.add(n)
            tp += 1
        else:
            fp += 1
        curve.append((tp / total, tp / (tp + fp)))
    if points:
        recalls = [k / (points - 1) for k in range(points)]
        return sum(max([p for r, p in curve if r >= at], default=0.0) for at in recalls) / points
    area, before = 0.0, 0.0
    for k, (recall, _) in enumerate(curve):
        area += (recall - before) * max(p for _, p in curve[k:])
        before = recall
    return area


def darknet_ap(
    truths: Sequence[Truth], hits: Sequence[Hit], classes: int, threshold: float, points: int
) -> list[float]:
    """AP of each class as darknet's `map` computes it: one list of the detections of all classes, walked once."""
    ranked = sorted(hits, key=lambda hit: (-hit.score, hit.image))
    total = [sum(truth.label == c for truth in truths) for c in range(classes)]
    claimed: set[int] = set()
    tp, fp = [0] * classes, [0] * classes
    precision: list[list[float]] = [[] for _ in range(classes)]
    recall: list[list[float]] = [[] for _ in range(classes)]
    for hit in ranked:
        n, overlap = favourite(hit, truths)
        if n >= 0 and overlap > threshold and n not in claimed:
            claimed.add(n)
            tp[hit.label] += 1
        else:
            fp[hit.label] += 1
        for c in range(classes):
            precision[c].append(tp[c] / (tp[c] + fp[c]) if tp[c] + fp[c] else 0.0)
            recall[c].append(tp[c] / total[c] if total[c] else 0.0)
    aps = []
    for p, r in zip(precision, recall, strict=True):
        area = 0.0
        if not ranked:
            pass
        elif points == 0:
            last = p[-1]
            for k in range(len(ranked) - 2, -1, -1):
                last = max(last, p[k])
                area += (r[k + 1] - r[k]) * last
            area += r[0] * max(last, p[0])
        else:
            for at in (k / (points - 1) for k in range(points)):
                area += max([p[k] for k in range(len(ranked)) if r[k] >= at], default=0.0) / points
        aps.append(area)
    return aps
