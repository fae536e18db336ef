"""Options -> the Detector to train."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from yolo.darknet.cfg import Cfg, parse_cfg, read_cfg, with_classes
from yolo.darknet.layers import ConvBlock
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import json_in, read_metadata, size_in
from yolo.darknet.sections import Region, Yolo
from yolo.darknet.transfer import transfer
from yolo.download.weights import located, published
from yolo.models.by_cfg import CfgDetector, by_cfg, recipe_for
from yolo.models.detector import Detector
from yolo.models.weights_of import file_of, weights_of
from yolo.models.yolo import YoloDetector
from yolo.options.registry import find_model, resolve
from yolo.options.train import Train
from yolo.options.training import Training
from yolo.process.distributed import print_once
from yolo.recipe.cpu_build import CpuBuild
from yolo.size import Size

DEFAULT = Path("toy.cfg")
"""The network of a run for which neither a cfg nor weights with one were given."""

T = TypeVar("T", bound=Training)


def build_detector(options: Training, names: list[str], device: torch.device) -> Detector:
    """Return the detector to train, with the data's class `names`: the registered model with its options, on `device`.

    It has initial weights, or those of `options.weights`. Raises ValueError for weights that do not fit.
    """
    model = find_model(options.model)
    detector: Detector = resolve(model.builder)(options, names)
    network = detector.network.to(device)
    if options.channels_last:
        network = network.to(memory_format=torch.channels_last)
    # A model that does not restore its own files is built again from its options.
    made = {} if model.restore else {"options": options}
    return detector.replace(network=network, letterbox=options.placement == "letterbox", **made)


def cfg_of(options: Train, *, quiet: bool = False) -> Cfg:
    """Return the cfg of a YOLO: the one that is given, that of the weights, or the smallest one.

    Remarks on a file are logged unless `quiet`.
    """
    own = _metadata(options.weights).get("cfg")
    if options.cfg is None and own is not None:
        return parse_cfg(own, f"{options.weights}, its cfg")
    return read_cfg(options.cfg or DEFAULT, quiet=quiet)


def build_yolo(options: Train, names: list[str]) -> YoloDetector:
    """Return a YOLO: the network of the cfg with the data's number of classes."""
    cfg = cfg_of(options)
    before = {layer.classes for layer in cfg.layers if isinstance(layer, (Yolo, Region))}
    cfg = with_classes(cfg, len(names))
    if before != {len(names)}:
        old = ", ".join(map(str, sorted(before)))
        print_once(f"{cfg.file}: {len(names)} classes as in the data, in place of {old}")
    # The weights: initial ones, then those of the file where they fit.
    kind = CpuBuild if options.recipe == "cfg" and options.darknet_build == "cpu" else Darknet
    network, seen = kind(cfg, init=options.init), 0
    fresh = frozenset(range(len(network.layers)))
    if options.weights is not None:
        table, fresh, seen = transfer(network, located(options.weights), names)
        seen = 0 if options.clear else seen
        print_once(table)
        if options.recipe == "cfg" and not seen:
            print_once("training begins at iteration 0; a complete .weights file says how many images it has seen")
    if options.recipe == "cfg":
        return CfgDetector(network, names, recipe_for(cfg, options.seed, seen))
    if options.obj_bias is not None:
        set_objectness_bias(network, options.obj_bias, fresh)
    size = Size.parse(options.size) if options.size else network.size
    return YoloDetector(network, names, size=size, loss=options.loss)


def started_from(options: T) -> T:
    """Return the options of a new run with the file of its weights, their cfg, and the input if these decide it.

    With the recipe cfg they have what the cfg says, too. The name of a published file stays a name. Raises as
    `weights_of` and `by_cfg`, and ValueError for options that only the recipe cfg reads.
    """
    if isinstance(options, Train) and options.recipe == "ours" and (options.clear or options.darknet_build != "gpu"):
        raise ValueError("clear, darknet_build: without effect unless darknet's recipe is followed; add --recipe cfg")
    if options.weights is not None:
        options = replace(options, **_from_weights(options, options.weights))
    if isinstance(options, Train) and options.recipe == "cfg":
        return by_cfg(options, cfg_of(options, quiet=True))
    return options


def _from_weights(options: Training, weights: Path) -> dict[str, Any]:
    """Return the options that follow from the weights to start from."""
    made: dict[str, Any] = {"weights": weights if published(weights) else file_of(weights, "train")}
    # A darknet file does not say what network it belongs to; its cfg may lie beside it.
    if isinstance(options, Train) and options.cfg is None:
        own = weights_of(weights, names=(), use="train").cfg
        made |= {"cfg": Path(own.file)} if own else {}
    found = _metadata(made["weights"])
    # The input belongs to the network: with another cfg it is that cfg's.
    recipe = getattr(options, "recipe", "ours")
    if recipe == "ours" and options.size is None and getattr(options, "cfg", None) is None and "size" in found:
        made["size"] = str(size_in(made["weights"], found))
    return made


def names_of_weights(options: Training) -> list[str] | None:
    """Return the class names in the file that a new run takes its network from; None if there are none."""
    if getattr(options, "cfg", None) is not None:
        return None
    found = _metadata(options.weights)
    return json_in(options.weights or "", found, {"names": list})["names"] if "names" in found else None


def _metadata(weights: Path | None) -> dict[str, str]:
    """Return the metadata of a .safetensors file; of other files, {}."""
    return read_metadata(weights) if weights is not None and weights.suffix == ".safetensors" else {}


def set_objectness_bias(network: Darknet, bias: float, fresh: Collection[int]) -> None:
    """Set the bias of every slot's objectness, as a logit: -4.5 is a probability of 1 %.

    Only heads whose convolution is among the `fresh` sections of the cfg, those with initial weights, are changed.

    Nearly all slots contain no object. With a bias of 0, training first has to learn this, and its gradients drown
    those of the objects (Lin et al. 2017, §3.3).
    """
    for index, head in zip(network.cfg.heads, network.heads, strict=True):
        if index - 1 not in fresh:
            continue
        block = network.layers[index - 1]
        assert isinstance(block, ConvBlock)
        assert block.conv.bias is not None
        with torch.no_grad():
            block.conv.bias.view(len(head.anchors), -1)[:, 4] = bias
