"""`python -m yolo convert`: which files it writes and replaces, and that darknet's files give the same detections."""

from __future__ import annotations

import errno
import re
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

import yolo
from yolo.__main__ import main
from yolo.darknet.cfg import read_cfg, with_classes
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import load_safetensors, save_safetensors
from yolo.names import read_names
from yolo.options.detection import Filter
from yolo.size import Size

NAMES = ["a", "b c", "\u72ac"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test a working directory of its own."""
    monkeypatch.chdir(tmp_path)


def trained(letterbox: bool = True) -> Path:
    """Write a run whose network of three classes was trained at another size than its cfg's; return its folder."""
    torch.manual_seed(0)
    network = Darknet(with_classes(read_cfg("toy.cfg"), len(NAMES)))
    network.train()(torch.rand(2, 3, 64, 64))  # batch statistics that are not the initial ones
    Path("run").mkdir(exist_ok=True)
    save_safetensors(network, Path("run/best.safetensors"), NAMES, size=Size(96, 128), letterbox=letterbox)
    return Path("run")


@pytest.mark.parametrize("letterbox", [True, False])
def test_the_way_back_to_darknet(letterbox: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The folder of a run becomes weights, cfg and names for darknet, which give the same detections."""
    run = trained(letterbox)
    assert main(["convert", str(run), "back/out.weights"]) == 0
    cfg = read_cfg("back/out.cfg")
    assert (cfg.net.width, cfg.net.height, cfg.net.letter_box) == (128, 96, int(letterbox))
    assert [layer.filters for k, layer in enumerate(cfg.layers) if k + 1 in cfg.heads] == [3 * (5 + 3)] * 3  # type: ignore[attr-defined]
    assert ("letter_box=1" in Path("back/out.cfg").read_text()) == letterbox
    assert read_names("back/out.names") == NAMES
    ours = yolo.load(run / "best.safetensors", device="cpu")
    back = yolo.load("back/out.cfg", "back/out.weights", "back/out.names", device="cpu")
    assert (
        (back.size, back.letterbox, back.names)
        == (ours.size, ours.letterbox, ours.names)
        == ((96, 128), letterbox, NAMES)
    )
    image = np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8)
    for model in (ours, back):
        assert len(model.detect(image, Filter(confidence=0.2))) > 0
    for exact in (False, True):
        one, other = (model.replace(exact=exact).detect(image, Filter(confidence=0.2)) for model in (ours, back))
        assert one.boxes.equal(other.boxes)
        assert one.scores.equal(other.scores)
        assert one.labels.equal(other.labels)
    words = ["--cfg", "back/out.cfg", "--names", "back/out.names"]
    assert main(["convert", "back/out.weights", "again.safetensors", *words]) == 0
    again = load_safetensors("again.safetensors")
    assert (again.names, again.size, again.letterbox) == (NAMES, (96, 128), letterbox)


def test_opencv_reads_the_way_back() -> None:
    """OpenCV 4's importer gives the activated heads of our network for the same input."""
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        pytest.skip(f"NOT TESTED: OpenCV {cv2.__version__} has no importer of darknet's files")
    assert main(["convert", str(trained()), "out.weights"]) == 0
    net = cv2.dnn.readNetFromDarknet("out.cfg", "out.weights")
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    net.setInput(cv2.dnn.blobFromImage(image, 1 / 255))
    theirs = net.forward(net.getUnconnectedOutLayersNames())
    network = load_safetensors("run/best.safetensors").network.eval()
    with torch.inference_mode():
        raw = network(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    for head, rows in zip(raw, theirs, strict=True):
        objectness = head[0, ..., 4].sigmoid().permute(1, 2, 0).reshape(-1).numpy()  # cells, then anchors
        np.testing.assert_allclose(rows[:, 4], objectness, atol=1e-4)


@pytest.mark.parametrize("target", ["x.cfg", "x.pt", "x", "x.names", "x.conv", "x.weights.bak", "x.pth"])
def test_other_endings_are_refused(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An ending that convert does not know is an error, and no file changes."""
    Path(target).write_text("mine")
    assert main(["convert", str(trained()), target, "--force"]) == 1
    assert f"error: {target}: convert writes .weights, .safetensors and .onnx files" in capsys.readouterr().err
    assert Path(target).read_text() == "mine"


@pytest.mark.parametrize("there", ["out.weights", "out.cfg", "out.names"])
def test_no_file_is_replaced_without_force(there: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the target nor the files beside it; with `--force` they are."""
    Path(there).write_text("mine")
    assert main(["convert", str(trained()), "out.weights"]) == 1
    assert f"error: {there} exists" in capsys.readouterr().err
    assert Path(there).read_text() == "mine"
    assert sorted(path.name for path in Path().iterdir()) == sorted(["run", there])
    assert main(["convert", "run", "out.weights", "--force"]) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["out.cfg", "out.names", "out.weights", "run"]
    assert read_names("out.names") == NAMES


def test_a_cfg_that_says_the_same_stays() -> None:
    """The user's own cfg beside the target, with its comments, is neither replaced nor in the way."""
    assert main(["convert", str(trained()), "one.weights"]) == 0
    text = "# mine\n" + Path("one.cfg").read_text()
    Path("two.cfg").write_text(text)
    assert main(["convert", "one.weights", "two.weights", "--cfg", "two.cfg", "--names", "one.names"]) == 0
    assert Path("two.cfg").read_text() == text
    assert Path("two.weights").read_bytes() == Path("one.weights").read_bytes()


def test_a_backbone_has_its_number_in_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    """The name is enough; another number is an error. No cfg is written beside it."""
    assert main(["convert", str(trained()), "toy.conv.17"]) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["run", "toy.conv.17"]
    assert main(["convert", "run", "toy.conv.16", "--cutoff", "17"]) == 1
    assert "toy.conv.16 is the name of a backbone of 16 layers; got --cutoff 17" in capsys.readouterr().err


def test_a_checkpoint_is_answered_with_the_file_to_take(capsys: pytest.CaptureFixture[str]) -> None:
    """`last.pt` is for resuming; the weights of the run are beside it."""
    trained()
    Path("run/last.pt").write_bytes(b"")
    assert main(["convert", "run/last.pt", "out.weights"]) == 1
    assert f"give {Path('run', 'best.safetensors')}, the weights of that run" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["new/deeper/a.weights", "new/a.safetensors", "new/a.conv.2"])
@pytest.mark.parametrize("problem", [OSError, SystemExit, RuntimeError])
def test_a_failure_leaves_nothing(
    target: str, problem: type[BaseException], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No part of a file, no cfg without weights, no new folder; a full disk names the file."""
    source, before = trained(), sorted(Path().rglob("*"))

    def fail(*_: object) -> None:
        raise problem(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    status = 0
    with suppress(SystemExit, RuntimeError):
        status = main(["convert", str(source), target])
    assert sorted(Path().rglob("*")) == before
    if problem is OSError:
        assert status == 1
        assert f"No space left on device: '{Path(target)}'" in capsys.readouterr().err


def test_room_is_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is written."""
    source, before = trained(), sorted(Path().rglob("*"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert main(["convert", str(source), "new/a.weights"]) == 1
    assert re.search(r"1 kB free, needs [\d,]+ kB for a\.weights; make room", capsys.readouterr().err)
    assert sorted(Path().rglob("*")) == before
