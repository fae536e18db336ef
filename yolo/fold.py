"""The inference copy of a network: batch norm folded into the convolutions, channels_last."""

from __future__ import annotations

import copy

import torch
from torch import nn

from yolo.darknet import Darknet
from yolo.layers import ConvBlock


def inference_copy(network: Darknet) -> Darknet:
    """A copy in evaluation mode for detection, on the network's device; the network itself is not touched.

    Gives the same predictions up to float32 rounding. Folding is done in float64, as darknet does it.
    """
    folded = copy.deepcopy(network).eval().requires_grad_(False)
    for layer in folded.layers:
        if isinstance(layer, ConvBlock):
            _fold(layer)
    return folded.to(memory_format=torch.channels_last)


def _fold(block: ConvBlock) -> None:
    """Batch norm into the convolution: w · g and β - μ · g per filter, with g = γ / √(σ² + ε)."""
    bn, conv = block.bn, block.conv
    if bn is None:
        return
    assert bn.running_mean is not None
    assert bn.running_var is not None
    gain = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    bias = bn.bias.double() - bn.running_mean.double() * gain
    conv.weight = nn.Parameter((conv.weight.double() * gain[:, None, None, None]).float(), requires_grad=False)
    conv.bias = nn.Parameter(bias.float(), requires_grad=False)
    block.bn = None
