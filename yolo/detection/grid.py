"""Labels, anchors and predicted boxes in grid units."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from yolo.darknet.heads import Head

SMALLEST = 1e-12  # of a predicted width or height, in cells: all measures then have a gradient


def cells(labels: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column `[N]` of the labels' cells in the grid of `raw`; a centre outside belongs to the nearest cell."""
    H, W = raw.shape[2:4]
    i = (labels[:, 2] * H).floor().clamp(0, H - 1).long()
    j = (labels[:, 1] * W).floor().clamp(0, W - 1).long()
    return i, j


def label_boxes(labels: Tensor, raw: Tensor) -> Tensor:
    """The labels' boxes in grid units, cxcywh `[N, 4]`."""
    H, W = raw.shape[2:4]
    x, y, w, h = labels[:, 1:5].unbind(-1)
    return torch.stack((x * W, y * H, w * W, h * H), dim=-1)


def grid_anchors(head: Head, dtype: torch.dtype) -> Tensor:
    """The anchors in grid units, `[A, 2]`."""
    return head.anchors.to(dtype) / head.stride


def predicted_boxes(values: Tensor, anchors: Tensor, k: float, i: Tensor, j: Tensor, raw: Tensor) -> Tensor:
    """The boxes, in grid units, cxcywh `[..., 4]`, of some raw `values` `[..., 4]` of a head.

    Args:
        values: tx, ty, tw, th of slots, in the arithmetic of the result.
        anchors: theirs, in grid units, `[..., 2]`.
        k: `scale_x_y` of the head.
        i, j: rows and columns of their cells, `[...]`.
        raw: all predictions of the head: the size of its grid.

    As the head decodes them (YOLOv3 §2.1), but safe for any value: sizes lie between `SMALLEST` and the longer side of
    the grid. A size beyond a limit has the gradient that it has on the limit, which is finite and leads back: without
    one, a box that overshot in the first steps would stay as large as the image for ever.
    """
    x, y = (values[..., :2].sigmoid() * k - (k - 1) / 2).unbind(-1)
    t, longest = values[..., 2:], max(raw.shape[2:4])
    w, h = _Sizes.apply(t, anchors, longest).unbind(-1)
    return torch.stack((j + x, i + y, w, h), dim=-1)


class _Sizes(torch.autograd.Function):
    """Sizes `exp(t) · anchor` within the limits, `[..., 2]` in grid units, and beyond these the derivative `size`, too.

    `t` `[..., 2]`, `anchors` of a shape that broadcasts to it, without a gradient; `longest` in cells.
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
