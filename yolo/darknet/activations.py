"""Darknet's activation functions as modules, by their names in a cfg. The formulas are darknet's, for any dtype.

One differs: `relu6` is min(max(x, 0), 6), while darknet built for a CPU returns zeros.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Formula(nn.Module):
    """An activation without parameters: a function of a tensor, with a name."""

    def __init__(self, name: str, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.name, self.function = name, function

    def extra_repr(self) -> str:
        return self.name

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _hard_mish(x: Tensor) -> Tensor:
    """Return x above 0, x²/2 + x from -2 to 0, 0 below."""
    return torch.where(x > 0, x, torch.where(x > -2, x * x / 2 + x, 0))


def _selu(x: Tensor) -> Tensor:
    """Return SELU with darknet's constants of four decimals."""
    return 1.0507 * torch.where(x >= 0, x, 1.6732 * torch.expm1(x.clamp(max=0)))


def _gelu(x: Tensor) -> Tensor:
    """Return the tanh form of GELU with darknet's constants of six decimals."""
    return 0.5 * x * (1 + torch.tanh(0.797885 * x + 0.035677 * x**3))


def _lhtan(x: Tensor) -> Tensor:
    """Return the identity on [0, 1], with slope 0.001 outside."""
    return torch.where(x < 0, 0.001 * x, torch.where(x > 1, 0.001 * (x - 1) + 1, x))


def _plse(x: Tensor) -> Tensor:
    """Return x/8 + 1/2 on [-4, 4], with slope 0.01 outside."""
    return torch.where(x < -4, 0.01 * (x + 4), torch.where(x > 4, 0.01 * (x - 4) + 1, 0.125 * x + 0.5))


def _stair(x: Tensor) -> Tensor:
    """Return a staircase with ramps: n/2 for even n = floor(x), rising for odd n."""
    n = x.floor()
    return torch.where(n % 2 == 0, (n / 2).floor(), (x - n) + (n / 2).floor())


def _leaky() -> nn.Module:
    # In place: the convolution before it does not need its output again, and reading and writing memory takes the time.
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
    "silu": nn.SiLU,
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
    """Return the module for darknet's `activation=name`, a name of `yolo.darknet.keys.ACTIVATIONS`."""
    return _BUILDERS[name]()
