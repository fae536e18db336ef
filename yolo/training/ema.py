"""The exponential moving average of a network; the average is evaluated and saved as the best weights.

Letters: `t` updates so far; `d(t)` the decay, the share of the old average that update `t` keeps.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn


class Ema:
    """The average of a network's states after its optimizer steps: average ← d · average + (1 - d) · state.

    d(t) = min(decay, (1 + t) / (warmup + t)) with t = 0, 1, 2, ... With `warmup` 10 the first update keeps only a tenth
    of the initial weights, so they are forgotten within a few steps instead of 1 / (1 - decay) steps. This is
    `num_updates` of TensorFlow's `tf.train.ExponentialMovingAverage`. With `warmup` 1 there is no ramp.

    Parameters and floating-point buffers (running means and variances) are averaged. Other buffers (counts) are copied.
    Values that do not change in the network, such as frozen layers, are equal in the average, bit for bit.

    Args:
        network: the module that is trained, on its device; not its DDP or compiled wrapper.
        decay: d after the ramp, in [0, 1).
        warmup: how slowly the ramp rises, at least 1: d is 1/2 at t = warmup - 2.
    """

    def __init__(self, network: nn.Module, decay: float = 0.9998, warmup: int = 10) -> None:
        if not 0 <= decay < 1 or warmup < 1:
            raise ValueError(f"decay={decay}, warmup={warmup}: expected a decay in [0, 1) and a warmup of at least 1")
        self.decay, self.warmup, self.updates = decay, warmup, 0
        self._source = network
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        """The average as a module, in evaluation mode, without gradients."""

    @property
    def next_decay(self) -> float:
        """Return d(t) of the next update."""
        return min(self.decay, (1 + self.updates) / (self.warmup + self.updates))

    @torch.no_grad()
    def update(self) -> None:
        """Add the network's state to the average, after an optimizer step. Nothing waits for the device."""
        # Collect first: one call for all tensors is a few kernels on a GPU, not one per tensor.
        averages: list[Tensor] = []
        states: list[Tensor] = []
        copies: list[Tensor] = []
        counts: list[Tensor] = []
        for average, state in zip(_tensors(self.network), _tensors(self._source), strict=True):
            averaged = average.is_floating_point()
            (averages if averaged else copies).append(average)
            (states if averaged else counts).append(state)
        if averages:
            torch._foreach_lerp_(averages, states, 1 - self.next_decay)
        if copies:
            torch._foreach_copy_(copies, counts)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs: `updates` (int) and the state of `network` (tensors)."""
        return {"updates": self.updates, "network": self.network.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly from `state_dict()`. Raises RuntimeError, from PyTorch, if it is of another network."""
        self.network.load_state_dict(state["network"])
        self.updates = int(state["updates"])


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    """Return parameters and buffers, looked up at each update: moving a network to a device replaces its buffers."""
    return chain(network.parameters(), network.buffers())
