"""Training of torchvision's Faster R-CNN. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

from tyro.conf import Suppress

from yolo.options.bounds import Bound, Number
from yolo.options.training import Training

Network = Literal["lite0", "resnet50_fpn", "resnet50_fpn_v2", "mobilenet_v3_large_fpn", "mobilenet_v3_large_320_fpn"]
RcnnBoxLoss = Literal["smooth-l1", "giou", "diou", "ciou"]


@dataclass(frozen=True, kw_only=True)
class FasterRcnn(Training):
    """The options of Faster R-CNN."""

    network: Network = "resnet50_fpn_v2"
    """torchvision's fasterrcnn_NAME, or lite0: a small pyramid on EfficientNet-Lite0 (the package of the extra
    `lite0`)."""
    pretrained: Literal["coco", "imagenet", "none"] | None = None
    """Weights to start from, downloaded at first use: coco has the whole detector but its classes, imagenet the
    backbone, none nothing. By default coco; of lite0, for which there are none, imagenet."""
    trainable_layers: Annotated[int | None, Bound("at least 0, or None", low=0)] = None
    """Last stages of the backbone that are trained; the ones before keep their weights. By default torchvision's number
    (ResNet 3 of 5, MobileNet 3 of 6), of lite0 none of 3; all of a backbone without pretrained weights."""
    anchors: tuple[float, ...] = ()
    """Sides of square anchors in pixels of the input, the same number for each level of the pyramid, small ones first;
    each also comes twice as wide and twice as high. By default the network's own."""
    rcnn_box_loss: RcnnBoxLoss = "smooth-l1"
    """Loss of the boxes, in proposals and detections: of the four offsets, or of the boxes that they give."""
    beta: Annotated[float, Bound("a number above 0", above=0, below=float("inf"))] = 1 / 9
    """smooth-l1: the loss is quadratic below this difference and linear above; torchvision's is 1/9."""
    box_gain: Number = 1.0
    """Factor of both box losses."""
    roi_fraction: Annotated[float, Bound("a share above 0, at most 1", above=0, high=1)] = 0.25
    """Largest share of objects among the proposals of an image that train the detections; the others are background."""
    hard_negatives: bool = False
    """Train the detections on the background proposals with the highest loss instead of random ones."""
    probe: bool = False
    """Log at every evaluation, per image: anchors, positive and negative ones, sampled objects and background."""
    fetch: Suppress[bool] = True
    """False once the weights come from the run's own files, so that none is downloaded."""

    @property
    def initial(self) -> str:
        """The weights to start from: `pretrained`, or its default for the network."""
        return self.pretrained or ("imagenet" if self.network == "lite0" else "coco")

    def without_weights(self) -> Self:
        """Return the options of the same network, whose weights come from elsewhere."""
        return replace(super().without_weights(), fetch=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network == "lite0" and self.pretrained == "coco":
            raise ValueError("pretrained=coco with network=lite0: there are no such weights; expected imagenet or none")
        if self.beta != 1 / 9 and self.rcnn_box_loss != "smooth-l1":
            raise ValueError(f"beta={self.beta} without effect: rcnn_box_loss={self.rcnn_box_loss} has none")
        if any(not 0 < side < float("inf") for side in self.anchors):
            raise ValueError(f"anchors={self.anchors}: expected sides above 0, in pixels of the network input")
