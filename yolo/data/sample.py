"""What a data set yields: an image and its target.

Letters: `G` objects of the image, `h, w` its height and width in pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor

from yolo.size import Size


class Target(TypedDict):
    """The objects of an image. Without objects `G` is 0."""

    boxes: Tensor
    """float32 `[G, 4]` xyxy in pixels of the image."""
    labels: Tensor
    """int64 `[G]` class indices from 0."""
    image_id: int
    """The image's id in results files."""
    iscrowd: Tensor
    """bool `[G]`: the loss ignores a crowd; in evaluation any number of detections may match it."""
    area: Tensor
    """float32 `[G]` in square pixels: the area of the mask where it is known, else that of the box."""
    size: Size
    """Height and width of the image in pixels."""


def make_target(
    boxes: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    image_id: int,
    iscrowd: np.ndarray | Tensor,
    area: np.ndarray | Tensor,
    size: Size,
) -> Target:
    """Return the target of an image of `size` pixels; boxes and areas become float32.

    What already has the dtype of `Target` is not copied: the target then shares its memory.

    Args:
        boxes: `[G, 4]` xyxy in pixels of the image.
        labels: int64 `[G]`.
        image_id: the image's id in results files.
        iscrowd: bool `[G]`.
        area: `[G]` square pixels.
        size: size of the image.
    """
    return Target(
        boxes=torch.as_tensor(boxes, dtype=torch.float32),
        labels=torch.as_tensor(labels),
        image_id=image_id,
        iscrowd=torch.as_tensor(iscrowd),
        area=torch.as_tensor(area, dtype=torch.float32),
        size=size,
    )


Sample = tuple[Tensor, Target]
"""A uint8 RGB image `[3, h, w]` and its target."""


def as_tv(sample: Sample) -> tuple[Any, dict[str, Any]]:
    """Return a sample as torchvision's transforms take it: image and boxes as `tv_tensors`, the size with the boxes."""
    from torchvision import tv_tensors  # takes a second or two, and only a user's transform needs it

    image, target = sample
    kind, canvas = tv_tensors.BoundingBoxFormat.XYXY, tuple(target["size"])
    boxes = tv_tensors.BoundingBoxes(target["boxes"], format=kind, canvas_size=canvas)
    # Copies, because a transform may write into them, and the target of an image that is kept is used again.
    labels, crowd = target["labels"].clone(), target["iscrowd"].clone()
    others = {"image_id": target["image_id"], "iscrowd": crowd, "area": target["area"]}
    return tv_tensors.Image(image), {"boxes": boxes, "labels": labels, **others}


class DataSet(Protocol):
    """Yields samples by index and knows its class names."""

    names: list[str]

    def __len__(self) -> int: ...

    def sample(self, k: int) -> Sample:
        """Return image `k` and its target."""

    def path(self, k: int) -> Path:
        """Return the file of image `k`."""


class View:
    """A data set made of another one: the same number of images, the same class names and files."""

    def __init__(self, data: DataSet) -> None:
        self.data, self.names = data, data.names

    def __len__(self) -> int:
        return len(self.data)

    def path(self, k: int) -> Path:
        """Return the file of image `k`."""
        return self.data.path(k)
