"""What the models of one object in an image have in common, and `simple`, the smallest of them, as Detectors.

Letters: `B` images of a batch, `I` images of a data set, `C` classes, `h, w` height and width of the input in pixels.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from yolo.backbones.published import Backbone, make_backbone
from yolo.boxes import Detections, corners_in_order
from yolo.darknet.safetensors_file import read_tensors
from yolo.data.datasets import ImageDataset
from yolo.detection.dense import Dense
from yolo.images.placement import Placement
from yolo.localize.figures import iou_figure, presence_figure
from yolo.localize.heads import SimpleDetector
from yolo.localize.loss import LocalizationLoss
from yolo.localize.metrics import CLASSES, PRESENCE, Answers, class_metrics, intervals, presence_metrics
from yolo.localize.network import DenseSingle, SingleNetwork
from yolo.localize.view import mean_box
from yolo.models.detector import Detector, Losses, Perfect, Score, evaluating
from yolo.models.load import fill, rebuilt
from yolo.names import class_index
from yolo.options.detection import Filter
from yolo.options.registry import find_model, resolve
from yolo.options.single import Simple, SingleObject, WithBackbone
from yolo.process.distributed import print_once
from yolo.size import Size

if TYPE_CHECKING:
    from yolo.data.loader import Batch
    from yolo.data.sample import Target

log = logging.getLogger("yolo")

MEASURED = 4
"""Batches on which `box_gain=auto` measures both terms, and in which faults are looked for."""

SIDE = 224
"""Side of the input of a network with a backbone in pixels, if no size is given."""


class SingleObjectDetector(Detector):
    """Finds at most one object in an image: the class with the highest score, and one box."""

    terms, curves = ("cls", "box"), True
    metrics: ClassVar[tuple[str, ...]] = CLASSES
    cells: int | None = None
    """Rows and columns of the features that the network takes; None if it takes images."""
    network: SingleNetwork
    options: SingleObject

    def __init__(self, network: SingleNetwork, names: list[str], size: Size, options: SingleObject) -> None:
        self.network, self.names, self.size, self.options = network, names, size, options
        self.letterbox = options.placement == "letterbox"
        self.loss = LocalizationLoss(bbox_loss=options.bbox_loss)
        if options.weights is not None:
            its = "the backbone, the features, the width and the classes of its options"
            fill(network, read_tensors(options.weights)[0], options.weights, its)
        if options.box_gain != "auto":  # not that of the run whose weights these are
            network.box_gain.fill_(options.box_gain)

    def inputs_of(self, images: Tensor) -> Tensor:
        """Return images as the network takes them; `images` are uint8 `[B, 3, h, w]`, or taken as they are."""
        return images if images.is_floating_point() else images.to(self.device).float() / 255

    def losses(self, images: Tensor, targets: Sequence[Target], through: nn.Module | None = None) -> Losses:
        """Return the loss of the class and, times its weight, that of the box. The count is that of the objects."""
        logits, boxes = (self.network if through is None else through)(self.inputs_of(images))
        labels, truths = (part.to(boxes.device, non_blocking=True) for part in answers_due(targets))
        if logits.ndim == 1:  # presence
            labels = labels + 1
        with torch.autocast(boxes.device.type, enabled=False):
            terms = self.loss.terms(logits.float(), boxes.float(), labels, truths)
        found = {"cls": terms.cls, "box": self.network.box_gain * terms.box}
        return Losses(found, {"positives": (labels >= (logits.ndim == 1)).sum()})

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores `[B]`, labels int64 `[B]` and boxes `[B, 4]` xyxy, fractions of the input, for every image."""
        # A network that was just trained has its weights in channels_last memory, one from a file may not. With images
        # in that memory both compute by the same kernels, and to the same digit.
        inputs = self.inputs_of(images).to(self.device, memory_format=torch.channels_last)
        with evaluating(self.network), torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            logits, boxes = self.network(inputs)
        if logits.ndim == 1:
            return logits.sigmoid(), torch.zeros_like(logits, dtype=torch.int64), boxes
        return *logits.softmax(1).max(1), boxes

    def select(
        self, predictions: tuple[Tensor, Tensor, Tensor], placements: Sequence[Placement], options: Filter
    ) -> list[Detections]:
        """Return the answers whose score exceeds the confidence. NMS and the limit have nothing to do."""
        found = []
        for score, label, box, placement in zip(*predictions, placements, strict=True):
            keep = score[None] > options.confidence
            found.append(Detections(in_image(box, placement)[keep], score[None][keep], label[None][keep]))
        return found

    def dense(self) -> Dense:
        """Return a copy of the network on the CPU: one box, and the score of its class."""
        return Dense(DenseSingle(deepcopy(self.network).cpu(), self.cells))

    def perfect(self, images: Tensor, targets: Sequence[Target]) -> Perfect:
        """Return the answers due. An object is lost if it is not the one that its image's answer is about."""
        labels, boxes = answers_due(targets)
        lost = [["it is not the largest object of its image"] * len(target["labels"]) for target in targets]
        for target, reasons in zip(targets, lost, strict=True):
            if reasons:
                area, k = largest_in(target)
                reasons[k] = "" if area > 0 else "its box has no area"
        return Perfect(((labels >= 0).float(), labels.clamp(min=0), boxes), lost)

    def fit_to(self, data: ImageDataset, batches: Iterable[Batch]) -> None:
        """Keep the mean box of the training images and, for `box_gain=auto`, weigh the box loss as the class loss."""
        self.network.mean_box.copy_(torch.from_numpy(mean_box(data.index)))
        if self.options.box_gain != "auto":
            return
        self.network.eval()  # a batch norm in training mode would change; every epoch sets the mode
        with torch.no_grad():
            found = [self.losses(b.images.to(self.device), b.targets).terms for b in islice(batches, MEASURED)]
        cls, box = (float(torch.stack([terms[name] for terms in found]).mean()) for name in self.terms)
        gain = cls / box if box > 0 else 1.0
        self.network.box_gain.fill_(gain)
        print_once(
            f"box_gain auto: in {len(found)} batches the class term is {cls:.4g}, the box term {box:.4g}: {gain:.4g}"
        )

    def start_loss(self) -> dict[str, tuple[float, float]]:
        """Return the ranges of a class that is guessed, within a factor of 3, and of boxes that are fractions."""
        guessed = math.log(2 if self.metrics == PRESENCE else len(self.names))
        return {"cls": (guessed / 3, 3 * guessed), "box": (0.0, 3 * float(self.network.box_gain))}

    def score(self, data: ImageDataset, batch_size: int) -> Score:
        """Return the model's own metrics, an IoU histogram, and for presence a precision-recall curve."""
        answers, box = self.answers(data, batch_size), self.network.mean_box.cpu()
        metrics = partial(presence_metrics if self.metrics == PRESENCE else class_metrics, mean_box=box)

        def figures() -> dict[str, Any]:
            presence = {"presence": presence_figure(answers)} if self.metrics == PRESENCE else {}
            return presence | {"iou": iou_figure(answers, box)}

        return Score(metrics(answers), figures, partial(intervals, answers, metrics))

    def answers(self, data: ImageDataset, batch_size: int) -> Answers:
        """Return the answer to every image of a data set, whatever its score, beside what is there."""
        found = []
        for first in range(0, len(data), batch_size):
            chosen = range(first, min(first + batch_size, len(data)))
            images, placements = zip(*(self.prepared(data, k) for k in chosen), strict=True)
            scores, labels, boxes = (part.cpu() for part in self.predict(torch.stack(images)))
            placed = [in_image(box.double(), where) for box, where in zip(boxes, placements, strict=True)]
            found.append((scores, labels, torch.cat(placed)))
        score, label, boxes = map(torch.cat, zip(*found, strict=True))
        index = data.index
        true_label, true_boxes = torch.full((len(data),), -1), torch.zeros(len(data), 4, dtype=torch.float64)
        # The data may have its classes in another order, or lack some; those that the model lacks are refused.
        true_label[index.image] = torch.tensor([class_index(name, self.names) for name in data.names])[index.labels]
        true_boxes[index.image] = torch.from_numpy(index.boxes)
        return Answers(score, label, boxes, true_label, true_boxes, torch.from_numpy(index.sizes).double())

    def conditions(self, options: Filter) -> dict[str, str]:
        """Return the input and the confidence; there is no NMS."""
        return {name: value for name, value in super().conditions(options).items() if name in ("confidence", "input")}

    def metadata(self) -> Mapping[str, str]:
        """Return the cfg of a darknet backbone too, so that a saved network needs no other file."""
        backbone = self.network.backbone
        own = {"backbone_cfg": backbone.cfg_text} if backbone is not None and backbone.cfg_text else {}
        return {**own, **super().metadata()}


class SimpleObjectDetector(SingleObjectDetector):
    """The small network of two convolutions that is trained from random weights."""

    model = "simple"


def in_image(box: Tensor, placement: Placement) -> Tensor:
    """Return a box `[4]` xyxy in fractions of the input as `[1, 4]` in pixels of the image, its corners in order."""
    return corners_in_order(placement.to_image(box[None] * box.new_tensor(placement.input.wh * 2)))


def answers_due(targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
    """Return what the network should answer: labels int64 `[B]`, -1 for no object, and boxes `[B, 4]`, fractions.

    Augmentation can move an object out of the image, or bring several into a mosaic: then the largest one counts.
    """
    labels, boxes = torch.full((len(targets),), -1), torch.zeros(len(targets), 4)
    for b, target in enumerate(targets):
        if len(target["labels"]):
            h, w = target["size"]
            corners, (_, k) = target["boxes"], largest_in(target)
            labels[b], boxes[b] = target["labels"][k], corners[k] / corners.new_tensor([w, h, w, h])
    return labels, boxes


def largest_in(target: Target) -> tuple[float, int]:
    """Return the area of the largest object of a target in square pixels, and its number; of equal ones the first."""
    corners = target["boxes"]
    area, k = (corners[:, 2:] - corners[:, :2]).prod(1).max(0)
    return float(area), int(k)


def size_of(options: SingleObject, side: int) -> Size:
    """Return the network input in pixels: that of the options, else a square of this `side`. Raises as `Size.parse`."""
    return Size.parse(options.size or str(side))


def build_simple(options: Simple, names: list[str], cfg_text: str | None = None) -> SimpleObjectDetector:
    """Return a small network with initial weights, or those of `options.weights`."""
    size = size_of(options, 256)
    head = SimpleDetector(len(names), size, dropout=options.dropout, sigmoid=options.sigmoid)
    return SimpleObjectDetector(SingleNetwork(head), names, size, options)


def backbone_of(options: WithBackbone, cfg_text: str | None) -> Backbone:
    """Return the backbone; without its published weights if others replace all of them."""
    pretrained = options.pretrained and options.weights is None
    backbone = make_backbone(options.backbone, pretrained=pretrained, cfg_text=cfg_text)
    # Always, since another order in memory rounds differently: features must be equal wherever they are computed.
    return backbone.to(memory_format=torch.channels_last)


def restore(path: Path, metadata: Mapping[str, str]) -> Detector:
    """Return the detector in a file. Raises ValueError for metadata or tensors that are missing or do not fit."""
    build = resolve(find_model(metadata["model"]).builder)
    return rebuilt(path, metadata, partial(build, cfg_text=metadata.get("backbone_cfg")))
