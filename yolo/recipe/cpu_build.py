"""The network as darknet's CPU build trains it, to the digit, with the faults of that build.

What differs from the GPU build, with which models are trained, was found in whole trainings of the CPU build:

- The biases of batch norm (β) are never trained.
- A convolution overwrites the gradient of the layer that it reads, where it should add to it. It runs backward after
  all readers with higher numbers, so their gradients are lost: those that pass a residual block, for example.
- The gradients of all other layers are never set to zero, so those of the earlier mini-batches stay in them.
- Batch norm divides by n - 1 in the variance, and normalises with it, too. PyTorch and cuDNN normalise with n. Its sums
  are float32, one value after the other, which is the largest rounding error of the whole training.

Letters: `B` images, `c` channels, `H, W` rows and columns of a feature map; `n = B · H · W` values of a channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from yolo.darknet.cfg import Cfg
from yolo.darknet.heads import Head
from yolo.darknet.layers import ConvBlock, Init
from yolo.darknet.network import Darknet
from yolo.darknet.plan import IMAGE, LayerPlan

MOMENTUM = 0.1
"""Share of a mini-batch in the running statistics."""


class CpuBuild(Darknet):
    """A Darknet whose gradients are those of darknet's CPU build; its arguments and its predictions are Darknet's.

    `carried` has the gradients that stay from one mini-batch to the next, by layer. A resumed training needs them.
    """

    def __init__(self, cfg: Cfg, *, init: Init | None = "darknet") -> None:
        super().__init__(cfg, init=init)
        for layer in self.layers:
            if isinstance(layer, ConvBlock) and layer.bn is not None:
                norm = BatchNorm(layer.bn.num_features, eps=layer.bn.eps)
                norm.load_state_dict(layer.bn.state_dict())
                norm.bias.requires_grad_(False)
                layer.bn = norm
        convolutions = [plan for plan in self.plan.layers if isinstance(self.layers[plan.index], ConvBlock)]
        self._overwrites = {k: plan.index for plan in convolutions for k in plan.sources}
        self.carried: dict[int, Tensor] = {}

    def output_of(self, plan: LayerPlan, layer: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
        """Return the output of a layer, whose gradient goes the ways that the CPU build leaves it."""
        if not torch.is_grad_enabled():
            return super().output_of(plan, layer, inputs)
        reached = [
            value if k == IMAGE or plan.index <= self._overwrites.get(k, plan.index) else value.detach()
            for k, value in zip(plan.sources, inputs, strict=True)
        ]
        output = super().output_of(plan, layer, reached)
        if isinstance(layer, ConvBlock | Head) or plan.index in self._overwrites:
            return output
        carried: Tensor = _Carry.apply(output, self.carried, plan.index)
        return carried


class _Carry(torch.autograd.Function):
    """The identity; its gradient is added to what is carried for the layer, which becomes the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, carried: dict[int, Tensor], index: int) -> Tensor:
        ctx.carried, ctx.index = carried, index
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        before = ctx.carried.get(ctx.index)
        if before is not None and before.shape == gradient.shape:  # of another input size it says nothing
            gradient = gradient + before
        ctx.carried[ctx.index] = gradient.clone()
        return gradient, None, None


class BatchNorm(nn.BatchNorm2d):
    """Batch norm of darknet's CPU build; in evaluation mode it is PyTorch's. The state has the same names."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised `[B, c, H, W]`. Raises ValueError in training mode for one value per channel."""
        if not self.training:
            return super().forward(input)
        n = input.numel() // input.shape[1]
        if n == 1:
            raise ValueError(f"batch norm of {list(input.shape)}: training needs more than one value per channel")
        assert self.running_mean is not None
        assert self.running_var is not None
        with torch.no_grad():
            values = input.float().transpose(0, 1).reshape(input.shape[1], n)
            mean = _sums(values) / n
            var = _sums((values - mean[:, None]).square()) / (n - 1)
            self.running_mean.lerp_(mean, MOMENTUM)
            self.running_var.lerp_(var, MOMENTUM)
        normalised: Tensor = _Normalise.apply(input, self.weight, self.bias, mean, var, self.eps)
        return normalised


def _sums(values: Tensor) -> Tensor:
    """Return the sums of the rows of `[c, n]`, float32, added one after the other."""
    added = np.add.accumulate(values.cpu().numpy(), axis=1, dtype=np.float32)
    return torch.from_numpy(added[:, -1].copy()).to(values.device)


class _Normalise(torch.autograd.Function):
    """Normalises a batch with given statistics; the gradient is that of statistics of the batch.

    y = γ · x̂ + β with x̂ = (x - mean) / sqrt(var + ε)
    dx = γ / sqrt(var + ε) · (dy - mean of dy - x̂ · mean of dy · x̂), means over n
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps = eps
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        # PyTorch's own kernel, which takes whatever deviation it is given.
        dx, dweight, _ = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, (var + ctx.eps).rsqrt(), True, ctx.eps, [True, True, False]
        )
        return dx, dweight, None, None, None, None
