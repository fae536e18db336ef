"""Slow, obvious references in float64 that import nothing from yolo: overlaps, NMS, candidates, decoding, letterbox.

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
