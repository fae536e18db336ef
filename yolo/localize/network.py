"""The network of a localizer: a head on a backbone, or a head alone.

Letters: `B` images of a batch, `C` classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo.backbones.published import Backbone


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
