"""A Faster R-CNN of torchvision that is small enough for tests, with images and targets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign

from yolo.data.order import torch_chance

SIDE, CLASSES = 64, 2


class TinyBackbone(nn.Module):
    """Two maps with 8 channels, strides 8 and 16, and batch norm."""

    out_channels = 8

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.BatchNorm2d(8), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(8, 8, 2, 2), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps `[B, 8, h / 8, w / 8]` and `[B, 8, h / 16, w / 16]`."""
        fine = self.fine(images)
        return {"0": fine, "1": self.coarse(fine)}


def tiny_rcnn(head: nn.Module | None = None, spread: float = 0.3, classes: int = CLASSES) -> FasterRCNN:
    """Return the same network each time, in training mode, with heads whose weights are `spread` times normal ones.

    Args:
        head: what turns the cells of a proposal, `[P, 8, 3, 3]`, into 16 numbers; by default two linear layers.
        spread: so that offsets and scores differ from 0 by more than torchvision's initial ones.
        classes: without the background.
    """
    with torch_chance(0):
        model = FasterRCNN(
            TinyBackbone(),
            min_size=SIDE,
            max_size=SIDE,
            rpn_anchor_generator=AnchorGenerator(((12.0,), (28.0,)), ((0.5, 1.0, 2.0),) * 2),
            rpn_pre_nms_top_n_train=80,
            rpn_post_nms_top_n_train=60,
            rpn_batch_size_per_image=32,
            box_roi_pool=MultiScaleRoIAlign(["0", "1"], 3, 2),
            box_head=TwoMLPHead(8 * 9, 16) if head is None else head,
            box_predictor=FastRCNNPredictor(16, classes + 1),
            box_batch_size_per_image=24,
        )
        for parameter in (*model.rpn.head.parameters(), *model.roi_heads.box_predictor.parameters()):
            nn.init.normal_(parameter, std=spread)
    return model


def batch(*boxes: list[tuple[float, float, float, float]]) -> tuple[ImageList, list[dict[str, Tensor]]]:
    """Return noisy images and their targets as torchvision takes them; the labels of an image are 1, 2, 1, 2, ..."""
    with torch_chance(1):
        images = torch.rand(len(boxes), 3, SIDE, SIDE)
    targets = [
        {"boxes": torch.tensor(each).reshape(-1, 4), "labels": torch.arange(len(each)) % CLASSES + 1} for each in boxes
    ]
    return ImageList(images, [(SIDE, SIDE)] * len(boxes)), targets


def objects(counts: Sequence[int]) -> list[dict[str, Tensor]]:
    """Return targets of torchvision with these numbers of random boxes."""
    generator = torch.Generator().manual_seed(7)
    found = []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator) * SIDE * 0.6
        extent = torch.rand(count, 2, generator=generator) * SIDE * 0.35 + 3
        labels = torch.randint(1, CLASSES + 1, (count,), generator=generator)
        found.append({"boxes": torch.cat((corner, corner + extent), 1), "labels": labels})
    return found
