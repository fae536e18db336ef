"""Options -> torchvision's Faster R-CNN for the classes of the data."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models import MobileNet_V3_Large_Weights, ResNet50_Weights, get_model_builder, get_model_weights
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.rpn import RPNHead

from yolo.download.fetch import DownloadError
from yolo.download.torch_hub import hub_file
from yolo.options.faster_rcnn import FasterRcnn
from yolo.rcnn.frozen import fix_norms, freeze_stages, stages_of
from yolo.rcnn.pyramid import RATIOS, lite0_rcnn

COCO_CLASSES = 91
"""Rows of the classifier in torchvision's weights of COCO, the background included."""

TRAINED = 3
"""Stages of torchvision's pretrained backbones that are trained by default, as there."""


def build_network(options: FasterRcnn, classes: int) -> FasterRCNN:
    """Return the network that the options describe, on the CPU, with the weights that it is published with.

    Args:
        options: `network`, `initial`, `trainable_layers` and `anchors` are read. Without `fetch` no file is opened.
        classes: classes of the data, without the background.

    Raises:
        ValueError: more stages or other numbers of anchors than the network can have.
        ImportError: the package of lite0's weights is not installed.
        DownloadError: the weights could not be downloaded; with the address and the remedies.
    """
    fixed = options.initial != "none"
    load = fixed and options.fetch and options.weights is None
    if options.network == "lite0":
        model, stages = lite0_rcnn(classes + 1, pretrained=load, fixed=fixed)
        trained = 0
    else:
        model = _torchvision(options, load=load)
        stages, trained = stages_of(model.backbone.body), TRAINED
        replace_predictor(model, classes)
    if fixed or options.trainable_layers is not None:
        freeze_stages(stages, trained if options.trainable_layers is None else options.trainable_layers)
    if options.anchors:
        _replace_anchors(model, options.anchors)
    return model


def replace_predictor(model: FasterRCNN, classes: int) -> FasterRCNN:
    """Give a network a new last layer for `classes` classes of the data, and return it.

    The background is one class more, which this function adds.
    """
    features = model.roi_heads.box_predictor.cls_score.in_features
    model.roi_heads.box_predictor = FastRCNNPredictor(features, classes + 1)
    return model


def _torchvision(options: FasterRcnn, *, load: bool) -> FasterRCNN:
    """Return torchvision's network with its classes of COCO and, with `load`, its weights. Raises DownloadError."""
    name = f"fasterrcnn_{options.network}"
    # Its own builder would download, and would ask for the backbone that the other weights replace.
    model: FasterRCNN = get_model_builder(name)(weights=None, weights_backbone=None, num_classes=COCO_CLASSES)
    if options.initial == "none":
        return model
    # The weights of the first ResNet were trained with fixed norms without epsilon; torchvision sets it to 0 too.
    exact = options.network == "resnet50_fpn" and options.initial == "coco"
    fix_norms(model.backbone.body, eps=0.0 if exact else 1e-5)
    if load and options.initial == "coco":
        model.load_state_dict(_tensors(get_model_weights(name).DEFAULT.url))
    elif load:
        resnet = options.network.startswith("resnet50")
        published = (ResNet50_Weights if resnet else MobileNet_V3_Large_Weights).IMAGENET1K_V1
        tensors = {key.removeprefix("features."): tensor for key, tensor in _tensors(published.url).items()}
        own = model.backbone.body.state_dict()
        model.backbone.body.load_state_dict({key: tensors[key] for key in own})
    return model


def _tensors(url: str) -> Mapping[str, Tensor]:
    """Return the tensors of a published file, downloaded if necessary. Raises DownloadError."""
    try:
        file = hub_file(url)
    except DownloadError as error:
        other = "or use --network lite0: pip install 'exact-yolov3[lite0]'"
        raise DownloadError(f"{error}; {other}") from None
    tensors: Mapping[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return tensors


def _replace_anchors(model: FasterRCNN, sides: tuple[float, ...]) -> None:
    """Give the network anchors with these sides, the same number on each level. Raises ValueError for another number.

    A proposal head for another number of anchors has initial weights.
    """
    old = model.rpn.anchor_generator
    levels = len(old.sizes)
    each, rest = divmod(len(sides), levels)
    if rest:
        raise ValueError(f"anchors={sides}: expected the same number for each of the {levels} levels")
    sizes = tuple(sides[level * each : (level + 1) * each] for level in range(levels))
    model.rpn.anchor_generator = AnchorGenerator(sizes, (RATIOS,) * levels)
    count = model.rpn.anchor_generator.num_anchors_per_location()[0]
    if count != old.num_anchors_per_location()[0]:
        head = model.rpn.head
        assert isinstance(head.conv, nn.Sequential)
        model.rpn.head = RPNHead(model.backbone.out_channels, count, len(head.conv))
