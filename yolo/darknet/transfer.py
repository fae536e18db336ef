"""Weights of one network for another one with other classes: everything except the heads."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import check_types, read_tensors
from yolo.darknet.sound import check_sound
from yolo.darknet.weights import load_weights


class Transfer(NamedTuple):
    """The `table` of what was loaded, the sections of the cfg that have `initial` weights, and the images `seen`.

    `seen` is that of the header of a `.weights` file which fills the network, else 0.
    """

    table: str
    initial: frozenset[int]
    seen: int = 0


def transfer(network: Darknet, path: Path, names: Sequence[str]) -> Transfer:
    """Fill a network, built with initial weights, from a file of the same network.

    The convolution before a head keeps its initial weights if its shape differs (another number of classes), or if the
    file's class names are not `names` in this order. All other tensors must be in the file, with the same shape.

    Args:
        network: filled in place; nothing is changed when the file is one of another network.
        path: a darknet `.weights` file or backbone, or a `.safetensors` file of this program.
        names: class names of `network`.

    Raises ValueError for a file of another network; the message names the first tensor that does not fit. Also for
    weights of another type or that are not finite, and for negative variances.
    """
    if path.suffix != ".safetensors":
        report = load_weights(network, path, transfer=True)
        rows = (row for row in report.rows if row.fate != "loaded")
        initial = frozenset(layer for row in rows for layer in range(row.first, row.last + 1))
        return Transfer(str(report), initial, report.header.seen if report.complete else 0)
    tensors, metadata = read_tensors(path)
    same_classes = json.loads(metadata.get("names", "null")) == list(names)
    check_types(tensors, network, path)
    own = network.state_dict()
    before_heads = tuple(f"layers.{index - 1}." for index in network.cfg.heads)
    taken, left = {}, []
    for name, tensor in own.items():
        fits = name in tensors and tensors[name].shape == tensor.shape
        if name.startswith(before_heads) and not (fits and same_classes):
            left.append(name)
        elif fits:
            taken[name] = tensors[name]
        else:
            there = list(tensors[name].shape) if name in tensors else "nothing"
            raise ValueError(f"{path}: for {name} {list(tensor.shape)} it has {there}; it is of another network")
    if surplus := sorted(tensors.keys() - own.keys()):
        raise ValueError(f"{path}: it has {surplus[0]}, which the cfg does not; it is of another network")
    with torch.no_grad():
        for name, value in taken.items():
            own[name].copy_(value)
    check_sound(network, path)
    lines = [f"{path}: {len(taken)} of {len(own)} tensors loaded"]
    layers = {int(re.findall(r"[0-9]+", name)[0]) for name in left}
    if layers:
        lines.append(f"  layers {', '.join(map(str, sorted(layers)))} have initial weights: the classes differ")
    return Transfer("\n".join(lines), frozenset(layers))
