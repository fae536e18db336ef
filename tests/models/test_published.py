"""Published models by name: one download, the shipped cfg, the names that belong to the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import yolo
from tests.support.load import load_yolo
from tests.support.server import serving
from yolo.__main__ import main
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.weights import save_weights
from yolo.download import weights as official
from yolo.models.build import build_yolo
from yolo.names import COCO
from yolo.options.train import Train


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serve made-up weights of yolov4-tiny in place of the published ones; return the requests."""
    folder = tmp_path / "server"
    folder.mkdir()
    torch.manual_seed(0)
    file = folder / "yolov4-tiny.weights"
    save_weights(Darknet(read_cfg("yolov4-tiny.cfg")), file)
    assert file.stat().st_size == official.WEIGHTS["yolov4-tiny"].size
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    with serving(folder) as server:
        there = replace(official.WEIGHTS["yolov4-tiny"], urls=(f"{server.url}/{file.name}",), checksum=checksum)
        monkeypatch.setitem(official.WEIGHTS, "yolov4-tiny", there)
        monkeypatch.setenv("EXACT_YOLOV3_CACHE", str(tmp_path / "cache"))
        monkeypatch.chdir(tmp_path)
        yield server.asked


def test_one_download_for_the_command_and_for_python(
    asked: list[str], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--weights yolov4-tiny` and `yolo.load("yolov4-tiny")` need no cfg and no names, and share the file."""
    cv2.imwrite("a.png", np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    assert main(["detect", "a.png", "--weights", "yolov4-tiny", "--size", "64", "--device", "cpu"]) == 0
    detector = load_yolo("yolov4-tiny", device="cpu")
    assert asked == ["/yolov4-tiny.weights"]
    assert detector.names == list(COCO)
    assert len(detector.network.layers) == 38
    assert "taken for COCO's" not in caplog.text + capsys.readouterr().err
    other = yolo.load("yolov4-tiny.cfg", "yolov4-tiny", names=list(map(str, range(80))), device="cpu")
    assert other.names[79] == "79"
    assert len(asked) == 1


def test_a_file_of_that_name_comes_first(asked: list[str]) -> None:
    """A path that exists is what it is; a near miss is named; a backbone is no model."""
    Path("yolov4-tiny").mkdir()
    with pytest.raises(FileNotFoundError, match=r"yolov4-tiny: no best.safetensors in it"):
        yolo.load("yolov4-tiny")
    with pytest.raises(ValueError, match=r"darknet53.conv.74: the first layers of a network, which detect nothing"):
        yolo.load("darknet53.conv.74")
    with pytest.raises(ValueError, match="detect nothing"):
        yolo.load("yolov3.cfg", "darknet53.conv.74")
    assert asked == []


def test_a_near_miss(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the most similar name."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.png", np.zeros((50, 70, 3), np.uint8))
    assert main(["detect", "a.png", "--weights", "yolov4-tny"]) == 1
    assert "yolov4-tny: no such file; did you mean yolov4-tiny?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "first"), [("yolov3", "person"), ("yolo-voc", "aeroplane"), ("yolov2-tiny-voc", "aeroplane")]
)
def test_names_belong_to_the_weights(name: str, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COCO's 80 or VOC's 20, one for each class of the cfg; Open Images' 601 are not known."""
    monkeypatch.chdir(tmp_path)
    model = official.published(name)
    assert model is not None
    assert model.cfg is not None
    assert model.names is not None
    assert model.names[0] == first
    plan = read_cfg(model.cfg)
    assert {plan.layers[k].classes for k in plan.heads} == {len(model.names)}  # type: ignore[attr-defined]
    openimages = official.published("yolov3-openimages")
    assert openimages is not None
    assert openimages.names is None
    assert official.published("elsewhere/yolov3.weights") is None


def test_training_from_a_published_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training takes the name of a backbone, too; a file of that name comes first."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    source = Darknet(read_cfg("toy.cfg"))
    save_weights(source, tmp_path / "toy.conv.17", cutoff=17)
    monkeypatch.setattr(official, "official_weights", lambda name: tmp_path / "toy.conv.17")
    options = Train(data="unused", cfg=Path("toy.cfg"), weights=Path("darknet53.conv.74"))
    network = build_yolo(options, list("abcdef")).network
    own, given = network.state_dict(), source.state_dict()
    assert own["layers.0.conv.weight"].equal(given["layers.0.conv.weight"])
    assert not own["layers.17.conv.weight"].equal(given["layers.17.conv.weight"])
    save_weights(source, Path("darknet53.conv.74"))
    assert official.located(Path("darknet53.conv.74")) == Path("darknet53.conv.74")
