"""The inference copy of a network: batch norm folded, channels_last, float32 or bfloat16, on a CPU prepacked weights.

PyTorch gives oneDNN the weights of a convolution in PyTorch's order, and oneDNN reorders them for its kernels at every
call. Here they are reordered once, and the activation is applied while the result is still in registers. The two
operators are those that torch.compile with freezing emits. They are internal to PyTorch, so they are tried on small
convolutions first. If they are missing or give other numbers, ordinary convolutions are used.
"""

from __future__ import annotations

import copy
import logging
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo.darknet.between import lean
from yolo.darknet.layers import ConvBlock, UndrawnConv2d
from yolo.darknet.network import Darknet
from yolo.darknet.replays import Replays

_log = logging.getLogger(__name__)

# Activations that PyTorch lets oneDNN apply within a convolution, by PyTorch's name; and nn.LeakyReLU.
_POST_OPS = {nn.Identity: "none", nn.ReLU: "relu", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh", nn.SiLU: "swish"}


def inference_copy(network: Darknet, dtype: torch.dtype = torch.float32, *, prepack: bool = True) -> InferenceNetwork:
    """Return a copy for detection, in evaluation mode and on the network's device; the network itself is only read.

    `layers[k]` is section `k` here, too. Images of any floating type are accepted, and uint8 ones, which are divided by
    255. Raw predictions are float32, without gradients. Batch norm is folded in float64, as darknet does it, one layer
    at a time.

    Args:
        network: the training module; only read.
        dtype: torch.float32 gives the network's predictions up to rounding. With torch.bfloat16 values between layers
            have eight bits of precision, and boxes move (`resolve_precision`).
        prepack: whether to use prepacked weights on a CPU, if PyTorch has them, and `yolo.darknet.between`. False: the
            network's own layers, such as an export needs them.

    Raises ValueError for another dtype.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"got {dtype}; expected torch.float32 or torch.bfloat16")
    return InferenceNetwork(network, dtype, prepack)


def resolve_precision(name: str) -> torch.dtype:
    """Return the dtype for `auto`, `fp32` or `bf16`. Raises ValueError for another name.

    `auto` is fp32, however fast a device's bf16 is. tests/darknet/test_inference.py shows why. With bf16, two trained
    models (light ones; no others were tried) change a third of their boxes: scores by more than 0.02 and up to 0.1, or
    places to an IoU below 0.95 and down to 0.8. One box is lost. So the numbers are darknet's unless `bf16` is chosen.
    """
    if name not in ("auto", "fp32", "bf16"):
        raise ValueError(f"got the precision {name!r}; expected auto, fp32 or bf16")
    return torch.bfloat16 if name == "bf16" else torch.float32


class InferenceNetwork(Darknet):
    """A Darknet whose convolutions are folded. On a GPU its passes over small batches are replays of CUDA graphs."""

    def __init__(self, network: Darknet, dtype: torch.dtype, prepack: bool) -> None:
        nn.Module.__init__(self)  # Darknet's would allocate the weights again
        self.cfg, self.plan, self._fitting = network.cfg, network.plan, {network.plan.size}
        on_cpu = prepack and next(network.parameters()).device.type == "cpu"
        packed = on_cpu and can_prepack(dtype)
        self.layers = nn.ModuleList(
            _folded(layer, dtype, (1, *at.inputs[0]) if packed else None)
            if isinstance(layer, ConvBlock)
            else lean(layer, at, network.plan)
            if on_cpu
            else copy.deepcopy(layer)
            for layer, at in zip(network.layers, network.plan.layers, strict=True)
        )
        self.replays = Replays()
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.replays(self.compute, images) if images.is_cuda else self.compute(images)

    @torch.no_grad()
    def compute(self, images: Tensor) -> list[Tensor]:
        """Return what `forward` does, computed layer by layer."""
        if images.dtype == torch.uint8:
            images = images.float() / 255
        return [raw.float() for raw in super().forward(images)]


class FoldedConv(nn.Module):
    """Convolution with a bias, then activation, by ordinary operators, in dtype and on device of its weights."""

    def __init__(self, weight: Tensor, bias: Tensor, conv: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.stride, self.padding, self.dilation, self.groups = conv.stride, conv.padding, conv.dilation, conv.groups
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype, memory_format=torch.channels_last)
        x = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        return self.activation(x)


class PackedConv(nn.Module):
    """The same on a CPU, with weights in oneDNN's order and, if possible, the activation within the convolution.

    The best order depends on the shape of the input and the number of threads. A wrong order takes up to 20 times as
    long, with the same result. So the weights are reordered for the `shape` [B, c, h, w], at the first call if that is
    None, and again when one of the two changes. They are not a Parameter, since no other operator of PyTorch can use
    them. Copies and pickles hold them in the ordinary order.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        conv: nn.Conv2d,
        activation: nn.Module,
        shape: tuple[int, int, int, int] | None = None,
    ) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.dtype = weight.dtype
        self.geometry = [list(map(int, pair)) for pair in (conv.padding, conv.stride, conv.dilation)]
        self.groups = conv.groups
        # One tuple: threads may share it. It begins with what the order was made for.
        self.packed: tuple[tuple[torch.Size, int] | None, Tensor] = (None, weight.to_mkldnn())
        if shape:
            self._packed_for(torch.Size(shape))  # now, so that no more than one layer is in memory in two orders
        post = _post_op(activation)
        self.post_op = post or ("none", [])
        self.activation = nn.Identity() if post else activation

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype, memory_format=torch.channels_last)
        weight = self._packed_for(x.shape)
        name, scalars = self.post_op
        x = torch.ops.mkldnn._convolution_pointwise(
            x, weight, self.bias, *self.geometry, self.groups, name, scalars, ""
        )
        return self.activation(x)

    def _packed_for(self, shape: torch.Size) -> Tensor:
        """Return the weights in the best order for an input of this shape, and the threads of now."""
        made_for, weight = self.packed
        if made_for != (now := (shape, torch.get_num_threads())):
            weight = torch.ops.aten.mkldnn_reorder_conv2d_weight(weight, *self.geometry, self.groups, list(shape))
            self.packed = (now, weight)
        return weight

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "packed": self.packed[1].to_dense(self.dtype)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "packed": (None, state["packed"].to_mkldnn())})


def _post_op(activation: nn.Module) -> tuple[str, list[float]] | None:
    """Return name and scalars of an activation that can be applied within a convolution, None for another."""
    if type(activation) is nn.LeakyReLU:
        return "leaky_relu", [activation.negative_slope]
    name = _POST_OPS.get(type(activation))
    return (name, []) if name else None


@cache
def can_prepack(dtype: torch.dtype) -> bool:
    """Return whether the internal operators exist and agree with the ordinary ones on small convolutions."""
    # Numbers that need no random generator: detection within training must not change what training draws.
    x, weight = (
        torch.arange(n).sin().reshape(shape).to(dtype) for n, shape in ((648, (2, 4, 9, 9)), (144, (8, 2, 3, 3)))
    )
    conv, bias = UndrawnConv2d(4, 8, 3, stride=2, padding=1, groups=2), weight[:, 0, 0, 0].clone()
    tolerance = 1e-5 if dtype == torch.float32 else 0.016
    try:
        with torch.no_grad():
            for activation in (nn.LeakyReLU(0.1), *(kind() for kind in _POST_OPS)):
                expected = FoldedConv(weight, bias, conv, activation)(x)
                found = PackedConv(weight, bias, conv, activation)(x)
                if found.dtype != dtype or not torch.allclose(found, expected, rtol=tolerance, atol=tolerance):
                    raise RuntimeError(f"another result with {activation}")
    except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        _log.info("no prepacked %s convolutions in torch %s: %s", dtype, torch.__version__, error)
        return False
    return True


@torch.no_grad()
def _folded(block: ConvBlock, dtype: torch.dtype, packed: tuple[int, int, int, int] | None) -> nn.Module:
    """Return a ConvBlock without batch norm: w · g and β - μ · g per filter, with g = γ / √(σ² + ε).

    `packed` is the shape of the input for which weights are prepacked; None: ordinary operators.
    """
    conv, bn = block.conv, block.bn
    weight = conv.weight.to(torch.float64, copy=True)
    if bn is None:
        assert conv.bias is not None
        bias = conv.bias.double()
    else:
        assert bn.running_mean is not None
        assert bn.running_var is not None
        gain = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
        weight *= gain[:, None, None, None]
        bias = bn.bias.double() - bn.running_mean.double() * gain
    weight, bias, activation = weight.float().to(dtype), bias.float().to(dtype), copy.deepcopy(block.activation)
    if packed is None:
        return FoldedConv(weight, bias, conv, activation)
    return PackedConv(weight, bias, conv, activation, packed)
