"""The optimizer, its weight decay, and frozen layers."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from inspect import unwrap
from types import MethodType
from typing import Any, Literal, TypeVar

import torch
from torch import nn

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)

OptimizerName = Literal["sgd", "adam", "adamw"]


def make_optimizer(
    network: nn.Module,
    name: OptimizerName,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    rate: Callable[[str], float] = lambda parameter: 1.0,
) -> torch.optim.Optimizer:
    """Return an optimizer of all parameters, including frozen ones; it is fused where the device supports it.

    Weights of convolutions and matrices decay. Biases and the scales of batch norm do not, as in darknet, whose
    update_convolutional_layer adds the decay to weight_updates only. So there are two groups; the first has the decay.

    The effect of the decay depends on the optimizer:
    `sgd`: decay · w is added to the gradient. With momentum and darknet's numbers this is darknet's update.
    `adam`: the same, so Adam normalises it together with the gradient: weights with large gradients hardly decay.
    `adamw`: w shrinks by lr · decay per step, separately from Adam's update (Loshchilov and Hutter, arXiv:1711.05101).
    Common values are 0.01 to 0.05; for `sgd` darknet's value is 0.0005.

    Args:
        network: the network, on its device. After a move to another device it needs a new optimizer.
        name: the kind of optimizer.
        lr: the learning rate of all groups.
        momentum: the momentum of SGD, with dampening 0; beta 1 of Adam. Beta 2 is 0.999.
        weight_decay: the weight decay of the first group.
        rate: the learning rate of a parameter, by name, as a multiple of `lr`. Parameters with other multiples are in
            groups of their own, whose key `factor` is the multiple.

    Raises:
        ValueError: if a number is out of range.
    """
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay={weight_decay}: expected a number of at least 0")
    groups = []
    rates = {name: rate(name) for name, _ in network.named_parameters()}
    for factor in sorted(set(rates.values()), reverse=True):
        own = [p for name, p in network.named_parameters() if rates[name] == factor]
        groups += [
            {"params": [p for p in own if p.ndim > 1], "weight_decay": weight_decay, "factor": factor},
            {"params": [p for p in own if p.ndim <= 1], "weight_decay": 0.0, "factor": factor},
        ]
    fused = all(p.device.type in ("cpu", "cuda") for p in network.parameters()) or None
    if name == "sgd":
        optimizer = light(torch.optim.SGD)(groups, lr, momentum, fused=fused)
        # The fused one cannot take a step with parameters that were frozen in those before and have no buffer yet.
        for parameter in network.parameters() if momentum else ():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    return light(kind)(groups, lr, betas=(momentum, 0.999), fused=fused)


@cache
def light(kind: type[Kind]) -> type[Kind]:
    """Return a kind of optimizer that does not import torch.compile, which takes a second.

    PyTorch wraps these methods so that they are left out of a compiled step, and imports what compiles with the first
    call. Here a network is compiled, never a step. The methods within the wrappers do all the work, without gradients.
    """
    own: dict[str, Any] = {
        name: unwrap(getattr(kind, name)) for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    }
    return type(kind.__name__, (kind,), {**own, "step": torch.no_grad()(unwrap(kind.step))})


def freeze(network: nn.Module, spec: str) -> list[str]:
    """Freeze layers for the whole training. Returns the names of their parameters, in the order of the network.

    Frozen parameters get no gradients. A batch norm whose parameters are all frozen uses its running statistics and
    does not update them, even after `network.train()`. Copies of the network (`copy.deepcopy`) are frozen too. Convert
    to SyncBatchNorm before freezing, not after.

    Args:
        network: the network; it is changed in place.
        spec: parts separated by commas. A part is a section number of the cfg, `12`; a range with both ends, `0-73`
            (darknet-53 in yolov3.cfg); or a name with wildcards, such as `layers.12.*` or `*.bn.*`.

    Raises:
        ValueError: if a part matches nothing (the message lists what exists), or if nothing would be left to train.
    """
    # All parts are checked before anything changes.
    parameters = dict(network.named_parameters())
    frozen: set[str] = set()
    for part in (piece.strip() for piece in spec.split(",")):
        found = {name for name in parameters if _matches(name, part)}
        if not found:
            raise ValueError(f"freeze {part!r} matches nothing; {_existing(list(parameters))}")
        frozen |= found
    if all(name in frozen or not p.requires_grad for name, p in parameters.items()):
        raise ValueError(f"freeze {spec!r} leaves nothing to train; {_existing(list(parameters))}")
    for name in frozen:
        parameters[name].requires_grad_(False).grad = None
    # Without this, batch norm would still update its statistics in training mode.
    for module in network.modules():
        trained = {p.requires_grad for p in module.parameters()}
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and trained == {False}:
            module.train = MethodType(_stay_in_evaluation, module)  # type: ignore[method-assign]
            module.eval()
    return [name for name in parameters if name in frozen]


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:
    """Replace `train` of a frozen batch norm: it stays in evaluation mode."""
    return nn.Module.train(module, False)


def _matches(name: str, part: str) -> bool:
    """Return whether a parameter belongs to a part of the spec: a section number, a range of numbers, or a pattern."""
    numbers = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part)
    if not numbers:
        return fnmatchcase(name, part)
    layer = _layer(name)
    return layer is not None and int(numbers[1]) <= layer <= int(numbers[2] or numbers[1])


def _layer(name: str) -> int | None:
    """Return the section number of a parameter, None where modules are not numbered like `layers.12`."""
    match = re.match(r"layers\.([0-9]+)\.", name)
    return int(match[1]) if match else None


def _existing(names: list[str]) -> str:
    """Return layer numbers and parameter names as text for error messages."""
    layers = [layer for layer in map(_layer, names) if layer is not None]
    numbers = f"layers {min(layers)} to {max(layers)} have parameters, " if layers else ""
    return f"{numbers}names are {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"
