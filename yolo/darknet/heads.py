"""The heads: anchors, strides, and the meaning of raw predictions; decoding and its exact inverse.

Letters: `B` images, `A` anchors of the head, `H, W` rows and columns of its grid, `i` row, `j` column, `C` classes;
`h, w` height and width of the network input in pixels. Raw values are `(tx, ty, tw, th, obj, c1..cC)`. Boxes are
cxcywh as fractions of the network input. Anchors `(aw, ah)` are in pixels of the input.

| head               | x (y likewise)           | width (height likewise) | objectness | classes    |
|--------------------|--------------------------|-------------------------|------------|------------|
| `[yolo]`           | (j + σ(tx)·k - (k-1)/2)/W | exp(tw)·aw/w            | σ(obj)     | σ(c)       |
| `[yolo] new_coords`| (j + tx·k - (k-1)/2)/W    | (2·tw)²·aw/w            | obj        | c          |
| `[region]`         | (j + σ(tx))/W             | exp(tw)·aw/(stride·W)   | σ(obj)     | softmax(c) |

with k = `scale_x_y`. With new_coords the convolution before the head ends in a logistic. Sources: YOLOv2 §2 and
YOLOv3 §2.1 for the boxes, darknet for the rest.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolo.darknet.sections import Region, Yolo


class Decoded(NamedTuple):
    """`boxes` `[..., 4]` cxcywh as fractions of the input, `objectness` `[...]` and `classes` `[..., C]` in [0, 1]."""

    boxes: Tensor
    objectness: Tensor
    classes: Tensor


class Head(nn.Module):
    """A `[yolo]` or `[region]` section.

    `anchors` `[A, 2]` are widths and heights in pixels of the input, `strides` input pixels per cell in (y, x),
    `classes` is C, `scale_x_y` is k. `nms_kind` and `nms_beta` are the measure and exponent of the section's NMS.
    """

    anchors: Tensor

    def __init__(self, section: Yolo | Region, strides: tuple[Fraction, Fraction]) -> None:
        super().__init__()
        self.classes = section.classes
        self.strides = strides
        self.region = isinstance(section, Region)
        self.new_coords = isinstance(section, Yolo) and bool(section.new_coords)
        self.scale_x_y = section.scale_x_y if isinstance(section, Yolo) else 1.0
        self.nms_kind, self.nms_beta = _nms(section)
        anchors = torch.tensor(section.pairs)
        if self.region:
            anchors = anchors * torch.tensor([float(strides[1]), float(strides[0])])
        self.register_buffer("anchors", anchors, persistent=False)

    @property
    def stride(self) -> int:
        """Input pixels per cell. Raises ValueError if the strides in y and x differ, or are not integers."""
        y, x = self.strides
        if y != x or y.denominator != 1:
            raise ValueError(f"this head has {y} x {x} input pixels per cell (y, x); expected one whole number")
        return y.numerator

    def extra_repr(self) -> str:
        kind = "region" if self.region else "new_coords" if self.new_coords else "yolo"
        return f"{kind}, stride={'x'.join(map(str, self.strides))}, classes={self.classes}"

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps `[B, A·(5+C), H, W]` as raw predictions `[B, A, H, W, 5+C]`, a view."""
        return x.unflatten(1, (len(self.anchors), 5 + self.classes)).permute(0, 1, 3, 4, 2)

    def cells(self, rows: int, columns: int) -> Tensor:
        """Return column and row (j, i) of every cell, `[H, W, 2]` float32."""
        j, i = (torch.arange(n, device=self.anchors.device, dtype=torch.float32) for n in (columns, rows))
        return torch.stack(torch.meshgrid(j, i, indexing="xy"), dim=-1)

    def objectness(self, raw: Tensor) -> Tensor:
        """Return the objectness in [0, 1] for the raw values `raw[..., 4]`."""
        raw = _at_least_float32(raw)
        return raw if self.new_coords else raw.sigmoid()

    def best_class(self, raw: Tensor) -> Tensor:
        """Return the highest class score `[...]` of raw predictions `[..., 5+C]`. Only softmax needs the others."""
        classes = raw[..., 5:]
        if self.region:
            return _at_least_float32(classes).softmax(-1).amax(-1)
        highest = _at_least_float32(classes.amax(-1))
        return highest if self.new_coords else highest.sigmoid()

    def decode(self, raw: Tensor, size: tuple[int, int]) -> Decoded:
        """Decode raw predictions `[B, A, H, W, 5+C]` at input `size` (h, w) to `[B, A, H, W, ...]`."""
        rows, columns = raw.shape[2:4]
        return self.decode_at(raw, self.cells(rows, columns), self.anchors[:, None, None], (rows, columns), size)

    def decode_at(
        self, raw: Tensor, cells: Tensor, anchors: Tensor, grid: tuple[int, int], size: tuple[int, int]
    ) -> Decoded:
        """Decode some predictions: raw `[..., 5+C]` with their `cells` (j, i) and `anchors` (w, h), each `[..., 2]`.

        `grid` is (H, W), `size` is (h, w). The tensors broadcast.
        """
        raw = _at_least_float32(raw)
        xy, wh, classes = raw[..., :2], raw[..., 2:4], raw[..., 5:]
        # The activations: with new_coords the convolution before the head has done them, but for the size.
        if self.new_coords:
            wh = (2 * wh).square()
        else:
            xy, wh = xy.sigmoid(), wh.exp()
            classes = classes.softmax(-1) if self.region else classes.sigmoid()
        # `scale_x_y` stretches the range of the centre about the middle of its cell.
        xy = xy * self.scale_x_y - (self.scale_x_y - 1) / 2
        centres = (cells + xy) / _xy(grid, raw.device)
        sizes = wh * anchors / self._anchor_unit(grid, size, raw.device)
        return Decoded(torch.cat((centres, sizes), dim=-1), self.objectness(raw[..., 4]), classes)

    def encode(self, decoded: Decoded, size: tuple[int, int]) -> Tensor:
        """Return the raw predictions `[B, A, H, W, 5+C]` that decode to these boxes and scores: `decode`'s inverse.

        Every box must be one that its slot can predict: a centre within reach of its cell, a positive size,
        probabilities strictly between 0 and 1 (with new_coords also 0 and 1). Others give infinities or NaN.
        Softmax ignores a constant, so for region the class values are found up to one constant per slot.
        """
        boxes, objectness, classes = decoded
        rows, columns = boxes.shape[2:4]
        grid, anchors = (rows, columns), self.anchors[:, None, None]
        xy = boxes[..., :2] * _xy(grid, boxes.device) - self.cells(rows, columns)
        wh = boxes[..., 2:] * self._anchor_unit(grid, size, boxes.device) / anchors
        xy = (xy + (self.scale_x_y - 1) / 2) / self.scale_x_y
        objectness = objectness.unsqueeze(-1)
        if self.new_coords:
            return torch.cat((xy, wh.sqrt() / 2, objectness, classes), dim=-1)
        classes = classes.log() if self.region else classes.logit()
        return torch.cat((xy.logit(), wh.log(), objectness.logit(), classes), dim=-1)

    def _anchor_unit(self, grid: tuple[int, int], size: tuple[int, int], device: torch.device) -> Tensor:
        """Return the pixels of one input width and height, `[2]`. For region they are counted in cells of the grid."""
        if not self.region:
            return _xy(size, device)
        y, x = self.strides
        return torch.tensor([float(x * grid[1]), float(y * grid[0])], device=device)


def _nms(section: Yolo | Region) -> tuple[str, float]:
    """Return measure and exponent: `greedynms` always has 0.6, `diounms` has `beta_nms`."""
    if isinstance(section, Region) or section.nms_kind == "default":
        return "iou", 1.0
    return "diou", 0.6 if section.nms_kind == "greedynms" else section.beta_nms


def _xy(yx: tuple[int, int], device: torch.device) -> Tensor:
    """Return (y, x) as a tensor (x, y)."""
    return torch.tensor([float(yx[1]), float(yx[0])], device=device)


def _at_least_float32(raw: Tensor) -> Tensor:
    return raw if raw.dtype == torch.float64 else raw.float()
