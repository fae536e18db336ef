"""Weights that no sound training leaves: values that are not finite, variances below 0."""

from __future__ import annotations

import os
import re

from torch import Tensor, nn


def check_sound(network: nn.Module, file: str | os.PathLike[str]) -> None:
    """Raise ValueError for weights from `file` that are not finite, and for negative variances of batch norm.

    The message has the first layer with the number of its bad values, and how many other tensors have some.
    """
    found = ((name, _fault(name, tensor)) for name, tensor in network.state_dict().items())
    faults = [f"{_place(name)}: {problem}" for name, problem in found if problem]
    if faults:
        more = f", and {len(faults) - 1:,} other tensors have some" if len(faults) > 1 else ""
        remedy = "the training that wrote the file diverged, or the file is damaged: take an earlier one"
        raise ValueError(f"{file}: {faults[0]}{more}; {remedy}")


def _fault(name: str, values: Tensor) -> str:
    """Return what is wrong with a tensor, and with how many of its values; empty if nothing is."""
    finite = values.isfinite()
    if not finite.all():
        return f"{int((~finite).sum()):,} of {values.numel():,} values are not finite"
    negative = int((values < 0).sum()) if name.endswith("running_var") else 0
    return f"{negative:,} of {values.numel():,} variances are negative" if negative else ""


def _place(name: str) -> str:
    """Return the name of a tensor for a message: `layer 3 (bn.weight)` in a Darknet network."""
    match = re.fullmatch(r"layers\.([0-9]+)\.(.+)", name)
    return f"layer {match[1]} ({match[2]})" if match else name
