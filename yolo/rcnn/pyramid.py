"""A small Faster R-CNN: a feature pyramid on EfficientNet-Lite0, for training on a CPU."""

from __future__ import annotations

from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from yolo.backbones import lite0
from yolo.rcnn.frozen import fix_norms

LEVELS = {"5": 40, "11": 112, "16": 320}
"""Layers of the backbone whose maps are used, and their channels; strides 8, 16, 32."""

WIDTH, CELLS, HIDDEN = 96, 5, 256
"""Channels of the pyramid, cells of a proposal along each side, width of the head."""

ANCHORS = ((16.0, 25.0), (32.0, 50.0), (64.0, 100.0), (128.0, 200.0))
"""Sides of the anchors of each level in pixels; the last level is the third one, halved once more."""

STAGES = ((0, 6), (6, 12), (12, 17))
"""First and last layer of the stages that can be frozen."""

RATIOS = (0.5, 1.0, 2.0)
"""Height by width of the anchors."""


def lite0_rcnn(classes: int, *, pretrained: bool, fixed: bool) -> tuple[FasterRCNN, list[list[nn.Module]]]:
    """Return the network for `classes` classes, the background included, and the stages of its backbone.

    Args:
        classes: the number of classes.
        pretrained: with the weights of ImageNet in the backbone; else random ones.
        fixed: batch norm of the backbone keeps its statistics.

    Raises ImportError if the package with the weights is not installed.
    """
    layers = nn.Sequential(*lite0.lite0_layers(pretrained=pretrained))
    if fixed:
        fix_norms(layers, eps=1e-3)
    backbone = BackboneWithFPN(layers, {name: str(k) for k, name in enumerate(LEVELS)}, list(LEVELS.values()), WIDTH)
    # Fewer proposals and samples than for images of 800 pixels; boxes are smaller by about as much.
    model = FasterRCNN(
        backbone,
        image_mean=lite0.MEAN,
        image_std=lite0.STD,
        rpn_anchor_generator=AnchorGenerator(ANCHORS, (RATIOS,) * len(ANCHORS)),
        rpn_pre_nms_top_n_train=500,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_train=500,
        rpn_post_nms_top_n_test=300,
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2"], CELLS, 2, canonical_scale=112),
        box_head=TwoMLPHead(WIDTH * CELLS**2, HIDDEN),
        box_predictor=FastRCNNPredictor(HIDDEN, classes),
        box_batch_size_per_image=128,
    )
    return model, [list(layers)[first:end] for first, end in STAGES]
