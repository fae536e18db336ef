"""What the boxes lose, and which proposals lose most.

Smooth L1 compares the four offsets of a box from its reference (an anchor or a proposal) with those of the truth. GIoU,
DIoU and CIoU compare the box that the offsets give with the truth; they are numbers of the whole box.

Letters: `P` boxes or proposals, `C` classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, smooth_l1_loss
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from yolo.options.faster_rcnn import RcnnBoxLoss

OVERLAPS = {"giou": generalized_box_iou_loss, "diou": distance_box_iou_loss, "ciou": complete_box_iou_loss}


@dataclass(frozen=True)
class BoxLoss:
    """The loss of boxes. The default is torchvision's."""

    kind: RcnnBoxLoss = "smooth-l1"
    beta: float = 1 / 9
    """smooth-l1: quadratic below this difference, linear above."""
    gain: float = 1.0
    """Factor of the loss."""

    def __call__(self, deltas: Tensor, truths: Tensor, references: Tensor, coder: BoxCoder) -> Tensor:
        """Return the sum of the losses of P boxes, a scalar; without boxes 0, with a gradient of zeros.

        Args:
            deltas: `[P, 4]` float32, the predicted offsets of the boxes from their references.
            truths: `[P, 4]` xyxy in pixels, the boxes of the objects.
            references: `[P, 4]` xyxy in pixels, the anchors or proposals.
            coder: turns boxes into offsets and back.
        """
        if self.kind == "smooth-l1":
            offsets = coder.encode_single(truths, references)
            return self.gain * smooth_l1_loss(deltas, offsets, beta=self.beta, reduction="sum")
        return self.gain * OVERLAPS[self.kind](coder.decode_single(deltas, references), truths, reduction="sum")


def hard_negatives(logits: Tensor, labels: Tensor, n: int) -> Tensor:
    """Return which proposals are the `n` background ones with the highest class loss, bool `[P]`; ties: the first ones.

    Args:
        logits: `[P, C + 1]`, background first.
        labels: int64 `[P]`, 0 for background; others are never chosen.
        n: number of proposals, at most that of the background ones.
    """
    background = labels == 0
    losses = cross_entropy(logits, torch.zeros_like(labels), reduction="none")
    hardest = torch.where(background, losses, -math.inf).argsort(descending=True, stable=True)[:n]
    return torch.zeros_like(background).index_fill(0, hardest, True)
