"""Parts of small runs to check, labels to change, and a network whose mode matters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tests.support.mean_box import MeanBoxDetector, MeanBoxOptions
from tests.support.train_problems import words
from yolo.models.build import started_from
from yolo.options.presets import parse_train
from yolo.options.registry import MODELS, register_model
from yolo.preflight.line import Line
from yolo.size import Size
from yolo.training.assemble import Parts, gather


def gathered(data: Path, cfg: Path, *more: object) -> Parts:
    """Return the parts of the tiny run on the CPU; see `train_problems.words`."""
    return gather(started_from(parse_train(words(data, cfg, *more))), torch.device("cpu"))


def change(data: Path, edit: Callable[[dict[str, Any]], object], split: str = "train") -> None:
    """Edit the content of a COCO file of the embedded set."""
    file = data / "annotations" / f"instances_{split}.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def said(lines: Iterable[Line]) -> list[tuple[str, str]]:
    """Return verdict and name of the lines that are not PASS."""
    return [(line.verdict, line.check) for line in lines if line.verdict != "PASS"]


class NormNetwork(nn.Module):
    """A convolution, batch norm and a mean: box `[B, 4]` and logits `[B, C]`."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 5, stride=4), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4 + classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box and the logits of every image uint8 `[B, 3, h, w]`."""
        found = self.head(self.norm(self.conv(images.float() / 255)).relu().mean((2, 3)))
        return found[:, :4].sigmoid(), found[:, 4:]


class NormDetector(MeanBoxDetector):
    """Detects with `NormNetwork`; `mode` is what it does about the network's mode."""

    model = "norm"
    mode: ClassVar[str] = "right"
    network: NormNetwork  # type: ignore[assignment]

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes and logits."""
        was_training = self.network.training
        if self.mode != "forgets":
            self.network.eval()
        with torch.inference_mode():
            found: tuple[Tensor, Tensor] = self.network(images)
        if self.mode != "stays":
            self.network.train(was_training)
        return found


@contextmanager
def norm_model(mode: str = "right", momentum: float = 0.1) -> Iterator[None]:
    """Register the model `norm` during the block, with this behaviour and this momentum of the batch norm."""

    class Own(NormDetector):
        pass

    Own.mode = mode

    def build(options: MeanBoxOptions, names: Sequence[str]) -> Own:
        network = NormNetwork(len(names))
        network.norm.momentum = momentum
        return Own(network, list(names), Size(64, 64))  # type: ignore[arg-type]

    register_model("norm", build, MeanBoxOptions)
    try:
        yield
    finally:
        del MODELS["norm"]
