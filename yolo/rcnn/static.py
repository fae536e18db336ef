"""Faster R-CNN as a function of one image whose shapes do not depend on the image, so that it can be exported.

Letters: `R` proposals, `K` candidates for them, `C` classes, `h, w` height and width of the input in pixels.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import batched_nms, clip_boxes_to_image, nms

from yolo.boxes import xyxy_to_cxcywh
from yolo.rcnn.network import FasterRcnnNetwork
from yolo.rcnn.targets import SMALLEST
from yolo.size import Size

AT_ONCE = 1000
"""The number of candidates up to which torchvision compares those of all levels at once, on a CPU."""


class StaticRcnn(nn.Module):
    """Images `[1, 3, h, w]` -> boxes and scores of all classes of all proposals, before the last NMS.

    The proposals and their order are those of the network. A box that the network drops has a score of 0 here, which is
    below every threshold, and so have rows without a proposal: there are always R.

    Args:
        network: is copied.
        size: height and width of the input in pixels, the only ones that it takes.
    """

    anchors: Tensor
    levels: Tensor

    def __init__(self, network: FasterRcnnNetwork, size: Size) -> None:
        super().__init__()
        self.network, self.size = deepcopy(network).cpu(), size
        self.eval()
        rpn, images = self.network.rpn, torch.zeros(1, 3, *size)
        with torch.no_grad():
            features = self.network.backbone(images)
            # RoIAlign derives the scales of its levels from the first maps that it is given.
            self.network.roi_heads.box_roi_pool(features, [torch.zeros(1, 4)], [size])
        maps = list(features.values())
        anchors = rpn.anchor_generator(ImageList(images, [size]), maps)[0]
        each = zip(maps, rpn.anchor_generator.num_anchors_per_location(), strict=True)
        # How many anchors and candidates each level has, and the level of each candidate.
        self.counts = [one.shape[2] * one.shape[3] * number for one, number in each]
        self.best = [min(count, rpn.pre_nms_top_n()) for count in self.counts]
        levels = torch.arange(len(self.best)).repeat_interleave(torch.tensor(self.best))
        self.register_buffer("anchors", anchors, persistent=False)
        self.register_buffer("levels", levels, persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes `[1, R * C, 4]` cxcywh in fractions of the input, and their scores `[1, R * C]`.

        Args:
            images: `[1, 3, h, w]` float32 in [0, 1], RGB.
        """
        network, rpn, heads = self.network, self.network.rpn, self.network.roi_heads
        # The first stage: every anchor has a score and becomes a box.
        features = network.backbone((images - network.mean) / network.std)
        scores, deltas = concat_box_prediction_layers(*rpn.head(list(features.values())))
        boxes = rpn.box_coder.decode(deltas, [self.anchors]).flatten(0, 1)
        proposals = self.proposals(boxes, scores.flatten())
        # The second one: every proposal has a score and a box of each class. Class 0 is the background.
        logits, deltas = heads.outputs(features, [proposals], [self.size])
        scores = logits.softmax(1)[:, 1:]
        boxes = clip_boxes_to_image(heads.box_coder.decode(deltas, [proposals])[:, 1:], self.size)
        scores = torch.where(_larger(boxes, SMALLEST), scores, 0.0)
        side = boxes.new_tensor(self.size.wh * 2)
        return xyxy_to_cxcywh(boxes / side).flatten(0, 1)[None], scores.flatten()[None]

    def proposals(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """Return the proposals `[R, 4]` xyxy in pixels. If there are fewer than R, the other rows are 0.

        A row of zeros has no area, so the boxes that the second stage makes of it are too small.

        Args:
            boxes: `[anchors, 4]` xyxy in pixels, one level after the other.
            scores: `[anchors]`, logits.
        """
        rpn = self.network.rpn
        # The best of each level.
        starts = torch.tensor([0, *self.counts]).cumsum(0).tolist()
        each = zip(scores.split(self.counts), self.best, starts, strict=False)
        index = torch.cat([level.topk(best).indices + start for level, best, start in each])
        boxes, scores = clip_boxes_to_image(boxes[index], self.size), scores[index].sigmoid()
        # A box that is left out has no area, so that it suppresses nothing.
        valid = _larger(boxes, rpn.min_size) & (scores >= rpn.score_thresh)
        boxes = torch.where(valid[:, None], boxes, 0.0)
        index = self._kept(boxes, scores)
        kept = torch.zeros_like(valid).scatter(0, index, torch.ones_like(index, dtype=torch.bool))
        scores, index = torch.where(kept & valid, scores, -1.0).sort(descending=True)
        index, there = index[: rpn.post_nms_top_n()], scores[: rpn.post_nms_top_n()] >= 0
        return torch.where(there[:, None], boxes[index], 0.0)

    def _kept(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """Return the indices of the candidates that NMS within each level keeps."""
        rpn = self.network.rpn
        if len(boxes) <= AT_ONCE:
            kept: Tensor = batched_nms(boxes, scores, self.levels, rpn.nms_thresh)
            return kept
        found, start = [], 0
        for box, score in zip(boxes.split(self.best), scores.split(self.best), strict=True):
            found.append(nms(box, score, rpn.nms_thresh) + start)
            start += len(box)
        return torch.cat(found)


def _larger(boxes: Tensor, side: float) -> Tensor:
    """Return which xyxy boxes `[..., 4]` have both sides of at least `side` pixels, as torchvision decides it."""
    return (boxes[..., 2] - boxes[..., 0] >= side) & (boxes[..., 3] - boxes[..., 1] >= side)
