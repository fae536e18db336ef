"""Slow, obvious references in float64, which import nothing from yolo: overlaps, NMS, decoding, letterbox, VOC's and
darknet's average precision, the assignments and the loss.

Every formula is written as in its source, with plain Python numbers and one loop per index. Boxes are
`(cx, cy, w, h)`. Sources: darknet (AlexeyAB), YOLOv2 §2, YOLOv3 §2.1, GIoU (Rezatofighi et al. 2019, alg. 1),
DIoU and CIoU (Zheng et al. 2020, eq. 7 to 11), focal loss (Lin et al. 2017, eq. 4).
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
    """Return left, top, right, bottom."""
    cx, cy, w, h = box
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def iou(a: Box, b: Box) -> float:
    """Return the intersection over union, 0 without an intersection."""
    left_a, top_a, right_a, bottom_a = corners(a)
    left_b, top_b, right_b, bottom_b = corners(b)
    width = min(right_a, right_b) - max(left_a, left_b)
    height = min(bottom_a, bottom_b) - max(top_a, top_b)
    if width <= 0 or height <= 0:
        return 0.0
    intersection = width * height
    return intersection / (a[2] * a[3] + b[2] * b[3] - intersection)


def diou(a: Box, b: Box, beta: float = 1.0) -> float:
    """Return IoU minus (squared distance of the centres / squared diagonal of the enclosing box) to the power beta."""
    left_a, top_a, right_a, bottom_a = corners(a)
    left_b, top_b, right_b, bottom_b = corners(b)
    width = max(right_a, right_b) - min(left_a, left_b)
    height = max(bottom_a, bottom_b) - min(top_a, top_b)
    diagonal = width**2 + height**2
    if diagonal == 0:
        return iou(a, b)
    distance = (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
    return iou(a, b) - float((distance / diagonal) ** beta)


def giou(a: Box, b: Box) -> float:
    """Return IoU minus the share of the smallest enclosing box that neither box covers."""
    left_a, top_a, right_a, bottom_a = corners(a)
    left_b, top_b, right_b, bottom_b = corners(b)
    enclosing = (max(right_a, right_b) - min(left_a, left_b)) * (max(bottom_a, bottom_b) - min(top_a, top_b))
    width = max(min(right_a, right_b) - max(left_a, left_b), 0.0)
    height = max(min(bottom_a, bottom_b) - max(top_a, top_b), 0.0)
    union = a[2] * a[3] + b[2] * b[3] - width * height
    return iou(a, b) - (enclosing - union) / enclosing


def aspect(a: Box, b: Box) -> float:
    """Return CIoU's v: the squared difference of the two angles atan(w/h), 1 for a right angle."""
    return 4 / math.pi**2 * (math.atan(b[2] / b[3]) - math.atan(a[2] / a[3])) ** 2


def ciou_alpha(a: Box, b: Box) -> float:
    """Return CIoU's weight of v, a constant for the gradient; 0 for equal boxes, where it is 0/0."""
    v = aspect(a, b)
    return v / (1 - iou(a, b) + v) if 1 - iou(a, b) + v > 0 else 0.0


def ciou(a: Box, b: Box, alpha: float | None = None) -> float:
    """Return DIoU minus alpha times v. `alpha`: the constant, if it is not that of these boxes."""
    return diou(a, b) - (ciou_alpha(a, b) if alpha is None else alpha) * aspect(a, b)


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
    """Return the kept indices by descending score; equal scores stay in their order.

    Class by class: take the best box, drop every remaining one that overlaps it by more than the threshold, repeat.
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
    """Return 1 / (1 + e^-t), for t < 0 as e^t / (1 + e^t), which does not overflow."""
    return 1 / (1 + math.exp(-t)) if t >= 0 else math.exp(t) / (1 + math.exp(t))


def decode(
    raw: Sequence[float],
    kind: str,
    cell: tuple[int, int],
    grid: tuple[int, int],
    anchor: tuple[float, float],
    size: tuple[int, int],
    scale_x_y: float = 1.0,
) -> tuple[tuple[float, ...], float, list[float]]:
    """Return box, objectness and class scores of one slot.

    `kind` is yolo, new_coords or region. `cell` is (row, column), `grid` (rows, columns), `size` (height, width) of the
    input. `anchor` is (width, height) in pixels of the input, for region in cells.
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
    """Decode every slot of a head, raw `[A, H, W, 5 + C]`."""
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
    """Return all candidates in darknet's order: heads, cells row by row, anchors in the order of the mask, classes."""
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


def letterbox(image: tuple[int, int], size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return width and height of the resized image, and left and top of its place; sizes are (width, height)."""
    (image_w, image_h), (w, h) = image, size
    if w / image_w < h / image_h:
        new_w, new_h = w, (image_h * w) // image_w
    else:
        new_w, new_h = (image_w * h) // image_h, h
    return (new_w, new_h), ((w - new_w) // 2, (h - new_h) // 2)


def correct_box(box: Box, image: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return a box relative to the image, from one relative to the letterboxed input (darknet's correct_yolo_boxes)."""
    (w, h), (new_w, new_h) = size, letterbox(image, size)[0]
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
    """Return the IoU. `inclusive`: a side is right - left + 1."""
    one = 1 if inclusive else 0
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]) + one
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]) + one
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] + one) * (a[3] + one) + (b[2] + one) * (b[3] + one) - both)


def favourite(hit: Hit, truths: Sequence[Truth], inclusive: bool = False) -> tuple[int, float]:
    """Return the object of its image and class that a detection overlaps most and the IoU; the first of equals, -1 for
    none."""
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
    """Return AP of one class as VOC's program computes it; -1 without objects. `points` 0: area under the envelope."""
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
    """Return AP of each class as darknet's `map` computes it, in one pass over the detections of all classes."""
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


# the assignments; labels are rows (b, x, y, w, h, class), the box in fractions of the input


class YoloHead(NamedTuple):
    """A [yolo] section: anchors (w, h) and stride in pixels of the input, the number of classes, k = scale_x_y."""

    anchors: Sequence[tuple[float, float]]
    stride: int
    classes: int
    k: float = 1.0


class Row(NamedTuple):
    """Anchor a in cell (i, j) of scale s is responsible for label n of image b; all 0 if there is no match."""

    s: int
    n: int
    b: int
    a: int
    i: int
    j: int
    matched: bool


Raw = Sequence[np.ndarray]  # per scale [B, A, H, W, 5 + C]
Slot = tuple[int, int, int, int, int]  # s, b, a, i, j


def cell_of(label: Box, grid: tuple[int, int]) -> tuple[int, int]:
    """Return row and column of the cell with the centre of a label.

    The right and the bottom border belong to the last cells.
    """
    rows, columns = grid
    i, j = math.floor(label[2] * rows), math.floor(label[1] * columns)
    return min(max(i, 0), rows - 1), min(max(j, 0), columns - 1)


def in_cells(label: Box, grid: tuple[int, int]) -> Box:
    """Return the box of a label in cells of this grid."""
    rows, columns = grid
    return label[1] * columns, label[2] * rows, label[3] * columns, label[4] * rows


def grid_of(raw: Raw, s: int) -> tuple[int, int]:
    """Return rows and columns of a scale."""
    return raw[s].shape[2], raw[s].shape[3]


def box_at(raw: Raw, heads: Sequence[YoloHead], slot: Slot, at: Raw | None = None) -> Box:
    """Return the predicted box of a slot in cells; sizes are clamped to [1e-12, the longer side of the grid].

    `at`: predictions whose sizes are clamped instead; the difference of `raw` from them is not clamped. With `at`
    fixed, finite differences in `raw` give the gradient that a size beyond a limit has by definition: that of the
    limit.
    """
    s, b, a, i, j = slot
    tx, ty, *moved = raw[s][b, a, i, j, :4].tolist()
    held = moved if at is None else at[s][b, a, i, j, 2:4].tolist()
    k, stride, anchor, longest = heads[s].k, heads[s].stride, heads[s].anchors[a], max(grid_of(raw, s))
    size = [math.exp(min(t, 700.0)) * side / stride for t, side in zip(held, anchor, strict=True)]
    w, h = (
        min(max(side, 1e-12), float(longest)) * math.exp(t - t0) for side, t, t0 in zip(size, moved, held, strict=True)
    )
    return j + sigmoid(tx) * k - (k - 1) / 2, i + sigmoid(ty) * k - (k - 1) / 2, w, h


def ratio_distance(label: Box, head: YoloHead, a: int, grid: tuple[int, int]) -> float:
    """Return the difference of the sides of a label from those of an anchor, relative to the anchor."""
    _, _, w, h = in_cells(label, grid)
    anchor_w, anchor_h = head.anchors[a]
    return abs(w * head.stride / anchor_w - 1) + abs(h * head.stride / anchor_h - 1)


def prior_overlap(label: Box, head: YoloHead, a: int, grid: tuple[int, int]) -> float:
    """Return the IoU of a label with an anchor around the same centre."""
    _, _, w, h = in_cells(label, grid)
    return iou((0, 0, w * head.stride, h * head.stride), (0, 0, *head.anchors[a]))


def prediction_overlap(raw: Raw, label: Box, heads: Sequence[YoloHead], s: int, a: int) -> float:
    """Return the IoU of a label with the box that anchor a predicts in the label's cell of scale s."""
    grid = grid_of(raw, s)
    return iou(box_at(raw, heads, (s, int(label[0]), a, *cell_of(label, grid))), in_cells(label, grid))


def assign_ratio(raw: Raw, labels: np.ndarray, heads: Sequence[YoloHead]) -> list[Row]:
    """Assign to each label, at every scale, the anchor closest in width and height if it is close enough: S·N rows."""
    rows = []
    for s, head in enumerate(heads):
        grid = grid_of(raw, s)
        for n, label in enumerate(labels.tolist()):
            distances = [ratio_distance(label, head, a, grid) for a in range(len(head.anchors))]
            nearest = distances.index(min(distances))  # the first of equals
            if distances[nearest] < 2:
                rows.append(Row(s, n, int(label[0]), nearest, *cell_of(label, grid), True))
            else:
                rows.append(Row(0, 0, 0, 0, 0, 0, False))
    return rows


def assign_prediction(raw: Raw, labels: np.ndarray, heads: Sequence[YoloHead]) -> list[Row]:
    """Assign to each label the one anchor of all scales whose predicted box overlaps it most: N rows."""
    rows = []
    for n, label in enumerate(labels.tolist()):
        best, most = (0, 0), -1.0
        for s, head in enumerate(heads):
            for a in range(len(head.anchors)):
                overlap = prediction_overlap(raw, label, heads, s, a)
                if overlap > most:
                    best, most = (s, a), overlap
        s, a = best
        rows.append(Row(s, n, int(label[0]), a, *cell_of(label, grid_of(raw, s)), True))
    return rows


def assign_prior(raw: Raw, labels: np.ndarray, heads: Sequence[YoloHead]) -> list[Row]:
    """Assign to each label the one anchor of all scales whose shape overlaps it most: N rows."""
    rows = []
    for n, label in enumerate(labels.tolist()):
        best, most = (0, 0), -1.0
        for s, head in enumerate(heads):
            for a in range(len(head.anchors)):
                overlap = prior_overlap(label, head, a, grid_of(raw, s))
                if overlap > most:
                    best, most = (s, a), overlap
        s, a = best
        rows.append(Row(s, n, int(label[0]), a, *cell_of(label, grid_of(raw, s)), True))
    return rows


ASSIGN = {"ratio": assign_ratio, "prediction": assign_prediction, "prior": assign_prior}


# the loss


class Terms(NamedTuple):
    """The loss and its three parts, the parts without their gains."""

    total: float
    box: float
    obj: float
    cls: float


def log_sigmoid(t: float) -> float:
    """Return log(1 / (1 + e^-t)) without overflow."""
    return -math.log1p(math.exp(-t)) if t >= 0 else t - math.log1p(math.exp(t))


def cross_entropy(logit: float, target: float, pos_weight: float = 1.0) -> float:
    """Return the binary cross entropy of a logit; `pos_weight` multiplies the part of the positives."""
    return -(pos_weight * target * log_sigmoid(logit) + (1 - target) * log_sigmoid(-logit))


def box_term(raw: Raw, labels: np.ndarray, heads: Sequence[YoloHead], rows: list[Row], kind: str, at: Raw) -> float:
    """Return the sum over scales of the mean over their positives. `at`: gives CIoU's alpha and the clamped sizes."""
    total = 0.0
    for s in range(len(heads)):
        costs = []
        for row in rows:
            if not row.matched or row.s != s:
                continue
            slot = (s, row.b, row.a, row.i, row.j)
            p, y = box_at(raw, heads, slot, at), in_cells(labels[row.n].tolist(), grid_of(raw, s))
            if kind == "mse":
                centre = ((p[0] - y[0]) ** 2 + (p[1] - y[1]) ** 2) / 2
                costs.append(centre + ((p[2] - y[2]) ** 2 + (p[3] - y[3]) ** 2) / 2 / 10)
            elif kind == "ciou":
                costs.append(1 - ciou(p, y, ciou_alpha(box_at(at, heads, slot), y)))
            else:
                costs.append(1 - {"iou": iou, "giou": giou, "diou": diou}[kind](p, y))
        if costs:
            total += sum(costs) / len(costs)
    return total


def objectness_targets(
    raw: Raw, labels: np.ndarray, heads: Sequence[YoloHead], rows: list[Row], kind: str
) -> dict[Slot, float]:
    """Return the targets of all matched slots: 1 or the IoU; the largest where several labels have one slot."""
    targets: dict[Slot, float] = {}
    for row in rows:
        if row.matched:
            slot = (row.s, row.b, row.a, row.i, row.j)
            overlap = iou(box_at(raw, heads, slot), in_cells(labels[row.n].tolist(), grid_of(raw, row.s)))
            target = 1.0 if kind == "1" else min(max(overlap, 0.0), 1.0)
            targets[slot] = max(target, targets.get(slot, 0.0))
    return targets


def is_ignored(raw: Raw, labels: np.ndarray, heads: Sequence[YoloHead], slot: Slot, threshold: float) -> bool:
    """Return whether the predicted box overlaps any label of its image by more than the threshold."""
    box, grid = box_at(raw, heads, slot), grid_of(raw, slot[0])
    mine = [label for label in labels.tolist() if int(label[0]) == slot[1]]
    return any(iou(box, in_cells(label, grid)) > threshold for label in mine)


def obj_term(
    raw: Raw,
    labels: np.ndarray,
    heads: Sequence[YoloHead],
    targets: dict[Slot, float],
    *,
    ignore_thresh: float | None,
    pos_weight: float,
    reduction: str,
    focal_gamma: float,
    at: Raw,
) -> float:
    """Return the sum over scales of the mean over all slots, or of the sum per image. `at`: as in the loss."""
    total = 0.0
    for s in range(len(heads)):
        costs = []
        for b, a, i, j in np.ndindex(*raw[s].shape[:4]):
            slot = (s, b, a, i, j)
            y, logit = targets.get(slot, 0.0), float(raw[s][b, a, i, j, 4])
            cost = cross_entropy(logit, y, pos_weight)
            if focal_gamma > 0:
                cost *= abs(y - sigmoid(logit)) ** focal_gamma
            if ignore_thresh is not None and slot not in targets and is_ignored(at, labels, heads, slot, ignore_thresh):
                cost = 0.0
            costs.append(cost)
        total += sum(costs) / (len(costs) if reduction == "mean" else raw[s].shape[0])
    return total


def cls_term(raw: Raw, labels: np.ndarray, heads: Sequence[YoloHead], rows: list[Row], smoothing: float) -> float:
    """Return the sum over scales of the mean over their positives and all classes."""
    total = 0.0
    for s, head in enumerate(heads):
        costs = []
        for row in rows:
            if row.matched and row.s == s:
                for c in range(head.classes):
                    hot = 1.0 if c == int(labels[row.n, 5]) else 0.0
                    logit = float(raw[s][row.b, row.a, row.i, row.j, 5 + c])
                    costs.append(cross_entropy(logit, hot * (1 - smoothing) + smoothing / 2))
        if costs:
            total += sum(costs) / len(costs)
    return total


def auto_pos_weight(raw: Raw, labels: np.ndarray) -> float:
    """Return (slots of an image - N) / 2N for N labels in the batch, at least 1."""
    slots = sum(scale.shape[1] * scale.shape[2] * scale.shape[3] for scale in raw)
    return max(1.0, 0.5 * (slots - len(labels)) / len(labels)) if len(labels) else 1.0


def yolo_loss(
    raw: Raw,
    labels: np.ndarray,
    heads: Sequence[YoloHead],
    *,
    bbox_loss: str = "iou",
    obj_label: str = "iou",
    assign: str = "ratio",
    ignore_thresh: float | None = None,
    pos_weight: float | str = "auto",
    obj_reduction: str = "mean",
    box_gain: float = 1.0,
    obj_gain: float = 1.0,
    cls_gain: float = 1.0,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
    at: Raw | None = None,
) -> Terms:
    """Return the loss of raw predictions and labels `[N, 6]`.

    `at`: predictions that everything constant for the gradient is computed from, by default `raw`: the assignment, the
    IoU as a target, the ignored slots, CIoU's alpha and the clamped sizes. With `at` fixed, finite differences in `raw`
    give the gradient as it is defined.
    """
    at = raw if at is None else at
    rows = ASSIGN[assign](at, labels, heads)
    targets = objectness_targets(at, labels, heads, rows, obj_label)
    box = box_term(raw, labels, heads, rows, bbox_loss, at)
    obj = obj_term(
        raw,
        labels,
        heads,
        targets,
        ignore_thresh=ignore_thresh,
        pos_weight=auto_pos_weight(raw, labels) if isinstance(pos_weight, str) else pos_weight,
        reduction=obj_reduction,
        focal_gamma=focal_gamma,
        at=at,
    )
    cls = cls_term(raw, labels, heads, rows, label_smoothing)
    return Terms(box_gain * box + obj_gain * obj + cls_gain * cls, box, obj, cls)


# ---- rare layers of darknet


def blur(x: np.ndarray, strides: tuple[int, int], kind: int) -> np.ndarray:
    """Return darknet's antialiasing of `[B, c, h, w]`: (1 2 1) x (1 2 1) / 16 with a border of zeros, or a 2x2 mean."""
    if kind == 2:
        kernel = np.full((2, 2), 1 / 4)
    else:
        kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
        x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    size = len(kernel)
    rows, columns = ((n - size) // s + 1 for n, s in zip(x.shape[2:], strides, strict=True))
    out = np.zeros((*x.shape[:2], rows, columns))
    for i in range(rows):
        for j in range(columns):
            window = x[:, :, i * strides[0] : i * strides[0] + size, j * strides[1] : j * strides[1] + size]
            out[:, :, i, j] = (window * kernel).sum((2, 3))
    return out


def weighted_sum(inputs: list[np.ndarray], weights: np.ndarray, normalization: str) -> np.ndarray:
    """Return darknet's weighted shortcut: every input times its weight, on the channels that the first one has.

    `weights` `[inputs, 1 or channels]`. The two words for ReLU are one: weights are at least 0.001.
    """
    out = np.zeros_like(inputs[0], dtype=np.float64)
    for channel in range(out.shape[1]):
        own = [float(row[channel % len(row)]) for row in weights]
        if normalization in ("relu", "avg_relu"):
            own = [max(w, 0.001) for w in own]
        if normalization == "softmax":
            own = [float(np.exp(w - max(own))) for w in own]
        total = 1.0 if normalization == "none" else 1e-4 + sum(own)
        for w, x in zip(own, inputs, strict=True):
            if channel < x.shape[1]:
                out[:, channel] += w / total * x[:, channel]
    return out
