"""Boxes: formats, overlaps, where an image lies in the network input, detections.

Letters: `G` and `D` are boxes of two sets, `w, h` widths and heights in pixels. A box format is in the
name of the function: `xyxy` is (left, top, right, bottom), `cxcywh` (centre x, centre y, width, height).
All functions take `[..., 4]`, leave their arguments alone and are at home with zero boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from yolo.files.shown import one_line

if TYPE_CHECKING:
    import supervision


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Centre and size `[..., 4]` to corners `[..., 4]`, in whatever unit the boxes have."""
    cx, cy, w, h = boxes.unbind(-1)
    return torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), dim=-1)


def corners_in_order(boxes: Tensor) -> Tensor:
    """Return xyxy boxes `[..., 4]` with xmin <= xmax and ymin <= ymax: swapped corners are exchanged."""
    one, other = boxes.split(2, dim=-1)
    return torch.cat((torch.minimum(one, other), torch.maximum(one, other)), dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Corners `[..., 4]` to centre and size `[..., 4]`, in whatever unit the boxes have."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), dim=-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of cxcywh boxes, `[...]`; 0 where the boxes do not meet or have no area.

    Arguments broadcast: `iou(a, b)` compares `[D, 4]` with `[D, 4]` row by row, `iou(a[:, None], b)` gives
    the `[D, G]` table. As in darknet no epsilon is added: a union of zero has an intersection of zero.
    """
    acx, acy, aw, ah = a.unbind(-1)
    bcx, bcy, bw, bh = b.unbind(-1)
    width = torch.minimum(acx + aw / 2, bcx + bw / 2) - torch.maximum(acx - aw / 2, bcx - bw / 2)
    height = torch.minimum(acy + ah / 2, bcy + bh / 2) - torch.maximum(acy - ah / 2, bcy - bh / 2)
    inter = width.clamp(min=0) * height.clamp(min=0)
    union = aw * ah + bw * bh - inter
    return torch.where(inter > 0, inter / union, 0)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """IoU minus the share of the smallest enclosing box that neither box covers, of cxcywh boxes, `[...]` in [-1, 1].

    `iou - (c - union) / c`, `c` the area of the enclosing box (Rezatofighi et al. 2019, algorithm 1). It has a slope
    where the boxes do not meet, which IoU has not. Two boxes within a point or a line have `c = 0` and measure 0.
    """
    width, height = _enclosing(a, b)
    hull = width * height
    area_a, area_b = a[..., 2] * a[..., 3], b[..., 2] * b[..., 3]
    overlap = iou(a, b)
    union = (area_a + area_b) / (1 + overlap)  # as inter = overlap * union
    return overlap - torch.where(hull > 0, (hull - union) / hull, 0)


def diou(a: Tensor, b: Tensor, beta: float = 1.0) -> Tensor:
    """IoU minus the normalised centre distance, `iou - (d²/c²)^beta`, of cxcywh boxes, `[...]`.

    `d` is the distance of the centres, `c` the diagonal of the smallest enclosing box. `beta` = 1 is the
    DIoU of the paper (Zheng et al. 2020, eq. 7), 0.6 the measure of darknet's `nms_kind=greedynms`.
    Two equal points have `d = c = 0`; their measure is their IoU, 0. Arguments broadcast as in `iou`.
    Unlike IoU it depends on the unit: relative and pixel coordinates differ on non-square images.
    """
    width, height = _enclosing(a, b)
    diagonal = width.square() + height.square()
    distance = (a[..., 0] - b[..., 0]).square() + (a[..., 1] - b[..., 1]).square()
    return iou(a, b) - torch.where(diagonal > 0, distance / diagonal, 0).pow(beta)


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """DIoU minus the difference of the proportions, `diou - αv`, of cxcywh boxes, `[...]` (Zheng et al. 2020, eq. 10).

    `v = 4/π² (atan(w_b/h_b) - atan(w_a/h_a))²`, `α = v / (1 - iou + v)`. α is a weight, it has no gradient.
    """
    angle = torch.atan2(b[..., 2], b[..., 3]) - torch.atan2(a[..., 2], a[..., 3])
    v = (2 / math.pi * angle).square()
    with torch.no_grad():
        miss = 1 - iou(a, b) + v
        alpha = torch.where(miss > 0, v / miss, 0)
    return diou(a, b) - alpha * v


def _enclosing(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Width and height of the smallest box that holds both, each `[...]`."""
    acx, acy, aw, ah = a.unbind(-1)
    bcx, bcy, bw, bh = b.unbind(-1)
    width = torch.maximum(acx + aw / 2, bcx + bw / 2) - torch.minimum(acx - aw / 2, bcx - bw / 2)
    height = torch.maximum(acy + ah / 2, bcy + bh / 2) - torch.minimum(acy - ah / 2, bcy - bh / 2)
    return width, height


def xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """Corners `[..., 4]` to left, top, width and height `[..., 4]`, in float64: COCO's format.

    The one way in which detections become COCO's numbers, in files and in metrics. Those of a broken network may not be
    finite; json has no infinity, so they get the largest float32, and 0 for NaN.
    """
    largest = torch.finfo(torch.float32).max
    x1, y1, x2, y2 = boxes.double().nan_to_num(0, largest, -largest).unbind(-1)
    return torch.stack((x1, y1, x2 - x1, y2 - y1), dim=-1)


SHOWN = 20
"""Rows that the text of detections has at most."""


@dataclass(frozen=True, repr=False, eq=False)
class Detections:
    """The detections of one image, by descending score.

    `boxes` `[D, 4]` are xyxy in pixels of the original image, `scores` `[D]` are floats in (0, 1), and `labels` `[D]`
    int64 class indices from 0. Boxes may stick out of the image until they are `clipped`. A box appears in several rows
    if it has several classes.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        return f"Detections: {self.listed()}"

    def listed(self, names: Sequence[str] | None = None, where: str = "") -> str:
        """Return the number of objects, `where` they are, and a line with class, score and box for the best of them."""
        best = zip(*(part[:SHOWN].tolist() for part in (self.labels, self.scores, self.boxes)), strict=True)
        lines = [f"{len(self)} object{'s' * (len(self) != 1)}{where}"]
        for label, score, box in best:
            name = f"class {label}" if names is None else one_line(names[label])
            lines.append(f"  {name:<16} {score:.3f}  " + " ".join(f"{x:7.1f}" for x in box))
        lines += [f"  ... and {len(self) - SHOWN} more"] * (len(self) > SHOWN)
        return "\n".join(lines)

    def to(self, device: torch.device | str) -> Self:
        """Return the same detections on another device."""
        return replace(self, boxes=self.boxes.to(device), scores=self.scores.to(device), labels=self.labels.to(device))

    def clipped(self, size: Sequence[int]) -> Self:
        """Return the detections with boxes clipped to an image of height `size[0]` and width `size[1]`."""
        limits = self.boxes.new_tensor([size[1], size[0]] * 2)
        return replace(self, boxes=self.boxes.clamp(min=0).minimum(limits))

    def only(self, rows: slice | Sequence[int] | np.ndarray | Tensor) -> Self:
        """Return some of the detections: a slice, row numbers, or those where a mask `[D]` is True."""
        return replace(self, boxes=self.boxes[rows], scores=self.scores[rows], labels=self.labels[rows])

    def of_classes(self, wanted: Sequence[int], limit: int | None = None) -> Self:
        """Return the detections of the `wanted` class indices, at most the best `limit` of them."""
        return self.only(torch.isin(self.labels, self.labels.new_tensor(wanted)).nonzero().squeeze(1)[:limit])

    def to_supervision(self, names: Sequence[str] | None = None) -> supervision.Detections:
        """Return the detections as `supervision.Detections`, with `class_name` in its data if names are given.

        Raises ImportError with the remedy if the package, an extra, is not installed.
        """
        try:
            import supervision
        except ImportError as problem:
            raise ImportError("to_supervision needs: pip install 'exact-yolov3[supervision]'") from problem
        labels = self.labels.cpu().numpy()
        data = {} if names is None else {"class_name": np.array([names[label] for label in labels], dtype=str)}
        return supervision.Detections(
            xyxy=self.boxes.float().cpu().numpy(),
            confidence=self.scores.float().cpu().numpy(),
            class_id=labels,
            data=data,
        )
