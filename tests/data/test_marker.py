"""The marker: its box covers its pixels after every augmentation, and not where a transform moves pixels only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from yolo.data.marker import marker, marker_iou
from yolo.data.order import Draw
from yolo.data.sample import Sample, as_tv
from yolo.data.transforms import Augmented, Transform
from yolo.options.augment import PLAIN, Augment
from yolo.size import Size

SIZES = [Size(120, 160), Size(320, 200)]


class OneMarker:
    """A data set of one marker."""

    def __init__(self, size: Size) -> None:
        self.size, self.names = size, ["marker"]

    def __len__(self) -> int:
        return 1

    def path(self, k: int) -> Path:
        """Return no file's path; the image is drawn."""
        return Path(f"marker-{k}")

    def sample(self, k: int) -> Sample:
        return marker(self.size)


def worst(size: Size, options: Augment, transform: Transform | None = None, letterbox: bool = True) -> float:
    """Return the least IoU of the marker in 30 epochs of augmentation."""
    data = Augmented(OneMarker(size), options, seed=1, transform=transform, letterbox=letterbox)
    inputs = [Size(160, 160), Size(128, 224), Size(192, 192)]  # as in training at several sizes
    return min(marker_iou(data[Draw(epoch, 0, inputs[epoch % 3])]) for epoch in range(30))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("letterbox", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        PLAIN,
        replace(PLAIN, flip=1),
        replace(PLAIN, scale=2),
        replace(PLAIN, translate=0.2),
        replace(PLAIN, rotate=15),
        replace(PLAIN, value=1.7, saturation=2, hue=0.5),
        replace(PLAIN, photometric=1),
        Augment(rotate=10, photometric=1),
    ],
)
def test_boxes_follow_every_augmentation(size: Size, letterbox: bool, options: Augment) -> None:
    """The box covers the white pixels; at the edge they are blended, by half a pixel."""
    assert worst(size, options, letterbox=letterbox) >= 0.8


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "transform",
    [
        v2.RandomHorizontalFlip(1),
        v2.RandomVerticalFlip(1),
        v2.RandomPhotometricDistort(p=1),
        v2.RandomRotation([5, 15]),
        v2.RandomAffine(degrees=5, translate=(0.1, 0.1), scale=(0.8, 1.2)),
    ],
)
def test_boxes_follow_torchvisions_transforms(size: Size, transform: Transform) -> None:
    """A v2 transform that is given to training moves the boxes as well."""
    assert worst(size, Augment(), transform) >= 0.8


def test_transforms_of_pixels_or_boxes_alone_are_found() -> None:
    """A transform that moves only the one of both leaves the box beside the pixels."""

    def pixels_only(image: tv_tensors.Image, target: object) -> tuple[object, object]:
        return tv_tensors.wrap(image.as_subclass(Tensor).flip(-1), like=image), target

    for size in SIZES:
        image, target = marker(size)
        assert marker_iou((image, target)) == 1
        for moved in (image.flip(-1), image.flip(-2), image.flip(-1, -2), image.roll(40, -1), image.transpose(1, 2)):
            assert marker_iou((moved, target)) < 0.5
        _, flipped = v2.RandomHorizontalFlip(1)(*as_tv((image, target)))
        assert marker_iou((image, flipped)) < 0.5
        assert worst(size, PLAIN, pixels_only) < 0.5


def test_nothing_to_compare_is_zero() -> None:
    """Without a box, or without white, the IoU is 0."""
    image, target = marker(SIZES[0])
    assert marker_iou((image, {**target, "boxes": target["boxes"][:0]})) == 0
    assert marker_iou((torch.full_like(image, 114), target)) == 0
