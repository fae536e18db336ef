"""The network of a localizer: a head on a backbone, or a head alone.

Letters: `B` images of a batch, `C` classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from yolo.backbones.published import Backbone
from yolo.boxes import corners_in_order, xyxy_to_cxcywh


class SingleNetwork(nn.Module):
    """A head on a backbone, or a head alone, and what its training found out about the data.

    With `features` the input of `forward` is what a frozen backbone has computed; else it is images.
    """

    mean_box: Tensor
    """float64 `[4]` xyxy: the mean box of the training images, as fractions of the image."""
    box_gain: Tensor
    """float32 `[]`: the weight of the box loss."""

    def __init__(self, head: nn.Module, backbone: Backbone | None = None, *, features: bool = False) -> None:
        super().__init__()
        self.backbone, self.head, self.features = backbone, head, features
        self.register_buffer("mean_box", torch.zeros(4, dtype=torch.float64))
        self.register_buffer("box_gain", torch.ones(()))
        if backbone is not None and features:
            backbone.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> SingleNetwork:
        """Set the mode. A frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.backbone is not None and self.features:
            self.backbone.eval()
        return self

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, `[B]` of presence or `[B, C]` of classes, and boxes `[B, 4]` xyxy, fractions of the input."""
        if self.backbone is None or self.features:
            return self.head(inputs)
        return self.head(self.backbone(inputs))


class DenseSingle(nn.Module):
    """Images `[B, 3, h, w]` in [0, 1] -> their boxes `[B, 1, 4]` and scores, as `yolo.detection.dense.Dense` says.

    Args:
        network: a trained network, in evaluation mode from now on.
        cells: rows and columns of the features that it takes; None if it takes images.
    """

    def __init__(self, network: SingleNetwork, cells: int | None = None) -> None:
        super().__init__()
        self.network, self.cells = network, cells
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes cxcywh in fractions of the input, and the score of presence `[B, 1]` or of classes `[B, C]`.

        Of the classes only the best one has a score, since only that is detected.
        """
        if self.cells is not None:
            assert self.network.backbone is not None
            images = adaptive_avg_pool2d(self.network.backbone(images), self.cells)
        logits, boxes = self.network(images)
        boxes = xyxy_to_cxcywh(corners_in_order(boxes))[:, None]
        if logits.ndim == 1:
            return boxes, logits.sigmoid()[:, None]
        scores = logits.softmax(1)
        best = torch.arange(scores.shape[1]) == scores.argmax(1, keepdim=True)
        return boxes, torch.where(best, scores, 0.0)
