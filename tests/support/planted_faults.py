"""Faults to plant in a small run: in its data, in its options, in its network, in the code of its model.

Every fault is a function that changes a `Setup`, or makes one from what is to be changed.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.support.exports import LAYOUTS
from tests.support.preflight_problems import change
from yolo.boxes import Detections
from yolo.data.sample import make_target
from yolo.images.placement import Placement
from yolo.localize.heads import LocalizationNet
from yolo.models.detector import Detector, Losses
from yolo.models.faster_rcnn import FasterRcnnDetector
from yolo.models.largest import LargestDetector
from yolo.models.localizer import LocalizerDetector
from yolo.models.single import SimpleObjectDetector
from yolo.models.yolo import YoloDetector
from yolo.training.assemble import Parts

KINDS: Mapping[str, type[Detector]] = {
    "yolo": YoloDetector,
    "simple": SimpleObjectDetector,
    "localizer": LocalizerDetector,
    "largest": LargestDetector,
    "faster-rcnn": FasterRcnnDetector,
}
"""The class of each model."""


@dataclass
class Setup:
    """A run that is not made yet: `data` is a copy of its own, `later` is applied to its parts."""

    model: str
    data: Path
    words: list[str]
    patch: pytest.MonkeyPatch
    later: list[Callable[[Parts], object]] = field(default_factory=list)

    def wrap(self, place: Any, name: str, fault: Callable[..., Any]) -> None:
        """Replace a function by `fault(usual, *arguments)`."""
        usual = getattr(place, name)

        def planted(*given: Any) -> Any:  # a function and no partial, so that it can be a method
            return fault(usual, *given)

        self.patch.setattr(place, name, planted)


Fault = Callable[[Setup], object]
Content = dict[str, Any]
Box = list[float]


# ---- in the data


def edited(edit: Callable[[Content], object], *splits: str) -> Fault:
    """Return a fault that edits the annotations, by default those of the training images."""

    def plant(s: Setup) -> None:
        for split in splits or ("train",):
            change(s.data, edit, split)

    return plant


def boxes(edit: Callable[[Box], Box], count: int | None = 1) -> Callable[[Content], None]:
    """Return an edit of the first boxes x, y, w, h; None is all."""

    def change_boxes(content: Content) -> None:
        for one in content["annotations"][:count]:
            one["bbox"] = edit(one["bbox"])

    return change_boxes


def added(*own: Box) -> Callable[[Content], None]:
    """Return an edit that adds objects of the first class to every image: x, y, w, h in parts of its sides."""

    def add(content: Content) -> None:
        for image in content["images"]:
            for parts in own:
                box = [part * image[side] for part, side in zip(parts, ("width", "height") * 2, strict=True)]
                one = {"id": 10**6 + len(content["annotations"]), "image_id": image["id"], "bbox": box}
                content["annotations"].append({**content["annotations"][0], **one, "area": box[2] * box[3]})

    return add


def without(k: int) -> Callable[[Content], None]:
    """Return an edit that deletes all objects of a class."""

    def forget(content: Content) -> None:
        gone = content["categories"][k]["id"]
        content["annotations"] = [one for one in content["annotations"] if one["category_id"] != gone]

    return forget


def repeat(content: Content) -> None:
    """Write the first object again."""
    content["annotations"].append({**content["annotations"][0], "id": 10**6})


def name_background(content: Content) -> None:
    """Call the first class background."""
    content["categories"][0]["name"] = "background"


def pixels_in_text(s: Setup) -> None:
    """Write pixels into a label file of YOLO's format, where fractions are due."""
    s.data = s.data.with_name("text")
    LAYOUTS["ultralytics"].write(s.data)
    next((s.data / "labels" / "train").iterdir()).write_text("1 17 23 26 34\n")
    s.words += ["--target", "bolt"] if s.model == "localizer" else []


def leak(s: Setup) -> None:
    """Put a training image among those of validation."""
    train, val = (min((s.data / "images" / split).iterdir()) for split in ("train", "val"))
    shutil.copy(train, val)


# ---- in the options and the machine


def options(words: Mapping[str, str]) -> Fault:
    """Return a fault that adds words to the command line, by model."""
    return lambda s: s.words.extend(words[s.model].split())


def small_anchors(s: Setup) -> None:
    """Give YOLO a cfg with anchors of a pixel, so that every object is more than three times as large."""
    place = s.words.index("--cfg") + 1
    cfg, text = s.data / "small.cfg", Path(s.words[place]).read_text()
    cfg.write_text(text.replace("6,6, 10,10, 16,16, 22,22, 32,32, 50,50", ", ".join(["1,1"] * 6)))
    s.words[place] = str(cfg)


def full_disk(s: Setup) -> None:
    """Leave a thousand bytes on the disk."""
    s.patch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))


def out_of_memory(s: Setup) -> None:
    """Let memory run out in every step."""
    problem = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    s.patch.setattr(KINDS[s.model], "losses", Mock(side_effect=problem))


# ---- in the network and in what training sees


def pixels_only(s: Setup) -> None:
    """Mirror the pixels of every second image, and no boxes."""

    def mirror(image: Any, target: Any) -> tuple[Any, Any]:
        return (image.flip(-1) if torch.rand(()) < 0.5 else image), target

    s.later.append(lambda parts: setattr(parts.seen, "transform", mirror))


def fewer_names(s: Setup) -> None:
    """Forget the last class of the model."""
    s.later.append(lambda parts: setattr(parts.detector, "names", parts.detector.names[:-1]))


def detached(layers: Mapping[str, str]) -> Fault:
    """Return a fault that stops the gradient at the output of a layer, by model."""

    def plant(s: Setup, parts: Parts) -> None:
        layer: Any = parts.detector.network.get_submodule(layers[s.model])
        layer.register_forward_hook(lambda module, inputs, output: output.detach())

    return lambda s: s.later.append(partial(plant, s))


def restless(s: Setup) -> None:
    """Let batch norm begin far from its batches and hardly look at them."""

    def plant(parts: Parts) -> None:
        for norm in (module for module in parts.detector.network.modules() if isinstance(module, _BatchNorm)):
            norm.momentum = 1e-6
            nn.init.normal_(norm.get_buffer("running_mean"), std=1.0)
            nn.init.constant_(norm.get_buffer("running_var"), 1e-8)

    s.later.append(plant)


def sure_of_objects(s: Setup) -> None:
    """Let every anchor of Faster R-CNN begin with an object."""
    name = "rpn.head.cls_logits.bias"
    s.later.append(lambda parts: nn.init.constant_(parts.detector.network.get_parameter(name), 4.0))


# ---- in the code of the model


def thawed(words: Mapping[str, str]) -> Fault:
    """Return a fault that freezes layers by options, by model, and trains them all the same."""

    def thaw(detector: Detector, epoch: int) -> None:
        for name, parameter in detector.network.named_parameters():
            parameter.requires_grad_(detector.model != "localizer" or name.startswith("head."))

    def plant(s: Setup) -> None:
        options(words)(s)
        s.patch.setattr(KINDS[s.model], "begin_epoch", thaw)

    return plant


def selected(edit: Callable[[Detections], Detections]) -> Fault:
    """Return a fault that changes all detections."""
    return lambda s: s.wrap(KINDS[s.model], "select", lambda usual, *given: [edit(one) for one in usual(*given)])


def placed_otherwise(s: Setup) -> None:
    """Return the place of a letterboxed image for a stretched one, and the other way round."""

    def prepare(usual: Any, self: Detector, image: Any) -> tuple[Tensor, Placement]:
        pixels, place = usual(self, image)
        return pixels, Placement.of(place.image, place.input, letterbox=not self.letterbox)

    s.wrap(KINDS[s.model], "prepare", prepare)


def targets(edit: Callable[[Any, Detector], Any]) -> Fault:
    """Return a fault that changes each target before the loss."""

    def losses(usual: Any, self: Detector, images: Tensor, given: Sequence[Any], through: Any = None) -> Any:
        return usual(self, images, [edit(target, self) for target in given], through)

    return lambda s: s.wrap(KINDS[s.model], "losses", losses)


def empty(target: Any, detector: Detector) -> Any:
    """Return a target without objects."""
    return _target(target, *(target[key][:0] for key in ("boxes", "labels", "iscrowd", "area")))


def other(target: Any, detector: Detector) -> Any:
    """Return a target with random boxes and classes, other ones in each call."""
    h, w = target["size"]
    corners = torch.rand(len(target["labels"]), 2, 2).sort(1).values * torch.tensor([w, h])
    labels = torch.randint(len(detector.names), target["labels"].shape)
    return _target(target, corners.flatten(1), labels, target["iscrowd"], target["area"])


def _target(old: Any, corners: Tensor, labels: Tensor, crowd: Tensor, area: Tensor) -> Any:
    return make_target(corners, labels, old["image_id"], crowd, area, old["size"])


def larger_loss(s: Setup) -> None:
    """Multiply the loss by a thousand."""

    def losses(usual: Any, *given: Any) -> Losses:
        terms, counts, _ = usual(*given)
        return Losses({name: 1000 * value for name, value in terms.items()}, counts)

    s.wrap(KINDS[s.model], "losses", losses)


def unshifted(s: Setup) -> None:
    """Forget that torchvision's label 0 is the background."""

    def labels(usual: Any, *given: Any) -> Any:
        found, flat = usual(*given)
        return [{**one, "labels": one["labels"] - 1} for one in found], flat

    for module in ("yolo.models.faster_rcnn", "yolo.rcnn.perfect"):
        s.wrap(importlib.import_module(module), "to_torchvision", labels)


def forgets_eval(s: Setup) -> None:
    """Detect in the mode in which the network is."""

    def predict(usual: Any, self: Detector, images: Tensor) -> Any:
        if s.model == "yolo":  # detects with a copy of the network, which is always in evaluation mode
            with torch.no_grad():
                return self.network(images / 255)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.network, "eval", lambda: self.network)
            return usual(self, images)

    s.words += ["--dropout", "0.5"] if s.model == "simple" else []
    s.wrap(KINDS[s.model], "predict", predict)


def answers(edit: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Fault:
    """Return a fault that changes labels and boxes of the answers that a model of one object should give."""

    def plant(s: Setup) -> None:
        for module in ("yolo.models.single", "yolo.models.localizer"):
            s.wrap(importlib.import_module(module), "answers_due", lambda usual, given: edit(*usual(given)))

    return plant


def outputs(edit: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Fault:
    """Return a fault that changes logits and boxes of a localizer's head."""
    return lambda s: s.wrap(LocalizationNet, "forward", lambda usual, *given: edit(*usual(*given)))
