"""Targets of a batch as the labels of the YOLO loss, and which objects are not among them.

Does not import torchvision, which takes a second or two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from yolo.boxes import xyxy_to_cxcywh


def pack_labels(targets: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> Tensor:
    """Return the labels of the YOLO loss, float32 `[N, 6]`: `(b, x_center, y_center, w, h, class)`.

    The four numbers of the box are fractions of the input. What is not `trained` is left out.

    Args:
        targets: for each image of the batch a `yolo.data.sample.Target`, of which `boxes`, `labels` and `iscrowd` are
            read.
        size: height and width of the input in pixels.
    """
    h, w = size
    rows = [torch.zeros(0, 6)]
    for b, target in enumerate(targets):
        boxes = xyxy_to_cxcywh(target["boxes"]) / torch.tensor([w, h, w, h])
        keep = trained(target)
        labels = target["labels"][keep].float().unsqueeze(1)
        rows.append(torch.cat((torch.full_like(labels, b), boxes[keep], labels), dim=1))
    return torch.cat(rows)


def trained(target: Mapping[str, Any]) -> Tensor:
    """Return which objects of an image are trained, bool `[G]`: not crowds and boxes without area."""
    boxes = target["boxes"]
    return ~target["iscrowd"] & (boxes[:, 2:] > boxes[:, :2]).all(1)


def untrained(target: Mapping[str, Any]) -> list[str]:
    """Return for each object of an image why it is not trained; empty for those that are."""
    crowds = ["a crowd is not trained" if crowd else "its box has no area" for crowd in target["iscrowd"].tolist()]
    return ["" if on else reason for on, reason in zip(trained(target).tolist(), crowds, strict=True)]
