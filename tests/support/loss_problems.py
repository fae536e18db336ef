"""Random problems for the assignment and the loss, drawn from one seed: raw predictions, labels, heads.

Letters: `B` images, `N` labels, `S` scales, `A` anchors of one, `H, W` rows and columns of its grid, `i` row,
`j` column, `C` classes, `k` scale_x_y; `h, w` height and width of the input in pixels.

Difficult cases are frequent here: grids that are not square, objects on borders of the image and of cells, several
labels for one slot, shapes unlike any anchor, predictions that almost equal a label. A problem has few slots, so that
the loops of the oracle are fast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from tests.support import oracles
from tests.support.oracles import Row, YoloHead
from yolo.darknet.heads import Head
from yolo.darknet.sections import Yolo

RULES = ["ratio", "prediction", "prior"]
BOX_LOSSES = ["mse", "iou", "giou", "diou", "ciou"]
OBJ_LABELS = ["1", "iou"]
MAX_SLOTS = 200  # in all images and scales
SHIFTS = (1.0, 1.05, 1.2, 2.0)  # scale_x_y


@dataclass(frozen=True)
class Problem:
    """`raw` per scale `[B, A, H, W, 5+C]` and `labels` `[N, 6]`, both float64, and the heads for the oracle."""

    raw: list[np.ndarray]
    labels: np.ndarray
    facts: list[YoloHead]

    @property
    def model(self) -> SimpleNamespace:
        """What the loss needs of a network: its heads."""
        return SimpleNamespace(heads=[real_head(head) for head in self.facts])

    def predictions(self, dtype: torch.dtype = torch.float64) -> list[Tensor]:
        """Return the raw predictions as new leaves that require a gradient."""
        return [torch.tensor(scale, dtype=dtype).requires_grad_() for scale in self.raw]

    def targets(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return the labels as a tensor `[N, 6]`."""
        return torch.tensor(self.labels, dtype=dtype).reshape(-1, 6)

    def rows(self, rule: str) -> list[Row]:
        """Return the assignment by the oracle."""
        return oracles.ASSIGN[rule](self.raw, self.labels, self.facts)

    def gap(self, rule: str) -> float:
        """Return how close the closest choice is, between two candidates or a match and no match, relative to the best.

        If this is of the order of rounding, two correct programs may differ. Overlaps of 0 are exact, and so are
        their ties.
        """
        gaps = [math.inf]
        for label in self.labels.tolist():
            if rule == "ratio":
                for s, head in enumerate(self.facts):
                    grid = oracles.grid_of(self.raw, s)
                    first, *others = sorted(
                        oracles.ratio_distance(label, head, a, grid) for a in range(len(head.anchors))
                    )
                    gaps += [abs(first - 2), *(other - first for other in others if first < 2)]
                continue
            pairs = [(s, a) for s, head in enumerate(self.facts) for a in range(len(head.anchors))]
            if rule == "prior":
                overlaps = [
                    oracles.prior_overlap(label, self.facts[s], a, oracles.grid_of(self.raw, s)) for s, a in pairs
                ]
            else:
                overlaps = [oracles.prediction_overlap(self.raw, label, self.facts, s, a) for s, a in pairs]
            first, *others = sorted(overlaps, reverse=True)
            gaps += [(first - other) / first for other in others if first > 0]
        return min(gaps)

    def ignore_gap(self, threshold: float) -> float:
        """Return the smallest distance to the threshold of an overlap of a prediction with a label of its image."""
        gaps = [math.inf]
        for s, scale in enumerate(self.raw):
            grid = oracles.grid_of(self.raw, s)
            for b, a, i, j in np.ndindex(*scale.shape[:4]):
                box = oracles.box_at(self.raw, self.facts, (s, b, a, i, j))
                mine = [label for label in self.labels.tolist() if label[0] == b]
                gaps += [abs(oracles.iou(box, oracles.in_cells(label, grid)) - threshold) for label in mine]
        return min(gaps)


def real_head(head: YoloHead) -> Head:
    """Return the head that a [yolo] section of the cfg becomes."""
    anchors = tuple(side for pair in head.anchors for side in pair)
    count = len(head.anchors)
    section = Yolo(classes=head.classes, num=count, mask=tuple(range(count)), anchors=anchors, scale_x_y=head.k)
    return Head(section, (Fraction(head.stride), Fraction(head.stride)))


def random_problem(seed: int) -> Problem:
    """Return a problem of 1 to 5 heads of stride 8, 16 or 32 and inputs of 32 to 160 pixels.

    A is 1 to 3, C 1 to 4, B 1 to 3, N 0 to 8.
    """
    rng = np.random.default_rng(seed)
    strides = rng.choice([8, 16, 32], size=rng.integers(1, 6), p=[0.2, 0.3, 0.5]).tolist()
    n_anchors, classes, images = rng.integers(1, 4), int(rng.integers(1, 5)), int(rng.integers(1, 4))
    sizes = [(h, w) for h in range(32, 161, 32) for w in range(32, 161, 32)]
    slots = [images * n_anchors * sum((h // stride) * (w // stride) for stride in strides) for h, w in sizes]
    small = [size for size, count in zip(sizes, slots, strict=True) if count <= MAX_SLOTS] or sizes[:2]
    h, w = small[rng.integers(len(small))]
    # eighths of a pixel are the same number in float32, which is what a head keeps
    facts = [
        YoloHead(
            [
                (math.ceil(8 * a) / 8, math.ceil(8 * b) / 8)
                for a, b in np.exp(rng.uniform(1, 5.2, (n_anchors, 2))).tolist()
            ],
            stride,
            classes,
            float(rng.choice(SHIFTS)),
        )
        for stride in strides
    ]
    spread = math.exp(rng.uniform(math.log(0.1), math.log(10)))
    raw = [
        spread * rng.standard_normal((images, n_anchors, h // stride, w // stride, 5 + classes)) for stride in strides
    ]
    labels: list[list[float]] = []
    for _ in range(rng.integers(0, 9)):
        labels.append(_label(rng, labels, facts, images, (h, w)))
    for label in labels:
        if rng.random() < 0.4:
            _predict(rng, raw, facts, label)
    return Problem(raw, np.array(labels, dtype=np.float64).reshape(-1, 6), facts)


def _label(
    rng: np.random.Generator, others: list[list[float]], facts: list[YoloHead], images: int, size: tuple[int, int]
) -> list[float]:
    """Return one label (b, x, y, w, h, class); sometimes almost an earlier one, with its own class."""
    label_class = float(rng.integers(facts[0].classes))
    if others and rng.random() < 0.3:
        b, x, y, w, h, _ = others[rng.integers(len(others))]
        x, y = np.clip(np.array([x, y]) + rng.normal(0, 0.003, 2), 0, 1).tolist()
        return [b, x, y, w * rng.uniform(0.8, 1), h * rng.uniform(0.8, 1), label_class]
    head = facts[rng.integers(len(facts))]
    grid = [size[1] // head.stride, size[0] // head.stride]  # columns, rows
    centre = [float(rng.choice([0.0, 1.0, rng.integers(cells + 1) / cells, *rng.random(4)])) for cells in grid]
    kind = rng.random()
    if kind < 0.5:  # like an anchor
        anchor = head.anchors[int(rng.integers(len(head.anchors)))]
        shape = np.array(anchor) / (size[1], size[0]) * np.exp(rng.normal(0, 0.3, 2))
    elif kind < 0.7:  # anything
        shape = np.exp(rng.uniform(math.log(0.01), 0, 2))
    elif kind < 0.8:  # a line, which is unlike any anchor
        shape = np.array([1.0, 0.002]) if rng.random() < 0.5 else np.array([0.002, 1.0])
    else:  # almost a point, or the whole image
        shape = np.full(2, 1e-6) if rng.random() < 0.5 else np.ones(2)
    w, h = np.clip(shape, 1e-6, 1).tolist()
    return [float(rng.integers(images)), *centre, w, h, label_class]


def _predict(rng: np.random.Generator, raw: list[np.ndarray], facts: list[YoloHead], label: list[float]) -> None:
    """Write a prediction into `raw` whose box is almost the label: in its cell, by an anchor of a scale."""
    s = int(rng.integers(len(facts)))
    head, (rows, columns) = facts[s], raw[s].shape[2:4]
    a = int(rng.integers(len(head.anchors)))
    i, j = oracles.cell_of(label, (rows, columns))
    x, y, w, h = oracles.in_cells(label, (rows, columns))
    within = np.array([x - j, y - i]) / head.k + (head.k - 1) / 2 / head.k
    within = np.clip(within, 0.01, 0.99)
    sides = np.array([w, h]) * head.stride / np.array(head.anchors[a])
    values = np.concatenate((np.log(within / (1 - within)), np.log(sides)))
    raw[s][int(label[0]), a, i, j, :4] = values + rng.normal(0, 0.1, 4)


def variants() -> st.SearchStrategy[dict[str, Any]]:
    """Draw any variant of the loss, as keyword arguments of `compute_loss` and of the oracle."""
    gains = st.sampled_from([0.0, 0.05, 1.0, 3.0])
    return st.fixed_dictionaries(
        {
            "bbox_loss": st.sampled_from(BOX_LOSSES),
            "obj_label": st.sampled_from(OBJ_LABELS),
            "assign": st.sampled_from(RULES),
            "ignore_thresh": st.sampled_from([None, 0.3, 0.5, 0.7]),
            "pos_weight": st.sampled_from(["auto", 0.5, 1.0, 3.7]),
            "obj_reduction": st.sampled_from(["mean", "sum"]),
            "box_gain": gains,
            "obj_gain": gains,
            "cls_gain": gains,
            "label_smoothing": st.sampled_from([0.0, 0.1, 0.3]),
            "focal_gamma": st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]),
        }
    )


def problems() -> st.SearchStrategy[Problem]:
    """Draw random problems; hypothesis reports the seed."""
    return st.integers(0, 2**32).map(random_problem)
