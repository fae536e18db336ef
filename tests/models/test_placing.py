"""Letterbox or stretch: what the files say, what the published weights were trained with, what the cfg says."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
import torch

import yolo
from tests.darknet.test_golden import SHARED, needs_shared
from tests.support.load import load_yolo
from tests.support.paths import ROOT
from yolo.commands.detect import run
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import save_safetensors
from yolo.darknet.weights import save_weights
from yolo.download.fetch import OfficialFile
from yolo.images.placement import Placement
from yolo.options.commands import Detect
from yolo.options.detection import ModelFiles

PUBLISHED = "https://data.pjreddie.com/files/"


@pytest.fixture
def toy(tmp_path: Path) -> tuple[Path, Path]:
    """Return a cfg and weights of toy.cfg."""
    (tmp_path / "toy.cfg").write_text((ROOT / "config" / "toy.cfg").read_text())
    torch.manual_seed(0)
    save_weights(Darknet(read_cfg("toy.cfg")), tmp_path / "toy.weights")
    return tmp_path / "toy.cfg", tmp_path / "toy.weights"


def published(monkeypatch: pytest.MonkeyPatch, weights: Path, *, server: str = PUBLISHED, checksum: bool) -> None:
    """Put a weights file on the list of published ones, with or without a known checksum."""
    data = weights.read_bytes()
    digest = hashlib.sha256(data).hexdigest() if checksum else None
    file = OfficialFile("yolov9.weights", (f"{server}yolov9.weights",), len(data), digest)
    monkeypatch.setattr("yolo.models.placing.WEIGHTS", {"yolov9": file})


@pytest.mark.parametrize(("value", "letterbox"), [(None, False), ("0", False), ("1", True)])
def test_the_cfg_decides_for_darknets_weights(
    toy: tuple[Path, Path], value: str | None, letterbox: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """`letter_box=1` letterboxes, 0 and no such key stretch, and one line says so with its reason."""
    cfg, weights = toy
    if value is not None:
        cfg.write_text(cfg.read_text().replace("[net]\n", f"[net]\nletter_box={value}\n", 1))
    assert yolo.load(cfg, weights, device="cpu").letterbox is letterbox
    (line,) = caplog.messages
    assert line.startswith(f"images are {'letterboxed' if letterbox else 'stretched'}: {cfg} has ")
    assert "letter_box=1" in line
    caplog.clear()
    for chosen in (True, False):
        assert yolo.load(cfg, weights, device="cpu", letterbox=chosen).letterbox is chosen
    assert not caplog.records
    assert yolo.load(cfg, device="cpu").letterbox is letterbox


@pytest.mark.parametrize("checksum", [True, False])
def test_published_weights_are_recognised_by_content(
    toy: tuple[Path, Path], checksum: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A published file of the first darknet is letterboxed under any name; with a checksum, no other file is."""
    cfg, weights = toy
    published(monkeypatch, weights, checksum=checksum)
    assert yolo.load(cfg, weights, device="cpu").letterbox
    assert "the published yolov9.weights, whose darknet letterboxes" in caplog.text
    other = weights.with_name("yolov9.weights")
    other.write_bytes(weights.read_bytes()[:-1] + b"\x3f")
    assert other.read_bytes() != weights.read_bytes()
    assert yolo.load(cfg, other, device="cpu").letterbox is not checksum
    other.write_bytes(weights.read_bytes() + b"\0\0\0\0")
    with pytest.raises(ValueError, match="bytes are left"):
        yolo.load(cfg, other, device="cpu")


def test_published_weights_of_the_second_darknet_follow_their_cfg(
    toy: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """YOLOv4's cfg says nothing, so its images are stretched."""
    cfg, weights = toy
    published(monkeypatch, weights, server="https://github.com/AlexeyAB/darknet/releases/", checksum=True)
    assert not yolo.load(cfg, weights, device="cpu").letterbox


def test_our_own_files_say_it(toy: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A safetensors file has what the model was trained with, whatever the cfg in it says."""
    network = Darknet(read_cfg(toy[0]))
    for letterbox in (True, False):
        save_safetensors(network, tmp_path / "own.safetensors", list("abcdef"), letterbox=letterbox)
        assert yolo.load(tmp_path / "own.safetensors", device="cpu").letterbox is letterbox
        assert yolo.load(toy[0], tmp_path / "own.safetensors", device="cpu").letterbox is letterbox
    assert not caplog.records


@needs_shared
@pytest.mark.parametrize("name", ["yolo-fastest-1.1", "yolo-fastest-1.1-xl"])
def test_darknets_models_are_stretched(name: str) -> None:
    """The two trained models of AlexeyAB's darknet get stretched images, exact or not."""
    files = [SHARED.parent / "data" / "darknet" / f"{name}{ending}" for ending in (".cfg", ".weights")]
    for exact in (False, True):
        model = load_yolo(*files, device="cpu", exact=exact)
        _, placement = model.prepare(SHARED / "yolo-fastest" / "dog.png")
        assert placement == Placement.stretch(placement.image, model.size)


def test_commands_say_it_too(
    toy: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`detect` prints the line once, with the option that overrides it, and nothing if that option is given."""
    monkeypatch.chdir(tmp_path)
    cfg, weights = toy
    for placement in (None, "letterbox"):
        files = ModelFiles(cfg=cfg, weights=weights, device="cpu", placement=placement)
        assert run(Detect(sources=("none.png",), model=files)) == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "--placement letterbox" in caplog.text
