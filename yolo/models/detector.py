"""What the rest of the program knows of a model."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from torch import Tensor, nn

from yolo.boxes import Detections
from yolo.images.placement import Placement
from yolo.options.detection import Filter

if TYPE_CHECKING:  # torchvision's import takes a second or two, and detection does without
    from yolo.data.sample import Target


ImageLike = str | os.PathLike[str] | np.ndarray
"""A path, or RGB pixels uint8 `[h, w, 3]` (`[h, w, channels]` for a network of other channels)."""


class Detector(ABC):
    """A model that finds objects in images.

    `network` is the trainable module, in float32; `names` are the class names, `names[label]` that of a detection.
    """

    network: nn.Module
    names: list[str]
    options: Filter
    """Which predictions become detections."""
    wrapped: nn.Module | None = None
    """`network` within DDP or torch.compile, through which training goes; None where it is trained as it is."""

    counts: Mapping[str, Tensor] = MappingProxyType({})
    """What the last call of `losses` counted, scalars by name: numbers of a batch that add up over batches."""

    @abstractmethod
    def losses(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """The terms of the loss of a batch, scalars by name, whose sum is what training lowers.

        `images` uint8 `[B, channels, h, w]` on the network's device; B targets with boxes in pixels of `images`. The
        same in training and evaluation mode; with gradient where gradients are on.
        """

    @abstractmethod
    def prepare(self, image: ImageLike) -> tuple[Tensor, Placement]:
        """An image as network input `[channels, h, w]` (uint8) and where it lies there. Touches no network."""

    @abstractmethod
    def detect_batch(self, images: Tensor, placements: Sequence[Placement]) -> list[Detections]:
        """Detections of a batch of prepared images `[B, channels, h, w]`, boxes in original pixels."""

    @overload
    def detect(self, images: ImageLike) -> Detections: ...  # type: ignore[overload-overlap]  # a str is no sequence here
    @overload
    def detect(self, images: Sequence[ImageLike]) -> list[Detections]: ...
    def detect(self, images: ImageLike | Sequence[ImageLike]) -> Detections | list[Detections]:
        """Detections of one image (a path or pixels), or of a sequence of them, taken as one batch.

        Raises FileNotFoundError or ValueError with the name of a file that is no image.
        """
        if isinstance(images, (str, os.PathLike, np.ndarray)):
            return self.detect([images])[0]
        if not images:
            return []
        prepared, placements = zip(*map(self.prepare, images), strict=True)
        return self.detect_batch(torch.stack(prepared), placements)
