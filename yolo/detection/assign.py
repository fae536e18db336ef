"""Labels -> anchors: who answers for whom, as six indices (s, n, b, a, i, j).

A YOLO network says `A` boxes in every cell of every scale. A label trains only those that are *responsible* for it, its
positives; all others learn that nothing is there. The assignment is the list of the positives, one row each:

    s  scale (head)             a  anchor within the scale
    n  label within the batch   i  row of the cell (from y)
    b  image of the label     j  column of the cell (from x)

An example: one image of 192 x 128 pixels, scales of 3 x 2 and 6 x 4 cells, one label, a boat whose centre is at
x = 0.4, y = 0.7 (fractions). Its cell is where its centre is:

    scale 0, 64 pixels a cell           scale 1, 32 pixels a cell
    W = 3, j = floor(0.4 · 3) = 1       W = 6, j = floor(0.4 · 6) = 2
    H = 2, i = floor(0.7 · 2) = 1       H = 4, i = floor(0.7 · 4) = 2

         j 0   1   2                         j 0  1  2  3  4  5
      i 0  .   .   .                      i 0  .  .  .  .  .  .
        1  .   X   .                        1  .  .  .  .  .  .
                                            2  .  .  X  .  .  .
                                            3  .  .  .  .  .  .

The three rules differ in the scales and anchors that answer there:

- `ratio`: at each scale the anchor whose width and height are nearest to the label's, by
  `d = |w/w_anchor - 1| + |h/h_anchor - 1|`, if that is below 2. The boat is 70 x 20 pixels. If anchor 1 of scale 0 is
  60 x 30 (d = 1/6 + 1/3) and anchor 0 of scale 1 is 40 x 20 (d = 3/4), and no other is nearer, the rows are
  (0, 0, 0, 1, 1, 1) and (1, 0, 0, 0, 2, 2).
- `prediction`: of all scales and anchors the one whose *predicted box* in the label's cell has the highest IoU with the
  label. One row, which moves while the network learns. It is YOLOv1's rule ("responsible" in §2) with anchors.
- `prior`: of all scales and anchors the one whose *shape* has the highest IoU with the label's, centres aligned. That
  is the measure by which YOLOv2 (§2, dimension clusters, `d = 1 - IoU`) chose its anchors. One row, YOLOv3's rule
  (§2.1): the boat has 60 · 20 / (60 · 30 + 70 · 20 - 60 · 20) = 0.6 with the first anchor and 800 / 1400 = 0.57 with
  the second.

Ties go to the lowest index, scales before anchors. A label that nothing matches has no row; one whose cell is outside
of the grid belongs to the nearest cell. `docs/assignment.md` has an image of all three.

Letters: `B` images, `N` labels, `S` scales, `A` anchors, `H, W` rows and columns of a scale. Grid units are its
cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from yolo.boxes import iou
from yolo.darknet.heads import Head
from yolo.detection.grid import Grid, make_grids


class Assignment(NamedTuple):
    """Rows (s, n, b, a, i, j), int64, and which of them are matches, bool; all of one length that no value decides.

    That is `S · N` for `ratio` (row `s · N + n`) and `N` otherwise, so that a GPU need not tell the host how many there
    are. Rows without a match have index 0 throughout.
    """

    s: Tensor
    n: Tensor
    b: Tensor
    a: Tensor
    i: Tensor
    j: Tensor
    matched: Tensor

    def compact(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The matches alone, six `[M]`. It waits for the device: for tests, logs and drawings."""
        s, n, b, a, i, j = (index[self.matched] for index in self[:6])
        return s, n, b, a, i, j

    def unmatched(self, labels: int) -> Tensor:
        """How many of so many labels have no match, int64 scalar. Does not wait."""
        matches = self.matched.new_zeros(labels, dtype=torch.int64).index_add(0, self.n, self.matched.long())
        return (matches == 0).sum()


def assign(predictions: Sequence[Tensor], labels: Tensor, heads: Sequence[Head], rule: str) -> Assignment:
    """Which anchors answer for which labels.

    Args:
        predictions: raw, for each head `[B, A, H, W, 5 + C]`. Only `prediction` looks at their values.
        labels: `[N, 6]`: (b, x_center, y_center, w, h, class), the box as fractions of the input.
        heads: their anchors, strides and `scale_x_y`.
        rule: `ratio`, `prediction` or `prior`; ValueError for another.
    """
    if rule not in SCORES:
        raise ValueError(f"assign={rule!r}: expected one of {', '.join(SCORES)}")
    with torch.no_grad():
        grids = make_grids(predictions, heads, labels.dtype)
        scores = [SCORES[rule](raw, labels, grid) for raw, grid in zip(predictions, grids, strict=True)]
        rows, columns = (torch.stack(index) for index in zip(*(grid.cells(labels) for grid in grids), strict=True))
        if rule == "ratio":
            return _one_per_scale(scores, labels, rows, columns)
        return _one_of_all(scores, labels, rows, columns)


def _one_per_scale(scores: Sequence[Tensor], labels: Tensor, rows: Tensor, columns: Tensor) -> Assignment:
    """The best anchor of each scale, where its score is above -2. `rows`, `columns` `[S, N]` of the labels' cells."""
    best, a = (torch.stack(values) for values in zip(*(score.max(dim=1) for score in scores), strict=True))
    s, n = (torch.arange(size, device=labels.device) for size in rows.shape)
    indices = torch.broadcast_tensors(s[:, None], n, labels[:, 0].long(), a, rows, columns)
    matched = best > -2
    s, n, b, a, i, j = (torch.where(matched, index, 0).flatten() for index in indices)
    return Assignment(s, n, b, a, i, j, matched.flatten())


def _one_of_all(scores: Sequence[Tensor], labels: Tensor, rows: Tensor, columns: Tensor) -> Assignment:
    """The best anchor of all scales, for every label."""
    k = torch.cat(list(scores), dim=1).argmax(dim=1)  # [N], of all S · A, scales before anchors
    sizes = [score.shape[1] for score in scores]
    s = torch.cat([torch.full((size,), s, device=k.device) for s, size in enumerate(sizes)])[k]
    a = torch.cat([torch.arange(size, device=k.device) for size in sizes])[k]
    n = torch.arange(len(labels), device=k.device)
    return Assignment(
        s, n, labels[:, 0].long(), a, rows[s, n], columns[s, n], matched=torch.ones_like(n, dtype=torch.bool)
    )


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
    sizes = grid.truths(labels)[:, None, 2:]
    return iou(_centred(sizes), _centred(grid.anchors))


def _centred(sizes: Tensor) -> Tensor:
    """Return boxes of these sizes `[..., 2]` with their centres at 0, `[..., 4]`."""
    return torch.cat((torch.zeros_like(sizes), sizes), dim=-1)


SCORES = {"ratio": _ratio, "prediction": _prediction, "prior": _prior}
"""What each rule asks of an anchor; the highest answers."""
