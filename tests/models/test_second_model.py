"""A second model in every command, in one process: it needs only its own file and `register_model`."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import yolo
from tests.support import mean_box
from tests.support.train_problems import checkpoint, difference, numbers, shapes
from yolo.__main__ import main
from yolo.data.datasets import ImageDataset
from yolo.data.loader import Batch
from yolo.data.order import Draw, InOrder, Order
from yolo.data.sample import Target
from yolo.data.transforms import Augmented
from yolo.models.detector import Losses
from yolo.options.detection import Filter
from yolo.options.presets import read_options
from yolo.options.registry import MODELS, register_model
from yolo.options.training import Training
from yolo.size import Size
from yolo.training.engine import Trainer

WORDS = ["--model", "mean-box", "--epochs", "3", "--batch-size", "4", "--workers", "0", "--device", "cpu"]
WORDS += ["--schedule", "constant", "--lr", "0.05", "--warmup-steps", "0", "--side", "0.9"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write a small data set into a folder of its own, and register the model."""
    monkeypatch.chdir(tmp_path)
    mean_box.register()
    yield shapes(tmp_path)
    del MODELS["mean-box"]


def train(data: Path, out: str, *more: str) -> int:
    """Return the exit status of a training."""
    return main(["train", *WORDS, "--data", str(data), "--out", out, *more])


def test_the_whole_trip(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The model is trained, interrupted, resumed bit by bit, saved, loaded and evaluated, and detects."""
    # Trained: the box has changed, and the model's own terms and metrics are logged.
    assert train(data, "whole") == 0
    rows = numbers(Path("whole"))
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert {"train/box", "train/cls", "val/loss", "val/box", "AP", "mean_side", "train/labels"} <= rows[-1].keys()
    assert rows[-1]["mean_side"] < 0.9 - 0.05
    assert rows[-1]["val/loss"] < rows[0]["val/loss"]
    assert "mean_side 0." in capsys.readouterr().out

    # Interrupted in the second epoch and resumed: the same numbers and the same weights, bit by bit.
    step = Trainer._step

    def stopping(trainer: Trainer, batches: list[Batch]) -> None:
        step(trainer, batches)
        if trainer.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stopping)
        assert train(data, "parts") == 130
    assert main(["train", "--resume", "parts"]) == 0
    assert difference(numbers(Path("whole")), numbers(Path("parts"))) == ""
    one, other = (yolo.load(f"{run}/best.safetensors", device="cpu") for run in ("whole", "parts"))
    assert difference(one.network.state_dict(), other.network.state_dict()) == ""

    # Loaded from the file alone: the registered model, its names and its input.
    assert isinstance(one, mean_box.MeanBoxDetector)
    assert one.size == (64, 64)
    assert one.names[0] in {"disc", "ring", "square", "triangle", "cross", "star"}
    assert isinstance(read_options(Path("whole/options.yaml")), mean_box.MeanBoxOptions)

    # Evaluated: the metrics of the best epoch, in a line of their own and in metrics.json.
    best = max(rows, key=lambda row: row["AP"])
    capsys.readouterr()
    words = ["--data", str(data), "--split", "val", "--device", "cpu", "--out", "e"]
    assert main(["eval", "--weights", "whole", *words]) == 0
    assert f"mean_side     {best['mean_side']:9.4f}" in capsys.readouterr().out.splitlines()
    written = json.loads(Path("e/metrics.json").read_text())
    assert written["own"] == {"mean_side": pytest.approx(best["mean_side"], rel=1e-6)}
    assert written["AP"] == pytest.approx(best["AP"], rel=1e-6)
    assert "mean_side" not in written["conditions"]

    # Used for detection: one box in an image, which is drawn.
    image = str(next((data / "images" / "val").iterdir()))
    assert main(["detect", image, "--weights", "whole", "--confidence", "0.01", "--device", "cpu", "--out", "d"]) == 0
    assert "1 object" in capsys.readouterr().out
    assert [path.suffix for path in Path("d").iterdir() if path.suffix] == [".jpg"]
    assert len(one.detect(image, Filter(confidence=0.01))) == 1
    assert len(one.detect(image, Filter(confidence=1.0))) == 0


def test_options_of_another_model(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An option of YOLO is an error for this model, and vice versa; a misspelled model gets a hint."""
    with pytest.raises(SystemExit):
        train(data, "out", "--bbox-loss", "giou")
    assert "bbox-loss" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--data", str(data), "--side", "0.5"])
    assert "side" in capsys.readouterr().err
    assert main(["train", "--model", "meanbox"]) == 1
    assert "did you mean mean-box?" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_file_names_only_registered_models(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file whose model is not registered is an error, and so is a run; a name can be registered only once."""
    assert train(data, "run", "--epochs", "1") == 0
    kept = MODELS.pop("mean-box")
    try:
        with pytest.raises(ValueError, match=r"best\.safetensors: a file of model 'mean-box': expected one of yolo"):
            yolo.load("run/best.safetensors", device="cpu")
        assert main(["train", "--resume", "run"]) == 1
        assert "options.yaml: model 'mean-box': expected one of yolo" in capsys.readouterr().err
    finally:
        MODELS["mean-box"] = kept
    with pytest.raises(ValueError, match="registered already"):
        register_model("yolo", mean_box.build, mean_box.MeanBoxOptions)


def test_commands_for_yolo_only(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands for darknet's networks end with an error that names the file."""
    assert train(data, "run", "--epochs", "1") == 0
    assert main(["explain", "--image-id", "1", "--data", str(data), "--split", "val", "--weights", "run"]) == 1
    assert "holds a mean-box; explain is for YOLO" in capsys.readouterr().err
    assert main(["convert", "run/best.safetensors", "x.weights"]) == 1
    assert "run/best.safetensors: not a Darknet network" in capsys.readouterr().err
    assert main(["detect", "x.jpg", "--weights", "run", "--exact"]) == 1
    assert torch.is_tensor(yolo.load("run/best.safetensors", device="cpu").network.state_dict()["box"])


class Means:
    """Samples that are not images: the mean colour, float32 `[3]`."""

    def __init__(self, seen: Augmented) -> None:
        self.seen = seen

    def __getitem__(self, draw: Draw) -> tuple[torch.Tensor, Target]:
        image, target = self.seen[draw]
        return image.as_subclass(torch.Tensor).float().mean((1, 2)), target


class FirstHalf(InOrder):
    """The first half of the images, in their order."""

    def __len__(self) -> int:
        return self.images // 2

    def __call__(self, _epoch: int, /) -> np.ndarray:
        return np.arange(len(self))


class MeansDetector(mean_box.MeanBoxDetector):
    """A mean box with an order of images and samples of its own."""

    model = "means"
    seen: ClassVar[list[tuple[torch.Size, torch.dtype]]] = []

    def order(self, data: ImageDataset, options: Training) -> Order:
        return FirstHalf(len(data), "first half")

    def samples(self, seen: Augmented) -> Means:
        return Means(seen)

    def losses(self, images: torch.Tensor, targets: Sequence[Target], through: nn.Module | None = None) -> Losses:
        self.seen.append((images.shape, images.dtype))
        drawn = images.new_zeros(len(images), 3, 64, 64)  # only the size of the input matters to the loss
        return super().losses(drawn, targets, through)


def build_means(options: mean_box.MeanBoxOptions, names: list[str]) -> MeansDetector:
    """The detector above."""
    return MeansDetector(mean_box.MeanBoxNetwork(len(names), options.side), names, Size(64, 64))


def test_an_order_and_samples_of_its_own(data: Path) -> None:
    """Six of twelve images in batches of four, as float vectors, in training; all six of val in the evaluation."""
    register_model("means", build_means, mean_box.MeanBoxOptions)
    try:
        assert train(data, "run", "--model", "means", "--epochs", "2") == 0
    finally:
        del MODELS["means"]
    train_epoch, val = [(4, 3), (2, 3)], [(6, 3)]
    assert [tuple(shape) for shape, _ in MeansDetector.seen] == [*train_epoch, *val, *train_epoch, *val]
    assert {dtype for _, dtype in MeansDetector.seen} == {torch.float32}
    assert checkpoint(Path("run"))["loader"]["order"] == "first half"
