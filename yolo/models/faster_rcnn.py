"""torchvision's Faster R-CNN as a Detector.

Letters: `B` images of a batch, `h, w` height and width of the input in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from yolo.boxes import Detections
from yolo.darknet.safetensors_file import read_tensors
from yolo.data.order import torch_chance
from yolo.detection.dense import Dense
from yolo.images.placement import Placement
from yolo.models.detector import Detector, Losses, Perfect, evaluating
from yolo.models.load import fill
from yolo.names import is_background
from yolo.options.detection import Filter
from yolo.options.faster_rcnn import FasterRcnn
from yolo.process.distributed import print_once
from yolo.rcnn.builder import build_network
from yolo.rcnn.losses import BoxLoss
from yolo.rcnn.network import FasterRcnnNetwork
from yolo.rcnn.perfect import perfect
from yolo.rcnn.static import StaticRcnn
from yolo.rcnn.targets import RoiOutputs, select, to_torchvision
from yolo.size import Size

if TYPE_CHECKING:
    from yolo.data.sample import Target

SIDES = {"lite0": 256, "mobilenet_v3_large_320_fpn": 320}
"""Side of the input in pixels if no size is given; of the other networks 800."""

STRIDE = 32
"""The sides of the input are multiples of this."""


class FasterRcnnDetector(Detector):
    """Finds objects in two stages: proposals, then a class and a box for each."""

    model = "faster-rcnn"
    terms, curves = ("loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"), True
    alone = True
    network: FasterRcnnNetwork
    options: FasterRcnn

    def __init__(self, network: FasterRcnnNetwork, names: list[str], size: Size, options: FasterRcnn) -> None:
        self.network, self.names, self.size, self.options = network, names, size, options
        self.letterbox = options.placement == "letterbox"

    def losses(self, images: Tensor, targets: Sequence[Target], through: nn.Module | None = None) -> Losses:
        """Return torchvision's four losses. Anchors and proposals are sampled with torch's random numbers.

        In evaluation mode these always begin at the same seed and are put back, so that the loss of the same network is
        the same, and a training does not depend on its evaluations.
        """
        given, flat = to_torchvision(targets, images.device)
        network, pixels = self.network if through is None else through, images / 255
        if self.network.training:
            losses, counts = network(pixels, given)
        else:
            with torch_chance(0, images.device):
                losses, counts = network(pixels, given)
        labels = torch.tensor([sum(len(target["labels"]) for target in given), flat], device=images.device)
        return Losses(
            {name: losses[name] for name in self.terms}, {"labels": labels[0], "without_area": labels[1], **counts}
        )

    def predict(self, images: Tensor) -> RoiOutputs:
        """Return what the network predicts for its proposals. `images` are uint8 `[B, 3, h, w]`."""
        with evaluating(self.network), torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            outputs: RoiOutputs = self.network(images.to(self.device) / 255)
        return outputs

    def select(self, predictions: RoiOutputs, placements: Sequence[Placement], options: Filter) -> list[Detections]:
        """Return torchvision's detections in original pixels, labels as in the data."""
        found = select(predictions, self.network.roi_heads.box_coder, options)
        return [
            Detections(placement.to_image(boxes), scores, labels)
            for (boxes, scores, labels), placement in zip(found, placements, strict=True)
        ]

    def dense(self) -> Dense:
        """Return both stages of one image as a copy on the CPU. Every class of a proposal has a box of its own."""
        return Dense(StaticRcnn(self.network, self.size), shared=False)

    def start_loss(self) -> dict[str, tuple[float, float]]:
        """Return the ranges of a class and an objectness that are guessed, within a factor of 3.

        COCO's weights know where objects are from the start.
        """
        guessed = {"loss_classifier": math.log(len(self.names) + 1), "loss_objectness": math.log(2)}
        if self.options.initial == "coco":
            del guessed["loss_objectness"]
        return {name: (value / 3, 3 * value) for name, value in guessed.items()}

    def perfect(self, images: Tensor, targets: Sequence[Target]) -> Perfect:
        """Return the perfect predictions of both stages."""
        with evaluating(self.network), torch.no_grad():  # only for the sizes of the maps
            maps = self.network.backbone(images[:1] / 255)
        shapes = [(level.shape[2], level.shape[3]) for level in maps.values()]
        size, own = Size(*images.shape[2:]), self.network
        return Perfect(*perfect(own.rpn, own.roi_heads, shapes, len(self.names), targets, size))


def build_faster_rcnn(options: FasterRcnn, names: list[str]) -> FasterRcnnDetector:
    """Return a Faster R-CNN with published weights, initial ones, or those of `options.weights`.

    Raises as `build_network`; ValueError for a class called background, a size that the network cannot have, and
    weights of another network.
    """
    if background := [name for name in names if is_background(name)]:
        raise ValueError(
            f"{options.data}: class {background[0]!r}: Faster R-CNN has its own background, label 0, which is not "
            f"labelled; remove the class and its boxes from the annotations"
        )
    size = Size.parse(options.size or str(SIDES.get(options.network, 800)))
    if size.height % STRIDE or size.width % STRIDE:
        raise ValueError(f"size={size}: expected multiples of {STRIDE}")
    loss = BoxLoss(options.rcnn_box_loss, options.beta, options.box_gain)
    network = FasterRcnnNetwork(
        build_network(options, len(names)), loss, options.roi_fraction, hard_negatives=options.hard_negatives
    )
    if options.weights is not None:
        _load(network, options.weights)
    return FasterRcnnDetector(network, names, size, options)


def _load(network: FasterRcnnNetwork, file: Path) -> None:
    """Load the tensors of a saved Faster R-CNN, without the last layer if it has other classes, which is said.

    Raises ValueError for another network.
    """
    tensors, own = read_tensors(file)[0], network.state_dict()
    last = "roi_heads.box_predictor."
    if other := [
        key for key in tensors if key.startswith(last) and key in own and own[key].shape != tensors[key].shape
    ]:
        print_once(f"{file}: another number of classes; the last layer ({', '.join(other)}) has initial weights")
        tensors |= {key: tensor for key, tensor in own.items() if key.startswith(last)}
    fill(network, tensors, file, "--network and --anchors of its options")
