"""The gradient of a convolution's weights as matrix products, on processors where that is faster.

On a processor without AVX-512, oneDNN's kernel for this gradient runs at a third to two thirds of the rate of the
forward pass, and PyTorch then copies its result into another memory layout. The gradient is also a sum of products: the
weights at place (u, v) of the kernel get `gradientᵀ · x`, with x shifted by (u, v). In channels_last memory pixels are
the rows of a matrix, and a shift is an offset, so nothing is copied per place but with a stride. The sums are the same
in another order. `benchmarks/train.py` has what this gains.

Letters: `B` images; `I, O` channels of input and output; `h, w` input, `H, W` output; `k` side of the kernel.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

SLOW_KERNEL = torch.backends.cpu.get_cpu_capability() == "AVX2"
"""Whether this processor's own kernel is the slow one. A property of the machine, not a measurement: a resumed run has
to compute what the uninterrupted one does."""

FEWEST, SMALLEST = 32, 10**9
"""Input channels, and operations of the forward pass, from which on products are faster. Below, they are too narrow, or
starting them takes longer than they do."""


def by_products(conv: nn.Conv2d, x: Tensor) -> bool:
    """Return whether `convolve` is faster for this convolution and input `[B, I, h, w]`: in training, in float32."""
    return (
        SLOW_KERNEL
        and torch.is_grad_enabled()
        and conv.weight.requires_grad
        and conv.bias is None
        and conv.kernel_size[0] > 1
        and conv.in_channels >= FEWEST
        and conv.groups == 1
        and conv.dilation == (1, 1)
        and x.device.type == "cpu"
        and x.dtype == conv.weight.dtype == torch.float32
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and _operations(conv, x) >= SMALLEST
    )


def _operations(conv: nn.Conv2d, x: Tensor) -> int:
    """Return the operations of the forward pass, up to what padding changes: 2 for a product and its addition."""
    return 2 * conv.weight.numel() * x.shape[0] * x.shape[2] * x.shape[3] // (conv.stride[0] * conv.stride[1])


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return `conv(x)`, whose weight gradient is computed by products. Bias, groups and dilation are not supported."""
    output: Tensor = _Convolution.apply(x, conv.weight, conv.stride, conv.padding)
    return output


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_input = None
        if ctx.needs_input_grad[0]:
            to_input = conv2d_input(list(x.shape), weight, gradient, ctx.stride, ctx.padding)
        return to_input, weight_gradient(x, gradient, weight.shape[2], ctx.stride, ctx.padding), None, None


def weight_gradient(x: Tensor, gradient: Tensor, k: int, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """Return the gradient of the weights, `[O, I, k, k]` in channels_last memory.

    Args:
        x: the input, `[B, I, h, w]`.
        gradient: the gradient of the output, `[B, O, H, W]`.
        k: the side of the kernel.
        stride, padding: of the convolution, vertical and horizontal.
    """
    (down, right), (rows, columns) = stride, padding
    O, H, W = gradient.shape[1:]
    x = F.pad(x, (columns, columns, rows, rows)).permute(0, 2, 3, 1)  # [B, h', w', I]
    places, channels = x.shape[1] * x.shape[2] * len(x), x.shape[3]
    result = x.new_empty(O, k, k, channels)
    if stride == (1, 1):
        # Zeros make the gradient as large as the input, so that row n of it meets row n + u · w' + v of the input.
        shift, last = x.shape[2], (k - 1) * (x.shape[2] + 1)
        factor = F.pad(gradient, (0, k - 1, 0, k - 1)).permute(0, 2, 3, 1).reshape(-1, O)[: places - last].t()
        table = x.reshape(-1, channels)
    else:
        factor = gradient.permute(0, 2, 3, 1).reshape(-1, O).t()
    for u in range(k):
        for v in range(k):
            if stride == (1, 1):
                start = u * shift + v
                met = table[start : start + places - last]
            else:
                met = x[:, u : u + down * H : down, v : v + right * W : right].reshape(-1, channels)
            torch.mm(factor, met, out=result[:, u, v])
    return result.permute(0, 3, 1, 2)
