"""YOLO as its cfg trains it, `train --recipe cfg`: darknet's loss, batch norm, frozen layers and rates.

Letters: `B` images of a batch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from yolo.darknet.cfg import Cfg
from yolo.darknet.net import Net
from yolo.darknet.network import Darknet
from yolo.darknet.weights import Header
from yolo.detection.darknet_loss import darknet_loss
from yolo.detection.labels import pack_labels
from yolo.models.detector import Losses
from yolo.models.yolo import YoloDetector
from yolo.options.loss import LossOptions
from yolo.options.schedule import Schedule
from yolo.options.train import Train
from yolo.process.devices import to_device
from yolo.process.distributed import print_once
from yolo.recipe.cpu_build import CpuBuild
from yolo.recipe.recipe import Recipe
from yolo.recipe.said import check, remarks

if TYPE_CHECKING:
    from yolo.data.sample import Target

MOMENTUM = 0.01
"""Share of a mini-batch in the running statistics of batch norm, in darknet's GPU build."""

BUILDS = {
    "gpu": "trained as by darknet's GPU build; --darknet-build cpu repeats the CPU build to the digit, for comparisons",
    "cpu": "trained as by darknet's CPU build, for comparisons: its gradients have faults (docs/darknet-training.md)",
}
"""What is printed of the two builds."""

T = TypeVar("T", bound=Train)

KEYS = {
    "epochs": "max_batches",
    "batch_size": "batch and subdivisions",
    "accumulate": "subdivisions",
    "size": "width and height",
    "placement": "letter_box",
    "shuffle": "none: images are drawn with replacement",
    "optimizer": "none: it is SGD",
    "schedule": "learning_rate, policy, burn_in, ...",
    "weight_decay": "decay",
    "momentum": "momentum",
    "clip": "none: gradients are not clipped",
    "ema": "ema_alpha",
    "freeze": "stopbackward, dont_update, train_only_bn",
    "sync_bn": "none: each process has its own statistics",
    "plain": "jitter, resize, saturation, exposure, hue, flip, mosaic, ...",
    "augment": "jitter, resize, saturation, exposure, hue, flip, mosaic, ...",
    "init": "none: initial weights are darknet's",
    "loss": "the keys of its [yolo] sections",
    "obj_bias": "none: initial weights are darknet's",
}
"""The options that the cfg decides, each with the keys that say the same."""


class CfgDetector(YoloDetector):
    """A YOLO that is trained as its cfg says. What it saves is an ordinary YOLO."""

    terms = ("box", "obj", "cls")
    recipe: Recipe

    def __init__(self, network: Darknet, names: list[str], recipe: Recipe) -> None:
        self.cpu = isinstance(network, CpuBuild)
        for module in network.modules() if not self.cpu else ():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = MOMENTUM
        super().__init__(network, names, letterbox=bool(recipe.cfg.net.letter_box), loss=LossOptions(assign="prior"))
        self.recipe, self.step = recipe, recipe.first
        frozen = ("stopbackward", "dont_update", "train_only_bn")
        self._freezes = any(getattr(section, key) for section in network.cfg.layers for key in frozen)

    def losses(self, images: Tensor, targets: Sequence[Target], through: nn.Module | None = None) -> Losses:
        """Return the terms of `darknet_loss`; their sum is the loss that darknet prints for these images.

        The count `positives` is darknet's `count`. The means are those that it prints: IoU (`avg_iou`) and objectness
        (`avg_obj`) of positives, objectness of all predictions (`avg_no_obj`).
        """
        labels = to_device(pack_labels(targets, (images.shape[2], images.shape[3])), images.device)
        raw = (self.network if through is None else through)(images / 255)
        with torch.autocast(images.device.type, enabled=False):
            found = darknet_loss(raw, labels, self.network, normalize=not self.cpu)
        total = torch.full((), len(labels), device=images.device)
        counts = {"labels": total, "positives": found.printed["iou"][1].long()}
        means = {f"avg_{name}": mean for name, mean in found.printed.items()}
        return Losses({"box": found.box, "obj": found.obj, "cls": found.cls}, counts, means)

    def start_loss(self) -> dict[str, tuple[float, float]]:
        """Return nothing: darknet's loss at the start depends on too many keys."""
        return {}

    def rate(self, parameter: str) -> float:
        """Return the `learning_rate` of the parameter's section, a factor."""
        return self.network.cfg.layers[_layer(parameter)].learning_rate

    @property
    def freezes(self) -> bool:
        """Return whether a section of the cfg says so."""
        return self._freezes

    def begin_epoch(self, epoch: int) -> None:
        """Leave batch norm of frozen layers in evaluation mode."""
        for layer in self.network.layers[: self._frozen()]:
            layer.eval()

    def begin_step(self, step: int) -> None:
        """Decide which parameters the optimizer step `step`, from 1, trains."""
        self.step = step
        if not self.freezes:
            return
        network, frozen = self.network, self._frozen(step)
        for name, parameter in network.named_parameters():
            index = _layer(name)
            section = network.cfg.layers[index]
            fixed = (section.train_only_bn and ".conv." in name) or (self.cpu and name.endswith(".bn.bias"))
            parameter.requires_grad_(index >= frozen and not section.dont_update and not fixed)

    def _frozen(self, step: int = 2**31) -> int:
        """Return how many of the first layers `stopbackward` freezes in a step, from 1; by default: in all steps.

        1 freezes the layers before it for ever, a larger number before that iteration; in the CPU build both for ever.
        """
        stops = {k: layer.stopbackward for k, layer in enumerate(self.network.cfg.layers) if layer.stopbackward}
        return max((k for k, stop in stops.items() if stop == 1 or stop > step or self.cpu), default=0)

    def metadata(self) -> Mapping[str, str]:
        """Return darknet's header with the number of images seen."""
        return {**super().metadata(), "darknet_header": json.dumps(self.header)}

    @property
    def header(self) -> Header:
        """The header of a `.weights` file after the step that `begin_step` named."""
        return Header(seen=self.step * self.recipe.batch)


def _layer(parameter: str) -> int:
    """Return the section number of a parameter, 12 of `layers.12.conv.weight`."""
    return int(parameter.split(".")[1])


def recipe_for(cfg: Cfg, seed: int, seen: int) -> Recipe:
    """Return the recipe of a cfg for weights that have `seen` this number of images.

    Raises CfgError for a cfg that cannot be trained so, ValueError for weights whose training is complete.
    """
    check(cfg)
    recipe = Recipe(cfg, seed)
    first = seen // recipe.batch
    if first >= recipe.total:
        raise ValueError(
            f"the weights have seen {seen:,} images, {first:,} iterations of {recipe.batch}, and max_batches is "
            f"{recipe.total:,}: nothing is left to train; --clear begins at iteration 0"
        )
    if first:
        print_once(f"the weights have seen {seen:,} images: training continues after iteration {first:,}")
    return replace(recipe, first=first)


def by_cfg(options: T, cfg: Cfg) -> T:
    """Return the options of a training with the recipe cfg, with the values of the cfg in them.

    What the cfg would change in darknet and not here is printed. The learning rate follows the cfg itself; `schedule`
    is what comes nearest to it.

    Raises CfgError as `recipe_for`, and ValueError for options that the cfg decides, with the keys that say the same.
    """
    if options.cfg is None and options.weights is None:
        raise ValueError("recipe=cfg trains as a cfg says: give one with --cfg FILE")
    check(cfg)
    net, recipe = cfg.net, Recipe(cfg)
    made: dict[str, Any] = {
        "epochs": recipe.epochs,
        "batch_size": recipe.mini_batch,
        "accumulate": net.subdivisions,
        "placement": "letterbox" if net.letter_box else "stretch",
        "optimizer": "sgd",
        "schedule": _schedule(net),
        "weight_decay": net.decay,
        "momentum": net.momentum,
        "init": "uniform",
        "loss": LossOptions(assign="prior"),
    }
    plain = {field.name: getattr(Train(), field.name) for field in fields(Train)}
    given = {name: getattr(options, name) for name in KEYS}
    wrong = [name for name, value in given.items() if value not in (plain[name], made.get(name))]
    if wrong:
        lines = "\n".join(f"  {name}: {KEYS[name]}" for name in wrong)
        raise ValueError(f"with recipe=cfg the cfg decides these; change its keys, or leave them out:\n{lines}")
    made |= {"precision": "fp32"} if options.precision == "auto" else {}
    made |= {"early_metric": "AP50"} if options.early_metric == plain["early_metric"] else {}
    for remark in remarks(cfg):
        print_once(remark)
    print_once(BUILDS[options.darknet_build])
    return replace(options, **made)


def _schedule(net: Net) -> Schedule:
    """Return the schedule that comes nearest to that of a cfg: its rate and burn-in, and its steps if they ascend."""
    stairs = net.policy == "steps" and min(net.scales) > 0 and all(a < b for a, b in pairwise((0, *net.steps)))
    steps, scales = (net.steps, net.scales) if stairs else ((), ())
    return Schedule(schedule="darknet", lr=net.learning_rate, burn_in=max(0, net.burn_in), steps=steps, scales=scales)
