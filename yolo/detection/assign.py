"""Which anchors are responsible for which labels, as six indices (s, n, b, a, i, j).

A YOLO network predicts `A` boxes in every cell of every scale. A label trains only the predictions that are
*responsible* for it, its positives. All other predictions learn that there is no object. The assignment is the list of
positives, one row for each:

    s  scale (head)             a  anchor within the scale
    n  label within the batch   i  row of the cell (from y)
    b  image of the label       j  column of the cell (from x)

An example: one image of 192 x 128 pixels, scales of 3 x 2 and 6 x 4 cells, and one label, a boat with its centre at
x = 0.4, y = 0.7 (fractions). Its cell is the one that contains its centre:

    scale 0, 64 pixels per cell         scale 1, 32 pixels per cell
    W = 3, j = floor(0.4 · 3) = 1       W = 6, j = floor(0.4 · 6) = 2
    H = 2, i = floor(0.7 · 2) = 1       H = 4, i = floor(0.7 · 4) = 2

         j 0   1   2                         j 0  1  2  3  4  5
      i 0  .   .   .                      i 0  .  .  .  .  .  .
        1  .   X   .                        1  .  .  .  .  .  .
                                            2  .  .  X  .  .  .
                                            3  .  .  .  .  .  .

The three rules differ in which scales and which anchors of that cell are responsible:

- `ratio`: at each scale the anchor whose width and height are closest to the label's, by
  `d = |w/w_anchor - 1| + |h/h_anchor - 1|`, if that is below 2. The boat is 70 x 20 pixels. If anchor 1 of scale 0 is
  60 x 30 (d = 1/6 + 1/3) and anchor 0 of scale 1 is 40 x 20 (d = 3/4), and no other is closer, the rows are
  (0, 0, 0, 1, 1, 1) and (1, 0, 0, 0, 2, 2).
- `prediction`: over all scales and anchors the one whose *predicted box* in the label's cell has the highest IoU with
  the label. This gives one row, which changes while the network learns. It is the rule of YOLOv1 ("responsible" in §2),
  with anchors.
- `prior`: over all scales and anchors the one whose *shape* has the highest IoU with the label's, centres aligned.
  YOLOv2 chose its anchors by this measure (§2, dimension clusters, `d = 1 - IoU`). This gives one row. It is the rule
  of YOLOv3 (§2.1). The boat has 60 · 20 / (60 · 30 + 70 · 20 - 60 · 20) = 0.6 with the first anchor and
  800 / 1400 = 0.57 with the second.

Ties go to the lowest index, scales before anchors. A label that matches no anchor has no row. A label whose centre is
outside the grid belongs to the nearest cell. `docs/assignment.md` shows all three rules on an image.

Letters: `B` images, `N` labels, `S` scales; `A, H, W` anchors, rows and columns of a scale. A grid unit is one cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from yolo.boxes import iou
from yolo.darknet.heads import Head
from yolo.detection.grid import Grid, make_grids

FARTHEST = 2.0  # `ratio`: an anchor matches a label if its distance d is below this


class Assignment(NamedTuple):
    """Rows (s, n, b, a, i, j), int64, and which of them are matches, bool.

    All have the same length, which does not depend on the data, so that a GPU need not report it to the host: `S · N`
    for `ratio` (row `s · N + n`) and `N` otherwise. All indices of a row without a match are 0.
    """

    s: Tensor
    n: Tensor
    b: Tensor
    a: Tensor
    i: Tensor
    j: Tensor
    matched: Tensor

    def compact(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return the matches only, six tensors `[M]`. Waits for the device: for tests, logs and drawings."""
        s, n, b, a, i, j = (index[self.matched] for index in self[:6])
        return s, n, b, a, i, j

    def unmatched(self, labels: int) -> Tensor:
        """Return how many of the `labels` labels of the batch have no match, int64 scalar. Does not wait."""
        matches = self.matched.new_zeros(labels, dtype=torch.int64).index_add(0, self.n, self.matched.long())
        return (matches == 0).sum()


def assign(predictions: Sequence[Tensor], labels: Tensor, heads: Sequence[Head], rule: str) -> Assignment:
    """Return which anchors are responsible for which labels.

    Args:
        predictions: raw, for each head `[B, A, H, W, 5 + C]`. Only `prediction` reads their values.
        labels: `[N, 6]`: (b, x_center, y_center, w, h, class), the box as fractions of the input.
        heads: the heads of the network, with anchors, strides and `scale_x_y`.
        rule: `ratio`, `prediction` or `prior`; ValueError for another.
    """
    if rule not in SCORES:
        raise ValueError(f"assign={rule!r}: expected one of {', '.join(SCORES)}")
    with torch.no_grad():
        grids = make_grids(predictions, heads, labels.dtype)
        # How well each anchor of each scale fits each label, and the label's cell at each scale.
        scores = [SCORES[rule](raw, labels, grid) for raw, grid in zip(predictions, grids, strict=True)]
        rows, columns = (torch.stack(index) for index in zip(*(grid.cells(labels) for grid in grids), strict=True))
        if rule == "ratio":
            return _one_per_scale(scores, labels, rows, columns)
        return _one_of_all(scores, labels, rows, columns)


def _one_per_scale(scores: Sequence[Tensor], labels: Tensor, rows: Tensor, columns: Tensor) -> Assignment:
    """Assign the best anchor of each scale, if it is near enough. `rows`, `columns` `[S, N]` of the labels' cells."""
    best, a = (torch.stack(values) for values in zip(*(score.max(dim=1) for score in scores), strict=True))
    matched = best > -FARTHEST
    s, n = (torch.arange(size, device=labels.device) for size in rows.shape)
    # [S, N] each, flattened to rows s · N + n.
    indices = torch.broadcast_tensors(s[:, None], n, labels[:, 0].long(), a, rows, columns)
    s, n, b, a, i, j = (torch.where(matched, index, 0).flatten() for index in indices)
    return Assignment(s, n, b, a, i, j, matched.flatten())


def _one_of_all(scores: Sequence[Tensor], labels: Tensor, rows: Tensor, columns: Tensor) -> Assignment:
    """Assign the best anchor over all scales. `rows`, `columns` `[S, N]` of the labels' cells."""
    k = torch.cat(list(scores), dim=1).argmax(dim=1)  # [N], an index into all S · A anchors, scales before anchors
    sizes = [score.shape[1] for score in scores]
    s = torch.cat([torch.full((size,), s, device=k.device) for s, size in enumerate(sizes)])[k]
    a = torch.cat([torch.arange(size, device=k.device) for size in sizes])[k]
    n = torch.arange(len(labels), device=k.device)
    return Assignment(s, n, labels[:, 0].long(), a, rows[s, n], columns[s, n], torch.ones_like(n, dtype=torch.bool))


def _ratio(raw: Tensor, labels: Tensor, grid: Grid) -> Tensor:
    """Return `-d`, minus the relative differences of width and height, `[N, A]`."""
    sizes = grid.truths(labels)[:, None, 2:]
    return -(sizes / grid.anchors - 1).abs().sum(dim=-1)


def _prediction(raw: Tensor, labels: Tensor, grid: Grid) -> Tensor:
    """Return the IoU of each label with the boxes that are predicted in its cell, `[N, A]`."""
    i, j = grid.cells(labels)
    values = raw[..., :4][labels[:, 0].long(), :, i, j].to(labels.dtype)  # [N, A, 4]
    a = torch.arange(len(grid.anchors), device=labels.device)
    return iou(grid.boxes(values, a, i[:, None], j[:, None]), grid.truths(labels)[:, None])


def _prior(raw: Tensor, labels: Tensor, grid: Grid) -> Tensor:
    """Return the IoU of each label's shape with those of the anchors, centres aligned, `[N, A]`."""
    sizes = (grid.truths(labels)[:, None, 2:], grid.anchors)
    return iou(*(torch.cat((torch.zeros_like(size), size), dim=-1) for size in sizes))


SCORES = {"ratio": _ratio, "prediction": _prediction, "prior": _prior}
"""What each rule computes for an anchor and a label. The highest score wins."""
