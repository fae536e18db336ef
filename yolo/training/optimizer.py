"""What training changes and how: the optimizer, its weight decay, layers that stand still."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from types import MethodType
from typing import Literal

import torch
from torch import nn

OptimizerName = Literal["sgd", "adam", "adamw"]


def make_optimizer(
    network: nn.Module, name: OptimizerName, lr: float, momentum: float = 0.9, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """An optimizer of all parameters, frozen ones included, as one fused kernel where the device has it.

    Weights of convolutions and matrices decay; biases and the scales of batch norm do not, as in darknet (its
    update_convolutional_layer adds the decay to weight_updates only). So there are two groups, the first with decay.

    What the decay does depends on the optimizer:
    `sgd`: decay · w is added to the gradient. With momentum and darknet's numbers this is darknet's update.
    `adam`: the same, so it goes through Adam's normalisation too: weights with large gradients hardly decay.
    `adamw`: w shrinks by lr · decay per step beside Adam's update (Loshchilov and Hutter, arXiv:1711.05101); numbers
    in use are 0.01 to 0.05, where `sgd` has darknet's 0.0005.

    Args:
        network: on its device; another one needs another optimizer.
        name: which one.
        lr: learning rate of all groups.
        momentum: of SGD, dampening 0; Adam's beta 1. Adam's beta 2 is 0.999.
        weight_decay: of the first group.

    Raises:
        ValueError: for numbers out of range.
    """
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay={weight_decay}: expected a number of at least 0")
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = all(p.device.type in ("cpu", "cuda") for p in network.parameters()) or None
    if name == "sgd":
        return torch.optim.SGD(groups, lr, momentum, fused=fused)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    return kind(groups, lr, betas=(momentum, 0.999), fused=fused)


def freeze(network: nn.Module, spec: str) -> list[str]:
    """Stops the training of layers for good; returns the names of their parameters.

    They get no gradients any more. A batch norm that is frozen whole computes with its running statistics, which stand
    still, whatever `network.train()` says later. Copies of the network (`copy.deepcopy`) are frozen as well. Convert
    to SyncBatchNorm before, not after.

    Args:
        network: is changed in place.
        spec: parts separated by commas. A part is a section number of the cfg, `12`; a range with both ends, `0-73`
            (darknet-53 in yolov3.cfg); or a name with wildcards, such as `layers.12.*` or `*.bn.*`.

    Raises:
        ValueError: a part that matches nothing, with what there is; a spec that leaves nothing to train.
    """
    parameters = dict(network.named_parameters())
    frozen: set[str] = set()
    for part in (piece.strip() for piece in spec.split(",")):
        found = {name for name in parameters if _matches(name, part)}
        if not found:
            raise ValueError(f"freeze {part!r} matches nothing; {_what_there_is(parameters)}")
        frozen |= found
    if all(name in frozen or not p.requires_grad for name, p in parameters.items()):
        raise ValueError(f"freeze {spec!r} leaves nothing to train; {_what_there_is(parameters)}")
    for name in frozen:
        parameters[name].requires_grad_(False).grad = None
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            own = list(module.parameters())
            if own and not any(p.requires_grad for p in own):
                module.train = MethodType(_stay_in_evaluation, module)  # type: ignore[method-assign]
                module.eval()
    return [name for name in parameters if name in frozen]


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:
    """Takes the place of `train` in a frozen batch norm."""
    return nn.Module.train(module, False)


def _matches(name: str, part: str) -> bool:
    """Whether a parameter belongs to a part of the spec: section number, range of them, or pattern."""
    numbers = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part)
    if not numbers:
        return fnmatchcase(name, part)
    layer = _layer(name)
    return layer is not None and int(numbers[1]) <= layer <= int(numbers[2] or numbers[1])


def _layer(name: str) -> int | None:
    """The section that a parameter belongs to, None where modules are not numbered so."""
    match = re.match(r"layers\.([0-9]+)\.", name)
    return int(match[1]) if match else None


def _what_there_is(names: Iterable[str]) -> str:
    """Numbers and names, for messages."""
    names = list(names)
    layers = [layer for layer in map(_layer, names) if layer is not None]
    numbers = f"layers {min(layers)} to {max(layers)} have parameters, " if layers else ""
    return f"{numbers}names are {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"
