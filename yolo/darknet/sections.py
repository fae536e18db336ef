"""All layer sections by their names in a cfg, and the names of darknet's sections that are out of scope. No torch."""

from __future__ import annotations

from yolo.darknet.head_sections import HeadSection, Region, Yolo
from yolo.darknet.joining_sections import Dropout, Route, Sam, ScaleChannels, Shortcut
from yolo.darknet.keys import Layer
from yolo.darknet.spatial_sections import (
    Avgpool,
    Convolutional,
    Maxpool,
    Rearranging,
    Reorg,
    Reorg3d,
    Strided,
    Upsample,
)

__all__ = [
    "KINDS", "OUT_OF_SCOPE", "SECTIONS", "Avgpool", "Convolutional", "Dropout", "HeadSection", "Layer", "Maxpool",
    "Rearranging", "Region", "Reorg", "Reorg3d", "Route", "Sam", "ScaleChannels", "Shortcut", "Strided", "Upsample",
    "Yolo",
]  # fmt: skip

KINDS: tuple[type[Layer], ...] = (
    Convolutional, Maxpool, Avgpool, Upsample, Route, Shortcut, ScaleChannels, Sam, Reorg, Reorg3d, Dropout,
    Yolo, Region,
)  # fmt: skip

SECTIONS = {name: kind for kind in KINDS for name in kind.NAMES}

_OUT_OF_SCOPE = {
    "boxes with uncertainties": "Gaussian_yolo",
    "recurrent layers": "crnn conv_lstm rnn gru lstm history",
    "contrastive learning": "contrastive",
    "fully connected layers (classifiers, YOLOv1)": "connected conn",
    "unshared convolutions (YOLOv1)": "local",
    "the head of YOLOv1": "detection",
    "classifiers": "softmax soft cost crop",
    "segmentation": "deconvolutional deconv iseg",
    "this program does not compute it": (
        "local_avgpool local_avg implicit activation normalization lrn logistic l2norm empty silence"
    ),
    "versions of darknet store it differently": "batchnorm",
}

OUT_OF_SCOPE = {name: reason for reason, names in _OUT_OF_SCOPE.items() for name in names.split()}
