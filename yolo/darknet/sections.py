"""All layer sections by their names in a cfg, and the names of darknet's sections that are out of scope. No torch."""

from __future__ import annotations

from yolo.darknet.head_sections import HeadSection, Region, Yolo
from yolo.darknet.joining_sections import Dropout, Route, Sam, ScaleChannels, Shortcut
from yolo.darknet.keys import Layer
from yolo.darknet.spatial_sections import Avgpool, Convolutional, Maxpool, Reorg, Reorg3d, Upsample

__all__ = [
    "OUT_OF_SCOPE", "SECTIONS", "Avgpool", "Convolutional", "Dropout", "HeadSection", "Layer", "Maxpool", "Region",
    "Reorg", "Reorg3d", "Route", "Sam", "ScaleChannels", "Shortcut", "Upsample", "Yolo",
]  # fmt: skip

SECTIONS: dict[str, type[Layer]] = {
    name: kind
    for kind in (
        Convolutional, Maxpool, Avgpool, Upsample, Route, Shortcut, ScaleChannels, Sam, Reorg, Reorg3d, Dropout,
        Yolo, Region,
    )
    for name in kind.NAMES
}  # fmt: skip

OUT_OF_SCOPE = {
    "Gaussian_yolo": "boxes with uncertainties",
    "crnn": "recurrent layers",
    "conv_lstm": "recurrent layers",
    "rnn": "recurrent layers",
    "gru": "recurrent layers",
    "lstm": "recurrent layers",
    "history": "recurrent layers",
    "contrastive": "contrastive learning",
    "local_avgpool": "only contrastive models use it",
    "local_avg": "only contrastive models use it",
    "connected": "fully connected layers (classifiers, YOLOv1)",
    "conn": "fully connected layers (classifiers, YOLOv1)",
    "local": "unshared convolutions (YOLOv1)",
    "detection": "the head of YOLOv1",
    "softmax": "classifiers",
    "soft": "classifiers",
    "cost": "classifiers",
    "crop": "classifiers",
    "deconvolutional": "segmentation",
    "deconv": "segmentation",
    "iseg": "segmentation",
    "implicit": "no supported model uses it",
    "batchnorm": "versions of darknet store it differently",
    "activation": "no supported model uses it",
    "normalization": "no supported model uses it",
    "lrn": "no supported model uses it",
    "logistic": "no supported model uses it",
    "l2norm": "no supported model uses it",
    "empty": "no supported model uses it",
    "silence": "no supported model uses it",
}
