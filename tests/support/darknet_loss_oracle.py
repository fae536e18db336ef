"""darknet's deltas of a `[yolo]` section, one prediction and one truth after the other, in plain Python floats.

Slow and obvious; imports nothing from `yolo`. Options are those of `DEFAULTS`, with darknet's names.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

DEFAULTS: dict[str, Any] = {
    "classes": 4,
    "num": 9,
    "mask": (3, 4, 5),
    "anchors": (),
    "scale_x_y": 1.0,
    "new_coords": 0,
    "ignore_thresh": 0.5,
    "truth_thresh": 1.0,
    "iou_loss": "mse",
    "iou_normalizer": 0.75,
    "obj_normalizer": 1.0,
    "cls_normalizer": 1.0,
    "iou_thresh": 1.0,
    "iou_thresh_kind": "iou",
    "max_delta": 3.4e38,
    "label_smooth_eps": 0.0,
    "objectness_smooth": 0,
    "counters_per_class": (),
    "focal_loss": 0,
    "show_details": 1,
}


class Box:
    """A box by centre and size, with its edges."""

    def __init__(self, x: float, y: float, w: float, h: float) -> None:
        self.x, self.y, self.w, self.h = float(x), float(y), float(w), float(h)
        self.l, self.r = self.x - self.w / 2, self.x + self.w / 2
        self.t, self.b = self.y - self.h / 2, self.y + self.h / 2


def measure(kind: str, p: Box, q: Box) -> float:
    """Return IoU, GIoU, DIoU with darknet's exponent, or CIoU of two boxes; IoU for any other word."""
    iw, ih = min(p.r, q.r) - max(p.l, q.l), min(p.b, q.b) - max(p.t, q.t)
    inter = iw * ih if iw > 0 and ih > 0 else 0.0
    union = p.w * p.h + q.w * q.h - inter
    iou = inter / union if inter > 0 else 0.0
    cw, ch = max(p.r, q.r) - min(p.l, q.l), max(p.b, q.b) - min(p.t, q.t)
    if kind == "giou":
        return iou - (cw * ch - union) / (cw * ch) if cw * ch > 0 else iou
    far = ((p.x - q.x) ** 2 + (p.y - q.y) ** 2) / (cw**2 + ch**2) if cw**2 + ch**2 > 0 else 0.0
    if kind == "diou":
        return iou - far**0.6
    if kind == "ciou":
        v = 4 / math.pi**2 * (math.atan(q.w / q.h) - math.atan(p.w / p.h)) ** 2
        return iou - (far + v / (1 - iou + v + 1e-6) * v)
    return iou


def gradients(kind: str, p: Box, q: Box) -> list[float]:
    """Return darknet's gradient of the measure of the prediction `p` and the truth `q` for x, y, w, h of `p`."""
    p = Box(p.x, p.y, p.w or 1.0, p.h or 1.0)
    iw, ih = min(p.r, q.r) - max(p.l, q.l), min(p.b, q.b) - max(p.t, q.t)
    i = iw * ih
    u = p.w * p.h + q.w * q.h - i
    apart = iw <= 0 or ih <= 0
    dx = {"t": -(p.r - p.l), "b": p.r - p.l, "l": -(p.b - p.t), "r": p.b - p.t}
    di = {
        "t": -iw if p.t > q.t else 0.0,
        "b": iw if p.b < q.b else 0.0,
        "l": -ih if p.l > q.l else 0.0,
        "r": ih if p.r < q.r else 0.0,
    }
    du = {e: dx[e] - di[e] for e in "tblr"}
    g = {e: (u * di[e] - i * du[e]) / u**2 if u > 0 else 0.0 for e in "tblr"}
    cw, ch = max(p.r, q.r) - min(p.l, q.l), max(p.b, q.b) - min(p.t, q.t)
    if kind == "giou":
        c = cw * ch
        dc = {
            "t": -cw if p.t < q.t else 0.0,
            "b": cw if p.b > q.b else 0.0,
            "l": -ch if p.l < q.l else 0.0,
            "r": ch if p.r > q.r else 0.0,
        }
        more = {e: (c * du[e] - u * dc[e]) / c**2 for e in "tblr"}
        g = {e: more[e] + (0.0 if apart else g[e]) for e in "tblr"}
    gx, gy, gw, gh = g["l"] + g["r"], g["t"] + g["b"], g["r"] - g["l"], g["b"] - g["t"]
    if kind in ("diou", "ciou"):
        s, d = (p.x - q.x) ** 2 + (p.y - q.y) ** 2, cw**2 + ch**2
        right, left, bottom, top = p.r > q.r, p.l < q.l, p.b > q.b, p.t < q.t
        if apart:
            gx = gy = gw = gh = 0.0
        gx += (2 * (q.x - p.x) * d - 2 * cw * (right - left) * s) / d**2
        gy += (2 * (q.y - p.y) * d - 2 * ch * (bottom - top) * s) / d**2
        gw += 2 * cw * (right + left) / 2 * s / d**2
        gh += 2 * ch * (bottom + top) / 2 * s / d**2
    if kind == "ciou":
        angle = math.atan(q.w / q.h) - math.atan(p.w / p.h)
        v = 4 / math.pi**2 * angle**2
        alpha = v / (1 - i / u + v + 1e-6)
        gw += alpha * 8 / math.pi**2 * angle * p.h
        gh -= alpha * 8 / math.pi**2 * angle * p.w
    return [gx, gy, gw, gh]


class Layer:
    """One `[yolo]` section in training: `delta` `[B, A, H, W, 5 + C]` and `cost` after `run`."""

    def __init__(self, raw: np.ndarray, labels: np.ndarray, net: tuple[int, int], options: dict[str, Any]) -> None:
        assert not options.keys() - DEFAULTS.keys(), options
        self.o = SimpleNamespace(**{**DEFAULTS, **options})
        self.raw, self.labels, (self.netw, self.neth) = raw.astype(np.float64), labels, net
        self.rows, self.columns = raw.shape[2:4]
        k = self.o.scale_x_y
        self.out = self.raw.copy()
        if not self.o.new_coords:
            self.out[..., [0, 1]] = sigmoid(self.raw[..., [0, 1]])
            self.out[..., 4:] = sigmoid(self.raw[..., 4:])
        self.out[..., :2] = self.out[..., :2] * k - (k - 1) / 2
        self.delta = np.zeros_like(self.raw)
        self.overlaps: list[float] = []
        pairs = self.o.anchors
        self.anchors = [(pairs[2 * n], pairs[2 * n + 1]) for n in range(self.o.num)]
        counters = [max(1, c) for c in self.o.counters_per_class]
        self.m = [min(max(counters) / c, self.o.max_delta) for c in counters] or [1.0] * self.o.classes

    def box(self, b: int, a: int, i: int, j: int) -> Box:
        """Return the predicted box, in fractions of the input."""
        x, y, w, h = self.out[b, a, i, j, :4]
        aw, ah = self.anchors[self.o.mask[a]]
        w, h = ((2 * w) ** 2, (2 * h) ** 2) if self.o.new_coords else (math.exp(w), math.exp(h))
        return Box((j + x) / self.columns, (i + y) / self.rows, w * aw / self.netw, h * ah / self.neth)

    def truths(self, b: int) -> list[tuple[Box, int]]:
        """Return boxes and classes of an image, without classes that there are not."""
        own = [label for label in self.labels if int(label[0]) == b]
        return [(Box(*label[1:5]), int(label[5])) for label in own if 0 <= int(label[5]) < self.o.classes]

    def run(self) -> Layer:
        """Compute `delta` and `cost`."""
        B, A = self.raw.shape[:2]
        for b in range(B):
            truths = self.truths(b)
            for a, i, j in np.ndindex(A, self.rows, self.columns):
                self.background((b, a, i, j), truths)
            for truth, c in truths:
                self.assign(b, truth, c)
        if self.o.iou_thresh < 1:
            for delta in self.delta.reshape(-1, self.delta.shape[-1]):
                if delta[4] != 0 and (delta[5:] > 0).any():
                    delta[:4] /= (delta[5:] > 0).sum()
        box, obj, cls = ((self.delta[..., part] ** 2).sum() for part in (slice(0, 4), 4, slice(5, None)))
        if self.o.iou_loss != "mse" and self.o.show_details:
            box = self.o.iou_normalizer * sum(self.overlaps) / max(1, len(self.overlaps))
            obj, cls = self.o.obj_normalizer * obj, self.o.obj_normalizer * cls
        self.terms = np.array([box, obj, cls])
        self.cost = box + obj + cls
        return self

    def background(self, slot: tuple[int, int, int, int], truths: list[tuple[Box, int]]) -> None:
        """Compare one prediction with all truths of its image."""
        o, delta, out = self.o, self.delta[slot], self.out[slot]
        if not math.isfinite(out[4]):
            out[4] = 0
        best, which = 0.0, None
        for truth in truths:
            overlap = measure("iou", self.box(*slot), truth[0])
            if overlap > best:
                best, which = overlap, truth
        match = best if (out[5:] > 0.25).any() else 0.0
        delta[4] = o.obj_normalizer * (0 - out[4])
        if match > o.ignore_thresh:
            delta[4] = max(delta[4], o.obj_normalizer * (match - out[4])) if o.objectness_smooth else 0
        if which is not None and best > o.truth_thresh:
            box, c = which
            delta[4] = self.m[c] * o.obj_normalizer * ((best**2 if o.objectness_smooth else 1) - out[4])
            self.classify(slot, c)
            self.fit(slot, box, c)

    def assign(self, b: int, truth: Box, c: int) -> None:
        """Give one truth to its best anchor, if that is one of this section, and to all that are similar enough."""
        o = self.o
        i, j = min(int(truth.y * self.rows), self.rows - 1), min(int(truth.x * self.columns), self.columns - 1)
        shape, best, best_n = Box(0, 0, truth.w, truth.h), 0.0, 0
        for n, (aw, ah) in enumerate(self.anchors):
            overlap = measure("iou", Box(0, 0, aw / self.netw, ah / self.neth), shape)
            if overlap > best:
                best, best_n = overlap, n
        for a, n in enumerate(o.mask):
            aw, ah = self.anchors[n]
            similar = measure(o.iou_thresh_kind, Box(0, 0, aw / self.netw, ah / self.neth), shape)
            if n == best_n or (o.iou_thresh < 1 and similar > o.iou_thresh):
                slot = b, a, i, j
                if not o.objectness_smooth or self.delta[slot][4] == 0:
                    self.delta[slot][4] = self.m[c] * o.obj_normalizer * (1 - self.out[slot][4])
                self.classify(slot, c)
                self.fit(slot, truth, c)
                self.overlaps.append(1 - measure("giou" if o.iou_loss == "giou" else "iou", self.box(*slot), truth))

    def classify(self, slot: tuple[int, int, int, int], c: int) -> None:
        """Set the class deltas of one prediction for a truth of class `c`."""
        o, delta, p = self.o, self.delta[slot][5:], self.out[slot][5:]
        y = np.array([(k == c) * (1 - o.label_smooth_eps) + o.label_smooth_eps / 2 for k in range(o.classes)])
        if delta[c] != 0:
            delta[c] = (y[c] - p[c]) * self.m[c]
        elif o.focal_loss:
            pt = p[c] + 1e-15
            g = -(1 - pt) * (2 * pt * math.log(pt) + pt - 1)
            for k in range(o.classes):
                delta[k] = ((k == c) - p[k]) * 0.5 * g
        else:
            delta[:] = y - p
            if o.counters_per_class:
                delta[c] *= self.m[c] * o.cls_normalizer

    def fit(self, slot: tuple[int, int, int, int], truth: Box, c: int) -> None:
        """Add the box deltas of one prediction for a truth of class `c`."""
        o, delta, out, factor = self.o, self.delta[slot], self.out[slot], self.o.iou_normalizer * self.m[c]
        _, a, i, j = slot
        aw, ah = self.anchors[o.mask[a]]
        if o.iou_loss == "mse":
            w, h = truth.w * self.netw / aw, truth.h * self.neth / ah
            tw, th = (math.sqrt(w / 4), math.sqrt(h / 4)) if o.new_coords else (math.log(w), math.log(h))
            targets = truth.x * self.columns - j, truth.y * self.rows - i, tw, th
            for k in range(4):
                delta[k] += factor * (2 - truth.w * truth.h) * (targets[k] - out[k])
            return
        g = gradients(o.iou_loss, self.box(*slot), truth)
        if not o.new_coords:
            g[2], g[3] = g[2] * math.exp(out[2]), g[3] * math.exp(out[3])
        for k in range(4):
            value = g[k] * factor
            delta[k] += min(max(value, -o.max_delta), o.max_delta) if math.isfinite(value) else 0


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + e^-x)."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))
