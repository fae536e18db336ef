"""Targets of a batch as the labels of the YOLO loss. Without torchvision, whose import takes a second or two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from yolo.boxes import xyxy_to_cxcywh

if TYPE_CHECKING:
    from yolo.data.sample import Target


def pack_labels(targets: Sequence[Target], size: tuple[int, int]) -> Tensor:
    """The labels of the YOLO loss, float32 `[N, 6]`: `(b, x_center, y_center, w, h, class)`.

    The four box numbers are fractions of the input of that size (h, w). Crowds and boxes without area are left out.
    """
    h, w = size
    rows = [torch.zeros(0, 6)]
    for b, target in enumerate(targets):
        boxes = xyxy_to_cxcywh(target["boxes"].as_subclass(Tensor)) / torch.tensor([w, h, w, h])
        keep = ~target["iscrowd"] & (boxes[:, 2:] > 0).all(1)
        labels = target["labels"][keep].float().unsqueeze(1)
        rows.append(torch.cat((torch.full_like(labels, b), boxes[keep], labels), dim=1))
    return torch.cat(rows)
