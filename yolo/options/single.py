"""Training of the models that find one object in an image: `localizer`, `simple`, `largest`. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, Self

from yolo.options.augment import PLAIN, Augment
from yolo.options.bounds import Bound, Count, Decay, FromZero
from yolo.options.training import Training

BoxLoss = Literal["smooth-l1", "l1", "mse", "giou", "giou+l1"]
Gain = Annotated[float | Literal["auto"], Bound("a number from 0, or auto", low=0, below=math.inf)]


@dataclass(frozen=True, kw_only=True)
class SingleObject(Training):
    """The options that these models share."""

    bbox_loss: BoxLoss = "smooth-l1"
    """Loss of the box, on its four corners as fractions of the input, over images with an object."""
    box_gain: Gain = 1.0
    """Weight of the box loss beside that of the class; auto makes both equal on the first batches and prints it."""
    placement: Literal["letterbox", "stretch"] = "stretch"
    """Keep the proportions of an image (grey bars), or stretch it to the network input. The run's files record it."""
    early_metric: str = "IoU"
    """Metric that decides which epoch is the best, as is early stopping; one with a "/" is better where it is lower."""


@dataclass(frozen=True, kw_only=True)
class WithBackbone(SingleObject):
    """A backbone that was trained on other images."""

    backbone: str = "mobilenet_v3_large"
    """Network that computes the features: mobilenet_v3_large, mobilenet_v3_small, resnet34 (torchvision, downloaded at
    first use), lite0 (the package of the extra `lite0`), or darknet:CFG,WEIGHTS@LAYER."""
    pretrained: bool = True
    """Start from the weights that the backbone was published with; --no-pretrained starts from random ones."""

    def without_weights(self) -> Self:
        """Return the options of the same network, whose weights come from elsewhere."""
        return replace(super().without_weights(), pretrained=False)


@dataclass(frozen=True, kw_only=True)
class Localizer(WithBackbone):
    """The options of a localizer: is an object of one class in the image, and where."""

    target: str | None = None
    """Class to localize, by name; not needed if the data has one class. Images with several of them are left out."""
    features: Literal["vector", "grid"] = "grid"
    """What is left of the backbone's last map: its mean, or the means of its 3 x 3 parts. A mean can hardly tell where
    an object is."""
    hidden: Count = 128
    """Width of both branches of the head."""
    head_norm: bool = True
    """Batch norm after the first layer of each branch."""
    dropout: Decay = 0.0
    """Share of hidden values that are set to 0 in training."""
    negative_ratio: Annotated[float | None, Bound("a number above 0, or None", above=0, below=math.inf)] = 1.0
    """Images without the object in an epoch, for each one with it; None takes all images."""
    augment: Augment = field(default_factory=lambda: replace(PLAIN, flip=0.5))

    def __post_init__(self) -> None:
        super().__post_init__()
        if replace(self.augment, flip=0) != PLAIN:
            raise ValueError("augment: a localizer learns from features that were computed once; only flip can be used")
        if self.cache != "none":
            raise ValueError(f"cache={self.cache} without effect: the features of a localizer are always cached")


@dataclass(frozen=True, kw_only=True)
class Simple(SingleObject):
    """The options of a small network for class and box of the largest object, trained from random weights."""

    dropout: Decay = 0.0
    """Share of values that are set to 0 in training, after each convolution."""
    sigmoid: bool = False
    """Put the corners of the box through a sigmoid, so that they lie in the image."""
    augment: Augment = field(default_factory=lambda: PLAIN)


@dataclass(frozen=True, kw_only=True)
class Largest(WithBackbone):
    """The options of a classifier that also finds the box of the largest object."""

    backbone: str = "resnet34"
    unfreeze: tuple[FromZero, ...] = (3, 8)
    """Epochs from which the upper and then the lower half of the backbone is trained, at a tenth and a hundredth of the
    learning rate. Before that a half is frozen; with one number the lower half stays so, with none all of it."""
    bbox_loss: BoxLoss = "l1"
    box_gain: Gain = 25.0
    augment: Augment = field(default_factory=lambda: replace(PLAIN, flip=0.5, hue=0.05, saturation=1.5, value=1.5))

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.unfreeze) > 2 or list(self.unfreeze) != sorted(self.unfreeze):
            raise ValueError(f"unfreeze={self.unfreeze}: expected at most two epochs, the upper half's first")
        if self.freeze is not None and self.unfreeze:
            raise ValueError("freeze beside unfreeze: both decide what is trained; give --unfreeze without a number")
