"""The exponential moving average of a network, which is what is evaluated and kept.

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
    """An average over the states that a network had after its optimizer steps: average ← d · average + (1 - d) · state.

    d(t) = min(decay, (1 + t) / (warmup + t)) with t = 0, 1, 2, ...: the first update keeps only a tenth, so that the
    initial weights are forgotten within a few steps and not after 1 / (1 - decay) of them. With `warmup` 10 that is
    `num_updates` of TensorFlow's `tf.train.ExponentialMovingAverage`; with 1 there is no ramp.

    Parameters and floating-point buffers (running means and variances) are averaged, other buffers (counts) are
    copied. What stands still in the network, such as frozen layers, is equal to the bit in the average.

    Args:
        network: the module that is trained, on its device; not its DDP or compiled wrapper.
        decay: d in the long run, in [0, 1).
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
        """d(t) of the next update."""
        return min(self.decay, (1 + self.updates) / (self.warmup + self.updates))

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the present state of the network, after an optimizer step. Nothing waits for the device."""
        averages: list[Tensor] = []
        states: list[Tensor] = []
        for average, state in zip(_tensors(self.network), _tensors(self._source), strict=True):
            if average.is_floating_point():
                averages.append(average)
                states.append(state)
            else:
                average.copy_(state)
        if averages:
            torch._foreach_lerp_(averages, states, 1 - self.next_decay)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs, tensors and an int: `updates` and the state of `network`."""
        return {"updates": self.updates, "network": self.network.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict()`, exactly. RuntimeError from PyTorch if the network is another one."""
        self.network.load_state_dict(state["network"])
        self.updates = int(state["updates"])


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    """Looked up at each update: moving a network to another device replaces its buffers."""
    return chain(network.parameters(), network.buffers())
