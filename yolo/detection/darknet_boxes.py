"""Predicted boxes as darknet trains them: where they are, and the deltas that pull them towards their labels.

With `iou_loss=mse` the target of each raw value is known. With `iou|giou|diou|ciou` the deltas are like the gradient of
that measure, but three things are darknet's own: factors of 2 that it leaves out, a sign in the centre's term of DIoU
and CIoU, and unclamped intersections.

Letters: `A, H, W, C` anchors, rows, columns and classes of a head, `R` rows: pairs of a label and a slot. Boxes are
cxcywh as fractions of the network input; the deltas depend on that unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from yolo.darknet.heads import Head
from yolo.darknet.sections import Yolo


class Geometry(NamedTuple):
    """The grid of a head for one input size: `rows` H, `columns` W, `anchors` `[A, 2]` as fractions of the input."""

    rows: int
    columns: int
    anchors: Tensor
    head: Head

    @classmethod
    def of(cls, raw: Tensor, head: Head, dtype: torch.dtype) -> Geometry:
        """Return the geometry of raw predictions `[B, A, H, W, 5 + C]`."""
        (H, W), (y, x) = raw.shape[2:4], head.strides
        w, h = head.anchors.to(dtype).unbind(-1)
        return cls(H, W, torch.stack((w / float(W * x), h / float(H * y)), dim=-1), head)

    def boxes(self, values: Sequence[Tensor], a: Tensor, i: Tensor, j: Tensor) -> list[Tensor]:
        """Return x, y, w, h of the predicted boxes for the raw values tx, ty, tw, th; all shapes broadcast.

        It is the head's own decoding, by components, and the sizes have no limit.
        """
        aw, ah = self.anchors[a].unbind(-1)
        w, h = ((2 * t).square() if self.head.new_coords else t.exp() for t in values[2:4])
        return [(j + self.place(values[0])) / self.columns, (i + self.place(values[1])) / self.rows, w * aw, h * ah]

    def place(self, t: Tensor) -> Tensor:
        """Return the place of a centre within its cell, for raw values of any shape."""
        k = self.head.scale_x_y
        return (t if self.head.new_coords else t.sigmoid()) * k - (k - 1) / 2

    def deltas(self, own: Tensor, boxes: Tensor, truths: Tensor, place: Sequence[Tensor], section: Yolo) -> Tensor:
        """Return the box deltas of each row on its own, without multipliers and limits, `[R, 4]`.

        Args:
            own: raw predictions, `[R, 5 + C]`.
            boxes, truths: predicted boxes and labels, `[R, 4]` each.
            place: b, a, i, j of each row.
            section: decides on the kind.
        """
        _, a, i, j = place
        if section.iou_loss == "mse":
            ratio = truths[:, 2:] / self.anchors[a]
            sizes = (ratio / 4).sqrt() if self.head.new_coords else ratio.log()
            x, y = truths[:, 0] * self.columns - j, truths[:, 1] * self.rows - i
            wanted = torch.cat((torch.stack((x, y), dim=-1), sizes), dim=-1)
            now = torch.cat((self.place(own[:, :2]), own[:, 2:4]), dim=-1)
            return (2 - truths[:, 2:].prod(-1, keepdim=True)) * (wanted - now)
        change = pull(section.iou_loss, boxes, truths)
        return change if self.head.new_coords else torch.cat((change[:, :2], change[:, 2:] * own[:, 2:4].exp()), dim=-1)


def pull(kind: str, boxes: Tensor, truths: Tensor) -> Tensor:
    """Return darknet's gradient of the overlap of predicted boxes and their labels for x, y, w, h, `[R, 4]`.

    Args:
        kind: `giou`, `diou` or `ciou`; any other word is `iou`, as in darknet.
        boxes: predictions, `[R, 4]`. A side that is exactly 0 counts as 1.
        truths: their labels, `[R, 4]`.

    Where the formula divides by 0 the numbers are not finite.
    """
    centre, size = boxes[:, :2], boxes[:, 2:]
    size = torch.where(size == 0, 1, size)
    # All tensors [R, 2] have a column for x and one for y: `low` is left, top; `high` is right, bottom.
    low, high = centre - size / 2, centre + size / 2
    low_t, high_t = truths[:, :2] - truths[:, 2:] / 2, truths[:, :2] + truths[:, 2:] / 2
    cut = torch.minimum(high, high_t) - torch.maximum(low, low_t)
    inter = cut.prod(-1, keepdim=True)
    union = size.prod(-1, keepdim=True) + truths[:, 2:].prod(-1, keepdim=True) - inter
    apart = (cut <= 0).any(-1, keepdim=True)
    # The derivative of an area for an edge is the length of the other side.
    across, cut_across = size.flip(-1), cut.flip(-1)
    d_inter = torch.stack((torch.where(low > low_t, -cut_across, 0), torch.where(high < high_t, cut_across, 0)))
    d_union = torch.stack((-across, across)) - d_inter
    edges = torch.where(union > 0, (union * d_inter - inter * d_union) / union.square(), 0)
    hull = torch.maximum(high, high_t) - torch.minimum(low, low_t)
    if kind == "giou":
        area, hull_across = hull.prod(-1, keepdim=True), hull.flip(-1)
        d_area = torch.stack((torch.where(low < low_t, -hull_across, 0), torch.where(high > high_t, hull_across, 0)))
        edges = torch.where(apart, 0, edges) + (area * d_union - union * d_area) / area.square()
    move, grow = edges[0] + edges[1], edges[1] - edges[0]
    if kind in ("diou", "ciou"):
        gap = truths[:, :2] - centre
        far, diagonal = gap.square().sum(-1, keepdim=True), hull.square().sum(-1, keepdim=True)
        above, below = (high > high_t).to(hull.dtype), (low < low_t).to(hull.dtype)
        move = torch.where(apart, 0, move) + (2 * gap * diagonal - 2 * hull * (above - below) * far) / diagonal.square()
        grow = torch.where(apart, 0, grow) + hull * (above + below) * far / diagonal.square()
    if kind == "ciou":
        angle = (truths[:, 2:3] / truths[:, 3:]).atan() - (size[:, :1] / size[:, 1:]).atan()
        v = 4 / math.pi**2 * angle.square()
        alpha = v / (1 - inter / union + v + 1e-6)
        turn = alpha * 8 / math.pi**2 * angle
        grow = grow + turn * torch.cat((size[:, 1:], -size[:, :1]), dim=-1)
    return torch.cat((move, grow), dim=-1)
