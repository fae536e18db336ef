"""The loss of a localizer: a cross entropy on all images, and a box loss on the images with an object (the positives).

    cls = mean over B of  BCE(logit, label)                                      logits [B]: presence
          or   mean over the positives of  CE(logits, label)                     logits [B, C]: classes
    box = mean over the positives of
            the mean over 4 coordinates of  |Δ| or Δ² or Δ²/2 if |Δ| < 1 else |Δ| - 1/2     (l1; mse; smooth-l1)
            or   1 - GIoU, or the sum of that and l1                                        (giou; giou+l1)
    total = cls + box_gain · box

Without positives the box term is 0 and no box has a gradient. Boxes are (xmin, ymin, xmax, ymax) as fractions of the
input. Their differences stay below 1, so smooth-l1 is half of mse, unless a head without sigmoid leaves the image. For
GIoU the corners are put in order first, since a sigmoid may give xmin > xmax. So it does not see a swap, and its boxes
must be read through `corners_in_order` as well.

Letters: `B` images, `C` classes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import cross_entropy, l1_loss, mse_loss, smooth_l1_loss

from yolo.boxes import corners_in_order, giou, xyxy_to_cxcywh
from yolo.process.distributed import sum_over_ranks, world_size

DISTANCES = {"smooth-l1": smooth_l1_loss, "l1": l1_loss, "mse": mse_loss}
BOX_LOSSES = (*DISTANCES, "giou", "giou+l1")


class Terms(NamedTuple):
    """Scalars, with gradient and without gain."""

    cls: Tensor
    box: Tensor


class LocalizationLoss(nn.Module):
    """The loss of a batch; the formulas are at the top of this file.

    Args:
        box_gain: weight of the box term, a number from 0.
        bbox_loss: the box loss, one of `BOX_LOSSES`.

    Raises:
        ValueError: for a weight out of range and an unknown box loss.
    """

    def __init__(self, box_gain: float = 1.0, bbox_loss: str = "smooth-l1") -> None:
        super().__init__()
        if not 0 <= box_gain < math.inf:
            raise ValueError(f"box_gain={box_gain}: expected a number from 0")
        if bbox_loss not in BOX_LOSSES:
            raise ValueError(f"bbox_loss={bbox_loss!r}: expected one of {', '.join(BOX_LOSSES)}")
        self.box_gain, self.bbox_loss = box_gain, bbox_loss

    def terms(self, logits: Tensor, boxes: Tensor, labels: Tensor, truths: Tensor) -> Terms:
        """Return the class term and the box term of a batch.

        Args:
            logits: `[B]` for presence, `[B, C]` for classes.
            boxes: `[B, 4]`, as the network gives them.
            labels: `[B]`; for presence 0 or 1 of any dtype, for classes int64, -1 for an image without an object.
            truths: `[B, 4]`; the rows of images without an object are not read and may be NaN.

        Several processes divide by the counts of all of them. Each returns its share times the number of processes, so
        that the mean over the processes is that of the whole batch. Nothing waits for the device. Computed in float32,
        or in float64 if the outputs are float64.

        Raises:
            ValueError: for shapes that do not fit together, and for classes that are not int64.
        """
        _check(logits, boxes, labels, truths)
        dtype = torch.promote_types(boxes.dtype, torch.float32)
        logits, boxes, truths = logits.to(dtype), boxes.to(dtype), truths.to(dtype)
        presence = logits.ndim == 1
        positive = labels > 0 if presence else labels >= 0
        if presence:
            cls = bce(logits, labels.to(dtype), reduction="sum")
        else:
            cls = cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
        # Zeros in place of the other boxes: a weight of 0 would not remove a NaN.
        boxes, truths = (torch.where(positive[:, None], values, 0) for values in (boxes, truths))
        box = torch.where(positive, self._box_losses(boxes, truths), 0).sum()
        counted = torch.ones_like(positive) if presence else positive
        counts = sum_over_ranks(torch.stack((counted.sum(), positive.sum())).to(dtype)).clamp(min=1)
        return Terms(*(torch.stack((cls, box)) / counts * world_size()).unbind())

    def _box_losses(self, boxes: Tensor, truths: Tensor) -> Tensor:
        """Return the box loss of each image, `[B]`."""
        if self.bbox_loss in DISTANCES:
            return DISTANCES[self.bbox_loss](boxes, truths, reduction="none").mean(1)
        loss = 1 - giou(xyxy_to_cxcywh(corners_in_order(boxes)), xyxy_to_cxcywh(truths))
        return loss + (boxes - truths).abs().mean(1) if self.bbox_loss == "giou+l1" else loss

    def forward(self, outputs: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor]) -> Tensor:
        """Return the total, a scalar, of outputs `(logits, boxes)` and targets `(labels, boxes)`; see `terms`."""
        cls, box = self.terms(*outputs, *targets)
        return cls + self.box_gain * box


def _check(logits: Tensor, boxes: Tensor, labels: Tensor, truths: Tensor) -> None:
    """Raise ValueError for shapes that do not fit together, which would broadcast, and for classes of another dtype."""
    B = len(logits)
    shapes = [list(values.shape) for values in (logits, boxes, labels, truths)]
    if logits.ndim not in (1, 2) or shapes[1:] != [[B, 4], [B], [B, 4]]:
        raise ValueError(
            f"got logits {shapes[0]}, boxes {shapes[1]}, labels {shapes[2]}, true boxes {shapes[3]}; "
            "expected [B] or [B, C], [B, 4], [B], [B, 4]"
        )
    if logits.ndim == 2 and labels.dtype != torch.int64:
        raise ValueError(f"labels are {labels.dtype} for logits {shapes[0]}, expected int64 classes, or logits [B]")
