"""A drawn image that shows whether boxes follow the pixels through a transform.

One white rectangle on grey, whose box is exact. It does not meet its own mirror images, nor its image with x and y
exchanged. So a transform that moves pixels only, or boxes only, leaves a box beside the white pixels.
"""

from __future__ import annotations

import numpy as np
import torch

from yolo.boxes import iou, xyxy_to_cxcywh
from yolo.data.sample import Sample, make_target
from yolo.size import Size

PLACE = (0.55, 0.2, 0.8, 0.4)
"""The rectangle, xyxy in parts of the image's sides."""

GREY = 114

CONTRAST = 1.1
"""Pixels are white if the lightest are this times as light as the median; brightness may change by a factor of 1.7."""


def marker(size: Size) -> Sample:
    """Return a grey image of `size` pixels with one white rectangle, of class 0."""
    box = np.round(np.array([PLACE]) * (size.wh * 2))
    left, top, right, bottom = box[0].astype(int).tolist()
    image = torch.full((3, *size), GREY, dtype=torch.uint8)
    image[:, top:bottom, left:right] = 255
    area = (box[:, 2:] - box[:, :2]).prod(axis=1)
    return image, make_target(box, np.zeros(1, np.int64), 1, np.zeros(1, bool), area, size)


def marker_iou(sample: Sample) -> float:
    """Return the IoU of the first box of a changed marker with the box around its white pixels.

    It is 1 where the box fits. It is 0 without a box, and without white pixels.
    """
    image, target = sample
    light = image.float().mean(dim=0)
    median, lightest = light.median(), light.max()
    if not len(target["boxes"]) or lightest < CONTRAST * median:
        return 0.0
    rows, columns = (light > (median + lightest) / 2).nonzero().unbind(dim=1)
    white = torch.stack((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)).float()
    return float(iou(xyxy_to_cxcywh(target["boxes"][0]), xyxy_to_cxcywh(white)))
