"""The network of a training, made faster for full batches: by torch.compile, or by CUDA graphs.

Both ways cost seconds to minutes for each shape of a batch. An epoch has full batches of one or of several sizes, and a
last one that may be smaller: that one takes the network as it is.

A step on a GPU with few images waits for launches, since forward and backward pass are about two thousand kernels
(docs/gpu.md). As two CUDA graphs they are two launches, of the same kernels. The loss stays outside: its shapes change
with the number of labels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger("yolo")

Pass = Callable[[Tensor], Any]
"""Computes what the network returns for images, with gradients."""

SIZES = 64
"""Sizes of the input for which a network is compiled. PyTorch's own limit is 8, beyond which it compiles no more."""


class FullBatches(nn.Module):
    """A network that computes batches of `images` images by `fast`, and others itself.

    Args:
        network: the network that is trained; its parameters are those of this module.
        images: number of images of a full batch.
        fast: computes the same as the network, with gradients for its parameters.
    """

    def __init__(self, network: nn.Module, images: int, fast: Pass) -> None:
        super().__init__()
        self.network, self.images = network, images
        self.__dict__["fast"] = fast  # not a submodule, whose parameters would be these once more

    def forward(self, images: Tensor) -> Any:
        """Return what the network returns for images `[B, channels, h, w]`."""
        return (self.__dict__["fast"] if len(images) == self.images else self.network)(images)


def compiled(network: nn.Module) -> Pass:
    """Return the network by torch.compile, once for each size of its input."""
    config: Any = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, SIZES)
    # With dynamic shapes a second size would give kernels that fit every size, and are slower at each.
    return torch.compile(network, dynamic=False)


class Recorded:
    """Forward and backward pass of a network as CUDA graphs, recorded once for each shape.

    Args:
        network: the network that is trained.
        record: returns the recording of the network for images like the given ones; RuntimeError if it cannot.
    """

    def __init__(self, network: nn.Module, record: Callable[[nn.Module, Tensor], Pass]) -> None:
        self.network, self.record = network, record
        self.made: dict[Hashable, Pass] = {}

    def __call__(self, images: Tensor) -> Any:
        """Return what the network returns for images `[B, channels, h, w]`."""
        # The gradients of the batch before, of the same step, may be the buffers that the next replay overwrites.
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                parameter.grad = parameter.grad.clone()
        # Layers may be frozen for some steps, which changes the backward pass.
        trained = tuple(parameter.requires_grad for parameter in self.network.parameters())
        modes = tuple(module.training for module in self.network.modules())
        key = (images.shape, images.dtype, trained, modes)
        if key not in self.made:
            self.made[key] = self._recorded(images)
        return self.made[key](images)

    def _recorded(self, images: Tensor) -> Pass:
        """Return the recording, or the network where it cannot be recorded, which is logged."""
        buffers = [(buffer, buffer.clone()) for buffer in self.network.buffers()]
        try:
            made = self.record(self.network, images)
        except RuntimeError as problem:
            line = str(problem).partition("\n")[0]
            log.warning("batches %s are trained without CUDA graphs: %s", list(images.shape), line)
            made = self.network
        # Passes before the recording are not steps: batch norm forgets what it saw in them.
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        return made


class _Whole(nn.Module):
    """A network within another module, because PyTorch replaces `forward` of the module that it records."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return self.network(images)


def recorded(network: nn.Module) -> Recorded:
    """Return the network as CUDA graphs, which share their memory: two of them never run at once. Needs a GPU."""
    return Recorded(network, partial(_record, pool=torch.cuda.graph_pool_handle()))


def _record(network: nn.Module, images: Tensor, pool: Any) -> Pass:
    """Return the CUDA graphs of forward and backward pass, in the arithmetic of the autocast that is on."""
    whole = _Whole(network)
    whole.training = network.training  # not `train`, which would reach layers that are frozen in evaluation mode
    dtype, on = torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda")
    # A cached cast of a weight would be one of the recording, and old in every replay.
    cast = torch.autocast("cuda", dtype if on else None, enabled=on, cache_enabled=False)
    with torch.cuda.device(images.device), torch.random.fork_rng([images.device]), cast:
        made: Pass = torch.cuda.make_graphed_callables(whole, (images.clone(),), allow_unused_input=True, pool=pool)
    return made
