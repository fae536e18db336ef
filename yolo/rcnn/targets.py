"""Targets and detections on their way to torchvision and back. The only place that knows its labels.

torchvision's label 0 is the background, so class `c` of the data is label `c + 1`.

Letters: `B` images, `G` objects of an image, `K` candidates of an image, `C` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection.rpn import det_utils
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from yolo.data.sample import Target
from yolo.detection.labels import trained
from yolo.options.detection import Filter
from yolo.size import Size

SMALLEST = 1e-2
"""The smallest side of a detection in pixels of the input, as in torchvision."""


class RoiOutputs(NamedTuple):
    """What the network predicts for B images: the proposals of all images, one after the other."""

    logits: Tensor
    """`[K, C + 1]`: background first."""
    deltas: Tensor
    """`[K, 4 (C + 1)]`: for every class the offsets from the proposal to the box."""
    proposals: list[Tensor]
    """B times `[K, 4]` xyxy in pixels of the input."""
    size: Size
    """Size of the input."""


def to_torchvision(targets: Sequence[Target], device: torch.device) -> tuple[list[dict[str, Tensor]], int]:
    """Return targets as torchvision's networks take them, and how many boxes without area were left out.

    Boxes stay in pixels of the input, float32 `[G, 4]`; labels become int64 from 1. Crowds are left out as well.
    """
    given, left_out = [], 0
    for target in targets:
        keep = trained(target)
        left_out += int((~keep & ~target["iscrowd"]).sum())
        boxes, labels = target["boxes"][keep], target["labels"][keep] + 1
        given.append({"boxes": boxes.to(device), "labels": labels.to(device)})
    return given, left_out


def select(outputs: RoiOutputs, coder: det_utils.BoxCoder, options: Filter) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return boxes `[D, 4]` xyxy in pixels of the input, scores `[D]` and labels `[D]` from 0, best first, per image.

    The steps and numbers are those of torchvision's `RoIHeads.postprocess_detections`.
    """
    counts = [len(boxes) for boxes in outputs.proposals]
    scores = outputs.logits.softmax(-1)
    # The shape is torchvision's own, except where no image has a proposal.
    boxes = coder.decode(outputs.deltas, outputs.proposals).reshape(*scores.shape, 4)
    return [
        _selected(box, score, outputs.size, options)
        for box, score in zip(boxes.split(counts), scores.split(counts), strict=True)
    ]


def _selected(boxes: Tensor, scores: Tensor, size: Size, options: Filter) -> tuple[Tensor, Tensor, Tensor]:
    """Return the detections of an image: `boxes` `[K, C + 1, 4]`, `scores` `[K, C + 1]`."""
    boxes = clip_boxes_to_image(boxes, (size.height, size.width))[:, 1:]  # without the background
    scores = scores[:, 1:]
    labels = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
    sure = scores > options.confidence
    boxes, scores, labels = boxes[sure], scores[sure], labels[sure]
    keep = remove_small_boxes(boxes, SMALLEST)
    boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
    keep = batched_nms(boxes, scores, torch.zeros_like(labels) if options.agnostic else labels, options.nms)
    keep = keep[: options.max_detections]
    return boxes[keep], scores[keep], labels[keep]
