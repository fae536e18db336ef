"""Training with `--placement`: the pixels, the numbers and the files of letterboxed and stretched images agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import yolo
from tests.support.train_problems import options_of, same_run, shapes, tiny_cfg, words
from yolo.__main__ import main
from yolo.darknet.cfg import read_cfg
from yolo.data.datasets import open_data
from yolo.data.order import Draw
from yolo.data.transforms import Augmented
from yolo.images.placement import Placement
from yolo.options.augment import PLAIN
from yolo.options.detection import Filter
from yolo.training.run_folder import read_metrics

LOW = Filter(confidence=0.001)
"""A threshold that a barely trained network reaches."""


class Place(NamedTuple):
    """Images of several proportions, a cfg, and a run on stretched images; tests only read them."""

    data: Path
    cfg: Path
    run: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run with augmentation, whose input is not square."""
    folder = tmp_path_factory.mktemp("stretch")
    data, cfg, run = shapes(folder), tiny_cfg(folder), folder / "run"
    assert main(["train", *words(data, cfg, "--out", run, "--size", "96x64", "--placement", "stretch")]) == 0
    return Place(data, cfg, run)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths are in the test's own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("letterbox", [True, False])
def test_samples_without_augmentation_are_what_detection_sees(letterbox: bool, place: Place) -> None:
    """The same pixels, and the boxes where detection would return them from."""
    data = open_data(place.data, split="train")
    model = yolo.load(place.cfg, device="cpu", size=(64, 96), letterbox=letterbox)
    seen = Augmented(data, PLAIN, letterbox=letterbox)
    for k in range(len(data)):
        pixels, placement = model.prepare(data.path(k))
        image, target = seen[Draw(0, k, model.size)]
        assert torch.equal(image.as_subclass(torch.Tensor), pixels)
        boxes = placement.to_image(target["boxes"].as_subclass(torch.Tensor))
        assert boxes.allclose(data[k][1]["boxes"].as_subclass(torch.Tensor), atol=1e-3)
        assert placement == Placement.of(data.index.size(k), model.size, letterbox=letterbox)


def test_the_numbers_of_a_stretched_training_are_those_of_eval(place: Place) -> None:
    """The file of the run says how its images are placed, and `eval` follows it, to the digit."""
    assert main(["eval", "--weights", str(place.run), "--device", "cpu", "--out", "e"]) == 0
    found = json.loads(Path("e/metrics.json").read_text())
    best = max(read_metrics(place.run), key=lambda row: row["AP"])
    compared = [name for name in best if name.startswith("A")]
    assert len(compared) == 12
    assert best["AR100"] > 0
    assert {name: found[name] for name in compared} == {name: best[name] for name in compared}
    assert main(["eval", "--weights", str(place.run), "--placement", "letterbox", "--out", "other"]) == 0
    assert json.loads(Path("other/metrics.json").read_text())["AR100"] != found["AR100"]
    boxed = words(place.data, place.cfg, "--out", "boxed", "--size", "96x64", "--epochs", "1", "--no-check")
    assert main(["train", *boxed]) == 0
    assert read_metrics(Path("boxed"))[0]["train/loss"] != read_metrics(place.run)[0]["train/loss"]
    assert yolo.load("boxed/best.safetensors", device="cpu").letterbox


def test_detections_are_equal_after_the_way_back_to_darknet(place: Place) -> None:
    """`convert RUN out.weights` writes a cfg without `letter_box=1`, so the images are stretched there as well."""
    assert main(["convert", str(place.run), "out.weights"]) == 0
    assert read_cfg("out.cfg").net.letter_box == 0
    ours = yolo.load(place.run / "best.safetensors", device="cpu")
    back = yolo.load("out.cfg", "out.weights", "out.names", device="cpu")
    assert ours.letterbox is back.letterbox is False
    for path in (place.data / "images" / "val").iterdir():
        one, other = ours.detect(path, LOW), back.detect(path, LOW)
        assert len(one) > 0
        assert one.boxes.equal(other.boxes)
        assert one.scores.equal(other.scores)
        assert one.labels.equal(other.labels)


def test_a_stretched_training_is_resumed_and_cached_the_same(place: Place) -> None:
    """The placement is an option of the run: a resume needs no word, and the cache changes no pixel."""
    assert 'placement: "stretch"' in options_of(place.run)
    given = words(place.data, place.cfg, "--size", "96x64", "--placement", "stretch", "--plain", "--no-check")
    assert main(["train", *given, "--out", "whole"]) == 0
    assert main(["train", *given, "--out", "part", "--epochs", "1"]) == 0
    assert main(["train", "--resume", "part", "--epochs", "2"]) == 0
    assert same_run(Path("whole"), Path("part")) == ""
    assert main(["train", *given, "--out", "cached", "--cache", "ram"]) == 0
    assert [row["val/loss"] for row in read_metrics(Path("cached"))] == pytest.approx(
        [row["val/loss"] for row in read_metrics(Path("whole"))], rel=1e-5
    )
