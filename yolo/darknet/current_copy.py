"""A network with its inference copy, which is never older than the network.

PyTorch does not show every write: a fused optimizer step, `p.data.mul_()`, a write through NumPy and another ε of batch
norm leave the version and the address of each tensor as they are. So the rule does not rest on them:

- While nobody else has the network, nothing can change it, and the copy is used without a look at the weights.
- Once it has been handed out, every use compares all tensors and constants with those that the copy was made from.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yolo.darknet.compiled import compiled
from yolo.darknet.inference import inference_copy
from yolo.darknet.network import Darknet


class CurrentCopy:
    """A network and its inference copies by dtype, compiled or not, shared by all detectors of the network.

    Several threads may use it: at worst two of them make the same copy.

    Args:
        network: the training module, for reading; to those who may write it, it is given by `hand_out`.
        shared: whether somebody else already has it.
    """

    def __init__(self, network: Darknet, *, shared: bool = True) -> None:
        self.network, self.shared = network, shared
        self._made: dict[tuple[torch.dtype, bool], tuple[Darknet, _State | None]] = {}

    def hand_out(self) -> Darknet:
        """Return the network to somebody who may write it."""
        if not self.shared:
            self.shared = True
            self._made.clear()  # copies without a state to compare with
        return self.network

    def get(self, dtype: torch.dtype, compile: bool = False) -> Darknet:
        """Return the inference copy of the network as it is now, in torch.float32 or torch.bfloat16.

        With `compile` it is one that `yolo.darknet.compiled` made faster, if that is possible.
        """
        made, state = self._made.get((dtype, compile), (None, None))
        if made is not None and (state.holds_for(self.network) if state else not self.shared):
            return made
        state = _State.of(self.network) if self.shared else None
        made = inference_copy(self.network, dtype)
        if compile:
            made = compiled(made)
        self._made[dtype, compile] = made, state
        return made


class _State(NamedTuple):
    """What an inference copy is made from: every module with its constants, and copies of all tensors."""

    constants: list[tuple[nn.Module, dict[str, Any]]]
    tensors: list[Tensor]

    @classmethod
    def of(cls, network: nn.Module) -> _State:
        """Return the present state."""
        return cls(_constants(network), [tensor.detach().clone() for tensor in _tensors(network)])

    def holds_for(self, network: nn.Module) -> bool:
        """Return whether nothing has changed since: the same modules, equal constants, equal tensors."""
        return self.constants == _constants(network) and all(
            a.device == b.device and a.dtype == b.dtype and a.equal(b)
            for a, b in zip(self.tensors, _tensors(network), strict=True)
        )


def _constants(network: nn.Module) -> list[tuple[nn.Module, dict[str, Any]]]:
    """Return the numbers, words and tuples of every module, such as ε of batch norm. `training` has no effect."""
    return [
        (
            module,
            {k: v for k, v in vars(module).items() if isinstance(v, int | float | str | tuple) and k != "training"},
        )
        for module in network.modules()
    ]


def _tensors(network: nn.Module) -> list[Tensor]:
    """Return all parameters and buffers."""
    return list(chain(network.parameters(), network.buffers()))
