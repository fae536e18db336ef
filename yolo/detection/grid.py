"""The grid of a head: cells of labels, and boxes of labels, anchors and predictions in grid units.

A grid unit is the width or height of one cell. Letters: `N` labels; `A, H, W` anchors, rows and columns of the grid;
`i` row, `j` column of a cell. Boxes are cxcywh.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from yolo.darknet.heads import Head

SMALLEST = 1e-12  # lower limit of a predicted width or height, in cells: above 0, all measures have a gradient

EDGE = 1e-7  # share of its reach by which a predicted centre stays away from the edge, where the value is infinite


class Grid(NamedTuple):
    """The geometry of one head for one input size: `rows` H, `columns` W, `anchors` `[A, 2]` in grid units."""

    rows: int
    columns: int
    anchors: Tensor
    scale_x_y: float

    def cells(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return row and column of each label's cell, int64 `[N]` each.

        It is the cell of the label's centre. A centre outside the grid belongs to the nearest cell.
        """
        i = (labels[:, 2] * self.rows).floor().clamp(0, self.rows - 1).long()
        j = (labels[:, 1] * self.columns).floor().clamp(0, self.columns - 1).long()
        return i, j

    def truths(self, labels: Tensor) -> Tensor:
        """Return the boxes of labels `[N, 6]` in grid units, `[N, 4]`."""
        x, y, w, h = labels[:, 1:5].unbind(-1)
        return torch.stack((x * self.columns, y * self.rows, w * self.columns, h * self.rows), dim=-1)

    def boxes(self, values: Tensor, a: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Return predicted boxes in grid units, `[..., 4]`.

        Args:
            values: raw (tx, ty, tw, th) of predictions, `[..., 4]`, in the dtype of the result.
            a, i, j: indices of their anchors, rows and columns, int64, of shapes that broadcast to `[...]`.

        The head's own decoding (YOLOv3 §2.1), but safe for any value: sizes lie between `SMALLEST` and the longer side
        of the grid. Beyond a limit the gradient is that of the limit, which is finite and leads back. Without a
        gradient there, a box that grew too large in the first steps would stay as large as the image.
        """
        k = self.scale_x_y
        x, y = (values[..., :2].sigmoid() * k - (k - 1) / 2).unbind(-1)
        w, h = _Sizes.apply(values[..., 2:], self.anchors[a], max(self.rows, self.columns)).unbind(-1)
        return torch.stack((j + x, i + y, w, h), dim=-1)

    def values(self, boxes: Tensor, a: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Return the raw (tx, ty, tw, th) that predict boxes in grid units, `[..., 4]`: the inverse of `boxes`.

        The arguments are those of `boxes`; float64 keeps all digits. A centre on the edge of what a prediction can
        reach, or beyond, gives the finite values that come nearest. Sizes must be above 0.
        """
        share = (boxes[..., :2] - torch.stack((j, i), dim=-1) + (self.scale_x_y - 1) / 2) / self.scale_x_y
        return torch.cat((share.logit(eps=EDGE), (boxes[..., 2:] / self.anchors[a]).log()), dim=-1)

    def all_boxes(self, values: Tensor) -> Tensor:
        """Return the boxes of all predictions: raw (tx, ty, tw, th) `[B, A, H, W, 4]` to grid units, same shape."""
        a, i, j = (torch.arange(size, device=values.device) for size in values.shape[1:4])
        return self.boxes(values, a[:, None, None], i[:, None], j)


def make_grids(predictions: Sequence[Tensor], heads: Sequence[Head], dtype: torch.dtype) -> list[Grid]:
    """Return the grid of each head, with anchors of `dtype`, for raw predictions `[B, A, H, W, 5 + C]` per head."""
    return [
        Grid(raw.shape[2], raw.shape[3], head.anchors.to(dtype) / head.stride, head.scale_x_y)
        for raw, head in zip(predictions, heads, strict=True)
    ]


class _Sizes(torch.autograd.Function):
    """Sizes `exp(t) · anchor` within the limits, `[..., 2]` in grid units; their gradient is `size` beyond them, too.

    `t` `[..., 2]`; `anchors` of a shape that broadcasts to it, without a gradient; `longest` in cells.
    """

    @staticmethod
    def forward(ctx: Any, t: Tensor, anchors: Tensor, longest: int) -> Tensor:
        lowest, highest = (SMALLEST / anchors).log(), (longest / anchors).log()
        sizes = torch.clamp(t, lowest, highest).exp() * anchors  # limits on the exponent: nothing overflows
        sizes = torch.where(t < highest, sizes, longest)  # exactly, so that boxes of the longest size tie
        ctx.save_for_backward(sizes)
        return sizes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (sizes,) = ctx.saved_tensors
        return gradient * sizes, None, None
