"""Darknet's activation functions as modules, by their name in a cfg. Formulas: darknet's, at any dtype.

`relu6` is what the word means; the CPU build of darknet returns zeros for it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Formula(nn.Module):
    """An activation without state, given as a pure function of a tensor."""

    def __init__(self, name: str, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.name, self.function = name, function

    def extra_repr(self) -> str:
        return self.name

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _hard_mish(x: Tensor) -> Tensor:
    """x above 0, x²/2 + x down to -2, 0 below."""
    return torch.where(x > 0, x, torch.where(x > -2, x * x / 2 + x, 0))


def _selu(x: Tensor) -> Tensor:
    """darknet's constants have four decimals."""
    return 1.0507 * torch.where(x >= 0, x, 1.6732 * torch.expm1(x.clamp(max=0)))


def _gelu(x: Tensor) -> Tensor:
    """The tanh form, with darknet's six decimals."""
    return 0.5 * x * (1 + torch.tanh(0.797885 * x + 0.035677 * x**3))


def _lhtan(x: Tensor) -> Tensor:
    """The identity on [0, 1], slope 0.001 outside."""
    return torch.where(x < 0, 0.001 * x, torch.where(x > 1, 0.001 * (x - 1) + 1, x))


def _plse(x: Tensor) -> Tensor:
    """x/8 + 1/2 on [-4, 4], slope 0.01 outside."""
    return torch.where(x < -4, 0.01 * (x + 4), torch.where(x > 4, 0.01 * (x - 4) + 1, 0.125 * x + 0.5))


def _stair(x: Tensor) -> Tensor:
    """A staircase with ramps: flat at n/2 over even n = floor(x), rising over odd n."""
    n = x.floor()
    return torch.where(n % 2 == 0, (n / 2).floor(), (x - n) + (n / 2).floor())


def _leaky() -> nn.Module:
    # In place: the convolution before it does not need its output again, and memory traffic is what it costs.
    return nn.LeakyReLU(0.1, inplace=True)


_BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "leaky": _leaky,
    "revleaky": _leaky,
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": nn.ReLU6,
    "logistic": nn.Sigmoid,
    "loggy": lambda: Formula("loggy", lambda x: 2 * x.sigmoid() - 1),
    "mish": nn.Mish,
    "swish": nn.SiLU,
    "hard_mish": lambda: Formula("hard_mish", _hard_mish),
    "elu": nn.ELU,
    "selu": lambda: Formula("selu", _selu),
    "gelu": lambda: Formula("gelu", _gelu),
    "tanh": nn.Tanh,
    "hardtan": nn.Hardtanh,
    "lhtan": lambda: Formula("lhtan", _lhtan),
    "plse": lambda: Formula("plse", _plse),
    "relie": lambda: nn.LeakyReLU(0.01),
    "ramp": lambda: Formula("ramp", lambda x: F.relu(x) + 0.1 * x),
    "stair": lambda: Formula("stair", _stair),
}


def activation(name: str) -> nn.Module:
    """The module for darknet's `activation=name`. The names are those of `yolo.darknet.sections.ACTIVATIONS`."""
    return _BUILDERS[name]()
