"""Every prediction decoded: what other programs take, and what the graph of an exported model begins with.

Letters: `B` images, `N` boxes of all heads in darknet's order (heads as in the cfg, cells row by row, anchors in the
order of the mask), `C` classes, `h, w` height and width of the network input in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolo.boxes import cxcywh_to_xyxy
from yolo.darknet.heads import Head


class Dense(NamedTuple):
    """A module from images `[B, channels, h, w]` in [0, 1] to all boxes and scores of a detector.

    `module` returns boxes `[B, N, 4]` cxcywh in fractions of the input and scores `[B, N * C]`, the C scores of a box
    in a row. `shared=False`: scores `[B, N]`, each with a box of its own; its class is its index modulo C. `kind` and
    `beta` are the measure of NMS, as in `yolo.detection.nms.Suppression`.
    """

    module: nn.Module
    kind: str = "iou"
    beta: float = 1.0
    shared: bool = True


class DenseYolo(nn.Module):
    """A network with its heads decoded: boxes cxcywh in fractions of the input, objectness and class scores.

    Args:
        network: images -> raw predictions `[B, A, H, W, 5 + C]` for each head.
        heads: the heads.
        size: height and width of the input in pixels.
    """

    def __init__(self, network: nn.Module, heads: Sequence[Head], size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.heads, self.size = network, heads, size

    def decoded(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes `[B, N, 4]`, objectness `[B, N, 1]` and class scores `[B, N, C]`."""
        parts: list[list[Tensor]] = [[], [], []]
        for raw, head in zip(self.network(images), self.heads, strict=True):
            boxes, objectness, classes = head.decode(raw, self.size)
            for part, values in zip(parts, (boxes, objectness.unsqueeze(-1), classes), strict=True):
                part.append(values.permute(0, 2, 3, 1, 4).flatten(1, 3))
        boxes, objectness, classes = (torch.cat(part, dim=1) for part in parts)
        return boxes, objectness, classes


class Rated(DenseYolo):
    """Boxes and scores as `Dense` wants them. A score is objectness times class score."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        boxes, objectness, classes = self.decoded(images)
        return boxes, (objectness * classes).flatten(1)


class Corners(DenseYolo):
    """Boxes `[B, N, 4]` xyxy in fractions of the input and scores `[B, N, C]`."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        boxes, objectness, classes = self.decoded(images)
        return cxcywh_to_xyxy(boxes), objectness * classes


class Rows(DenseYolo):
    """One row for each box `[B, N, 5 + C]`: cxcywh in pixels of the input, objectness, class scores."""

    def forward(self, images: Tensor) -> Tensor:
        boxes, objectness, classes = self.decoded(images)
        h, w = self.size
        return torch.cat((boxes * boxes.new_tensor([w, h, w, h]), objectness, classes), dim=2)
