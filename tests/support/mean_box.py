"""A second model in 60 lines: it learns one box and one score per class, the same for every image.

It is all that a new model needs: a `Detector`, its options, and a call of `register_model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from yolo.boxes import Detections, cxcywh_to_xyxy
from yolo.data.datasets import ImageDataset
from yolo.detection.labels import pack_labels
from yolo.images.placement import Placement
from yolo.models.detector import Detector, Losses, Score
from yolo.options.detection import Filter
from yolo.options.registry import register_model
from yolo.options.training import Training
from yolo.size import Size


@dataclass(frozen=True, kw_only=True)
class MeanBoxOptions(Training):
    """The options of training a mean box."""

    side: float = 0.5
    """Side of the box at the start, as a fraction of the input."""


class MeanBoxNetwork(nn.Module):
    """`box` cxcywh `[4]`, as fractions of the input, and `scores` `[C]`, logits."""

    def __init__(self, classes: int, side: float) -> None:
        super().__init__()
        self.box = nn.Parameter(torch.tensor([0.5, 0.5, side, side]))
        self.scores = nn.Parameter(torch.zeros(classes))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box `[B, 4]` and the logits `[B, C]` for every image."""
        return self.box.expand(len(images), 4), self.scores.expand(len(images), -1)


class MeanBoxDetector(Detector):
    """Finds the mean box, with the class that is most frequent."""

    model, terms, metrics = "mean-box", ("box", "cls"), ("mean_side",)
    network: MeanBoxNetwork

    def __init__(self, network: MeanBoxNetwork, names: list[str], size: Size) -> None:
        self.network, self.names, self.size = network, names, size

    def losses(self, images: Tensor, targets: Sequence[Any], through: nn.Module | None = None) -> Losses:
        """Return the L1 distance of the boxes and the cross entropy of the classes, over the objects."""
        labels = pack_labels(targets, (images.shape[2], images.shape[3])).to(images.device)
        boxes, scores = (self.network if through is None else through)(images)
        owner, many = labels[:, 0].long(), max(len(labels), 1)
        classes = one_hot(labels[:, 5].long(), len(self.names)).float()
        box = (boxes[owner] - labels[:, 1:5]).abs().sum() / many
        cls = binary_cross_entropy_with_logits(scores[owner].float(), classes, reduction="sum") / many
        return Losses({"box": box, "cls": cls}, {"labels": torch.tensor(len(labels))})

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes and logits."""
        with torch.inference_mode():
            boxes, scores = self.network(images.to(self.network.box.device))
            return boxes.detach(), scores.detach()

    def select(self, predictions: Any, placements: Sequence[Placement], options: Filter) -> list[Detections]:
        """Return the one box of each image, if its confidence exceeds the threshold."""
        found = []
        for box, logits, placement in zip(*predictions, placements, strict=True):
            score, label = logits.sigmoid().max(0, keepdim=True)
            pixels = cxcywh_to_xyxy(box[None]) * box.new_tensor(placement.input.wh * 2)
            keep = score > options.confidence
            found.append(Detections(placement.to_image(pixels)[keep], score[keep], label[keep]))
        return found

    def score(self, data: ImageDataset, batch_size: int) -> Score:
        """Return the side of the box, a metric of its own."""
        return Score({"mean_side": float(self.network.box[2:].detach().mean())})


def build(options: MeanBoxOptions, names: list[str]) -> MeanBoxDetector:
    """Return the detector that the options describe."""
    size = Size.parse(options.size or "64")
    return MeanBoxDetector(MeanBoxNetwork(len(names), options.side), names, size)


def register() -> None:
    """Make `--model mean-box` known."""
    register_model("mean-box", build, MeanBoxOptions)
