"""What an inference copy computes between its convolutions on a CPU: the same numbers, with fewer bytes moved.

These layers do next to nothing with a value, so reading and writing memory takes their time.

Letters: `B` images, `c` channels, `h, w` height and width of a feature map.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from yolo.darknet.layers import Add, MaxPool
from yolo.darknet.plan import IMAGE, LayerPlan, Plan
from yolo.darknet.sections import Convolutional


class PairMax(nn.Module):
    """The maximum over windows of 2x2, `[B, c, h, w]` to `[B, c, h', w']`.

    PyTorch's own pooling writes the place of every maximum as well, in eight bytes. Here the larger of two rows is
    taken, then the larger of two columns. Cells outside the input never win; NaN wins, as in PyTorch's.
    """

    def __init__(self, pool: MaxPool) -> None:
        super().__init__()
        self.strides, self.padding = pool.strides, pool.padding

    def extra_repr(self) -> str:
        return f"strides={self.strides}, padding={self.padding}"

    def forward(self, x: Tensor) -> Tensor:
        for axis, stride in zip((2, 3), self.strides, strict=True):
            x = self._along(x, axis, stride)
        return x

    def _along(self, x: Tensor, axis: int, stride: int) -> Tensor:
        """Return the maxima of pairs along an axis; a window that exceeds the input has its last cell alone."""
        n = x.shape[axis]
        count, pairs = (n + self.padding - 2) // stride + 1, (n - 2) // stride + 1
        cells = [slice(None)] * 4
        cells[axis] = slice(0, (pairs - 1) * stride + 1, stride)
        first = x[tuple(cells)]
        cells[axis] = slice(1, (pairs - 1) * stride + 2, stride)
        second = x[tuple(cells)]
        if pairs == count:
            return torch.maximum(first, second)
        shape = list(x.shape)
        shape[axis] = count
        found = x.new_empty(shape).contiguous(memory_format=torch.channels_last)
        torch.maximum(first, second, out=found.narrow(axis, 0, pairs))
        found.narrow(axis, pairs, 1).copy_(x.narrow(axis, n - 1, 1))
        return found


class AddInPlace(nn.Module):
    """`[shortcut]` without weights: adds to its first input in memory, which nobody else may read.

    A new output would cost the time to read it into the cache before it is written.
    """

    def __init__(self, add: Add) -> None:
        super().__init__()
        self.activation = copy.deepcopy(add.activation)

    def forward(self, x: Tensor, *sources: Tensor) -> Tensor:
        for source in sources:
            common = min(x.shape[1], source.shape[1])
            x[:, :common].add_(source[:, :common])
        output: Tensor = self.activation(x)
        return output


def lean(layer: nn.Module, at: LayerPlan, plan: Plan) -> nn.Module:
    """Return a module with the numbers of `layer`, which shares nothing with it: one of this file if one fits."""
    if type(layer) is MaxPool and layer.size == 2 and layer.padding < 2:
        return PairMax(layer)
    if type(layer) is Add and layer.weights is None and _owns_first(at, plan):
        return AddInPlace(layer)
    return copy.deepcopy(layer)


def _owns_first(at: LayerPlan, plan: Plan) -> bool:
    """Return whether the first input is a convolution's output, which is always new memory, and read here only."""
    first = at.sources[0]
    if first == IMAGE or not isinstance(plan.layers[first].section, Convolutional):
        return False
    return sum(layer.sources.count(first) for layer in plan.layers) == 1
