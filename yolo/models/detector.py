"""The interface of a model, `Detector`.

Training, evaluation, detection, saving and loading use a `Detector` and do not depend on its class. A further model is
a subclass in this package, its options (a subclass of `Training`) and a line in the table of
`yolo/options/registry.py`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from yolo.darknet.safetensors_file import save_tensors
from yolo.images.placement import Placement
from yolo.models.finder import Finder
from yolo.options.detection import Filter
from yolo.options.yaml_file import yaml_text

if TYPE_CHECKING:  # torchvision's import takes a second or two, and detection does without
    from yolo.data.datasets import ImageDataset
    from yolo.data.loader import Batch, Drawn
    from yolo.data.order import Order
    from yolo.data.sample import Target
    from yolo.data.transforms import Augmented
    from yolo.detection.dense import Dense
    from yolo.options.training import Training
    from yolo.recipe.recipe import Recipe


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Have a network in evaluation mode within the block, and in the mode of before after it."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


class Losses(NamedTuple):
    """The loss of a batch.

    `terms` are scalars by name, with gradients unless they are disabled. Training minimizes their sum. `counts` are
    integer scalars by name, which are summed over batches. `means` are sums and numbers by name, scalars: over several
    batches both are summed, then divided.
    """

    terms: dict[str, Tensor]
    counts: dict[str, Tensor]
    means: Mapping[str, tuple[Tensor, Tensor]] = MappingProxyType({})


class Perfect(NamedTuple):
    """What a network would predict that had learned its targets perfectly."""

    predictions: Any
    """As `Detector.predict` returns them."""
    lost: list[list[str]]
    """For each image and object why no prediction can find it, in a few words; empty where one can."""
    remedy: str = ""
    """What would lose fewer objects, as a sentence; empty if nothing would."""


class Score(NamedTuple):
    """A model's own metrics on a data set."""

    values: Mapping[str, float] = MappingProxyType({})
    """The metrics by name; NaN is not defined."""
    figures: Callable[[], Mapping[str, np.ndarray]] = dict
    """Draws images uint8 `[h, w, 3]` by name."""
    intervals: Callable[[int], Mapping[str, tuple[float, float]]] = lambda resamples: {}
    """Returns the ends of 95 % intervals of the metrics, from a number of resamples of the images."""


class Detector(Finder):
    """A model that finds objects in images: `detect` and `stream`, which are those of `Finder`.

    Its attributes do not change; `replace` returns another detector. `network` is the trainable module, in float32.
    `names` are the class names: that of a detection is `names[label]`. `size` is the network input. `letterbox` keeps
    the proportions of images (grey bars), False stretches them.
    """

    model: ClassVar[str]
    """The name under which the model is registered; it is in every saved file."""
    terms: ClassVar[tuple[str, ...]]
    """Names of the terms of the loss, in the order in which they are logged."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """Names of the model's own metrics, which `score` returns; a "/" in a name means that lower is better."""

    fused: ClassVar[bool] = False
    """Whether `select` runs the network too, because both are one graph."""

    alone: ClassVar[bool] = False
    """Whether an exported file takes one image at a time."""

    curves: ClassVar[bool] = False
    """Whether a training ends with losses.png and a line that says how the loss fell."""

    recipe: Recipe | None = None
    """What decides rate, order, input and augmentation of a training in place of its options."""

    network: nn.Module
    options: Training | None = None
    """The options that a saved file keeps and the detector is built from again; None if the file has other means."""

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.parameters()).device

    @abstractmethod
    def losses(self, images: Tensor, targets: Sequence[Target], through: nn.Module | None = None) -> Losses:
        """Return the loss of a batch, the same in training and evaluation mode.

        Args:
            images: `[B, channels, h, w]` on the network's device, uint8 unless `samples` returns something else.
            targets: B targets with boxes in pixels of `images`.
            through: `network` within DDP or torch.compile, which the forward pass must go through; None is the network.
        """

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other attributes (`network`, `size`, `letterbox`, ...); the others are shared.

        Raises TypeError for an attribute that it does not have.
        """
        other = copy(self)
        for name, value in changes.items():
            if name.startswith("_") or not (name in vars(self) or hasattr(type(self), name)):
                raise TypeError(f"{type(self).__name__} has no attribute {name!r}")
            setattr(other, name, value)
        return other

    # ---- what a model may change; the defaults are those of an ordinary detector

    def order(self, data: ImageDataset, options: Training) -> Order | None:
        """Return the order of images as a pure function of the epoch; None is the usual one."""
        return None

    def samples(self, seen: Augmented) -> Drawn:
        """Return what a batch is made from: the augmented images, or something computed from them."""
        return seen

    def fit_to(self, data: ImageDataset, batches: Iterable[Batch]) -> None:
        """Set those buffers of the network that depend on the training data, once, before the first step.

        `batches` are those of the first epoch, on the CPU.
        """

    def begin_epoch(self, epoch: int) -> None:
        """Prepare the network for training in an epoch, counted from 0: which layers are trained."""

    def begin_step(self, step: int) -> None:
        """Prepare the network for an optimizer step, counted from 1."""

    @property
    def freezes(self) -> bool:
        """Return whether `begin_epoch` or `begin_step` may freeze parameters, which then have no gradient to exchange
        between processes; by default if a model has its own."""
        own = type(self)
        return own.begin_epoch is not Detector.begin_epoch or own.begin_step is not Detector.begin_step

    def rate(self, parameter: str) -> float:
        """Return the learning rate of a parameter of the network, by name, as a multiple of the schedule's."""
        return 1.0

    def prepared(self, data: ImageDataset, k: int) -> tuple[Tensor, Placement]:
        """Return image `k` of a data set for `predict`, and its place, as `prepare` does. Raises as `prepare`."""
        return self.prepare(data.path(k))

    def score(self, data: ImageDataset, batch_size: int) -> Score:
        """Return the model's own metrics on a data set, those of `metrics`."""
        return Score()

    def perfect(self, images: Tensor, targets: Sequence[Target]) -> Perfect | None:
        """Return what a network would predict that had learned these targets, or None if the model cannot tell.

        The path is that of training: what answers for an object is what the loss would train.
        """
        return None

    def start_loss(self) -> dict[str, tuple[float, float]]:
        """Return the range of each term of the loss with initial weights, on images with objects, as wide as is honest.

        Terms of which nothing is known are left out.
        """
        return {}

    def dense(self) -> Dense:
        """Return what computes all boxes and scores, for an exported file. Raises ValueError if the model has none."""
        raise ValueError(f"a {self.model} cannot be exported: it has no `dense`, which computes all boxes and scores")

    def conditions(self, options: Filter) -> dict[str, str]:
        """Return what the numbers of an evaluation depend on, in words by topic."""
        limit = options.max_detections
        return {
            "confidence": f"{options.confidence:g}",
            "NMS": f"{options.nms:g}",
            "": f"at most {limit} detections of an image" if limit else "all detections of an image",
            "input": f"{self.size} {'letterbox' if self.letterbox else 'stretch'}",
        }

    def metadata(self) -> Mapping[str, str]:
        """Return what a saved file holds besides the model's name and weights."""
        own = self.options and {"options": yaml_text(dataclasses.replace(self.options.without_weights(), out=None))}
        return {
            **(own or {}),
            "names": json.dumps(self.names, ensure_ascii=False),
            "size": json.dumps(self.size),
            "letterbox": json.dumps(self.letterbox),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the weights and the metadata as a safetensors file, completely or not at all."""
        save_tensors(path, self.network.state_dict(), {"model": self.model, **self.metadata()})
