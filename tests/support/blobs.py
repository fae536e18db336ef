"""A detector without weights: it finds red discs, so a test knows what is to be found in its drawn images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from yolo.boxes import Detections
from yolo.images.placement import Placement
from yolo.models.finder import Finder
from yolo.options.detection import Filter
from yolo.size import Size

RED = (220, 20, 20)
SMALLEST = 12
"""The number of red pixels in the network input below which a disc is not found, as with any network."""


class Blobs(Finder):
    """Finds connected red pixels, each with the score 0.9, in an input of 96 pixels."""

    size = Size(96, 96)

    def __init__(self) -> None:
        self.names = ["disc"]

    def predict(self, images: Tensor) -> Tensor:
        """Return the mask of the red pixels `[B, h, w]`."""
        return (images[:, 0] > 120) & (images[:, 1] < 90)

    def select(self, predictions: Tensor, placements: Sequence[Placement], options: Filter) -> list[Detections]:
        """Return the boxes of connected pixels, the largest one first."""
        results = []
        for mask, placement in zip(predictions, placements, strict=True):
            stats = cv2.connectedComponentsWithStats(mask.numpy().astype(np.uint8))[2][1:]  # x, y, w, h, area
            stats = stats[stats[:, 4] >= SMALLEST]
            stats = stats[np.argsort(-stats[:, 4], kind="stable")]
            boxes = torch.from_numpy(stats[:, :4]).float()
            boxes[:, 2:] += boxes[:, :2]
            scores, labels = torch.full((len(boxes),), 0.9), torch.zeros(len(boxes), dtype=torch.int64)
            results.append(Detections(placement.to_image(boxes), scores, labels))
        return results


def discs(size: tuple[int, int], centres: Sequence[tuple[int, int]], radius: int) -> np.ndarray:
    """Return an image RGB uint8 `[h, w, 3]` of `size` (h, w), grey with red discs around `centres` (x, y)."""
    image = np.full((*size, 3), 90, np.uint8)
    for centre in centres:
        cv2.circle(image, centre, radius, RED, -1)
    return image
