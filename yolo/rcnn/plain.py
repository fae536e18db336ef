"""What a plain training loop around torchvision's Faster R-CNN needs: targets from masks and COCO files, batches.

The rest of this program does not use it. torchvision counts classes from 1, because 0 is the background. It takes lists
of images, float32 `[3, h, w]` in 0 to 1, and of targets.

Letters: `G` objects of one image, `h, w` its height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from yolo.data.formats.coco_json import CROWD
from yolo.data.formats.masks import instances

TargetDict = dict[str, Any]

OWN = ("transforms", "transform", "target_transform")


def collate_fn(batch: Iterable[tuple[Any, ...]]) -> tuple[tuple[Any, ...], ...]:
    """Return the images and the targets of a batch of pairs. Images are not stacked: they have sizes of their own."""
    return tuple(zip(*batch, strict=True))


def mask_to_boxes_labels(mask: np.ndarray | Tensor) -> tuple[Tensor, Tensor]:
    """Return boxes float32 `[G, 4]` xyxy and labels int64 `[G]`, all 1, of a mask `[h, w]`, in which 0 is background.

    Right and lower edges are the largest column and row plus 1. Without that an object one pixel wide would have a box
    of no width, for which torchvision raises an error.
    """
    _, boxes, _ = instances(np.asarray(mask))
    return torch.from_numpy(boxes).float(), torch.ones(len(boxes), dtype=torch.int64)


class CocoLike(Protocol):
    """`torchvision.datasets.CocoDetection`, or what behaves like it: a COCO index, image ids, pairs."""

    coco: Any
    ids: Sequence[int]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, list[dict[str, Any]]]: ...


class CocoTensors(Dataset[tuple[Tensor, TargetDict]]):
    """The images and annotations of `torchvision.datasets.CocoDetection` as torchvision's detectors take them.

    A sample is an image float32 `[3, h, w]` in 0 to 1 and its target: `boxes` float32 `[G, 4]` xyxy, `labels` int64
    `[G]`, `image_id`, `area` float32 `[G]`, `iscrowd` int64 `[G]`. Without objects `G` is 0.

    Args:
        dataset: the data set, without transforms of its own. Those get the annotations as a list of dictionaries, in
            which they move no box, so that boxes stay where they were while pixels move.
        transforms: a torchvision v2 transform of image and target, for example a random flip.

    Raises ValueError for a data set that has its own transforms.
    """

    def __init__(self, dataset: CocoLike, transforms: Callable[[Any, Any], tuple[Any, Any]] | None = None) -> None:
        own = [name for name in OWN if getattr(dataset, name, None) is not None]
        if own:
            raise ValueError(
                f"{type(dataset).__name__} has its own {' and '.join(own)}, which would move pixels and leave the "
                f"boxes behind; give them to CocoTensors(dataset, transforms=...) instead"
            )
        self.dataset, self.transforms = dataset, transforms
        self.labels = {category: label for label, category in enumerate(sorted(dataset.coco.cats), 1)}
        """The label of each category id, from 1 without gaps, in the order of the ids."""
        found = (dataset.coco.loadAnns(dataset.coco.getAnnIds(number)) for number in dataset.ids)
        self.dropped = sum(int((~_corners(annotations)[1]).sum()) for annotations in found)
        """Number of boxes of the whole set that are left out, because their width or height is not above 0."""

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, TargetDict]:
        """Return the image and the target at `index`."""
        picture, annotations = self.dataset[index]
        image = functional.to_image(picture)
        corners, keep = _corners(annotations)
        areas = [entry.get("area", entry["bbox"][2] * entry["bbox"][3]) for entry in annotations]
        labels = [self.labels[entry["category_id"]] for entry in annotations]
        crowds = [CROWD[entry.get("iscrowd")] for entry in annotations]
        size = tuple(image.shape[-2:])
        target: TargetDict = {
            "boxes": tv_tensors.BoundingBoxes(
                corners[keep], format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=size
            ),
            "labels": torch.tensor(labels, dtype=torch.int64)[keep],
            "image_id": self.dataset.ids[index],
            "area": torch.tensor(areas, dtype=torch.float32)[keep],
            "iscrowd": torch.tensor(crowds, dtype=torch.int64)[keep],
        }
        if self.transforms is not None:
            image, target = self.transforms(image, target)
        return functional.to_dtype(image, torch.float32, scale=True), target


def _corners(annotations: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    """Return the boxes of annotations, float32 `[G, 4]` xyxy, and which of them have an area, bool `[G]`."""
    boxes = torch.tensor([entry["bbox"] for entry in annotations], dtype=torch.float32).reshape(-1, 4)
    corners = torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), dim=1)
    return corners, (corners[:, 2:] > corners[:, :2]).all(dim=1)
