"""A training with `--recipe cfg` that is stopped anywhere and resumed equals the one that did not stop, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recipe_problems import by_cfg_run, recipe_text, recipe_words
from tests.support.train_problems import checkpoint, difference, interrupted, same_run, shapes
from yolo.__main__ import main
from yolo.darknet.safetensors_file import read_tensors
from yolo.darknet.weights import read_header
from yolo.data.shapes.scenes import make_shapes
from yolo.recipe import draws, recipe
from yolo.training import darknet_files

EVERYTHING = recipe_text(
    head={"jitter": 0.3, "random": 1, "resize": 1.5}, max_batches=6, mosaic=1, hue=0.1, saturation=1.5, exposure=1.5,
    flip=1, ema_alpha=0.5,
)  # fmt: skip
"""Mosaics, crops, colours, changing sizes, an average."""

FILES = ["iterations.csv", "my_last.weights", "my_best.weights", "my_ema.weights", "my_final.weights"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch has 4 iterations, the second one 2; files every 2; sizes change every 3; the average is applied at 5."""
    monkeypatch.setattr(recipe, "EPOCH", (4, 4))
    monkeypatch.setattr(darknet_files, "LAST", 2)
    monkeypatch.setattr(darknet_files, "APART", 1)
    monkeypatch.setattr(draws, "SAME_SIZE", 3)
    monkeypatch.setattr(draws, "LARGEST_LAST", 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 images to train on and 6 to evaluate on."""
    return shapes(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("build", ["gpu", "cpu"])
def test_stopped_and_resumed(build: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the average begins, and after the last step of an epoch, which is then evaluated by the resumed run.

    In the CPU build gradients are carried from one mini-batch to the next, over the interruption too.
    """
    whole = by_cfg_run(data, tmp_path, EVERYTHING, "--darknet-build", build, out="whole")
    state = checkpoint(whole)["watchers"]["darknet_files"]
    assert state["average"]
    assert sorted(state["carried"]) == ([10] if build == "cpu" else [])
    run = tmp_path / "run"
    words = recipe_words(data, tmp_path / "my.net.cfg", "--darknet-build", build, "--out", run)
    for after, line in ((2, words), (4, ["train", "--resume", str(run)])):
        interrupted(line, after, monkeypatch)
        assert checkpoint(run)["step"] == after
        # Its images are those of the step at which it was stopped, so that darknet can go on from there.
        assert read_header((run / "my_last.weights").read_bytes()[:20], "").seen == after * 4
    assert main(["train", "--resume", str(run)]) == 0
    assert same_run(whole, run) == ""
    for name in FILES:
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    ours, theirs = ((read_tensors(folder / "best.safetensors")) for folder in (run, whole))
    assert ours[1] == theirs[1]
    assert difference(ours[0], theirs[0]) == ""


def test_iterations_and_images_of_a_run_stay(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More epochs than those of max_batches are refused, and so are other images, also accepted ones."""
    run = by_cfg_run(data, tmp_path, recipe_text(max_batches=2))
    kept, other = (run / "last.pt").read_bytes(), make_shapes(tmp_path / "other", train=13, val=6)
    capsys.readouterr()
    for more in (["--epochs", "9"], ["--data", str(other), "--accept-changes"]):
        assert main(["train", "--resume", str(run), *more]) == 1
        assert "with the recipe cfg a resumed run keeps its images and its iterations" in capsys.readouterr().err
    assert (run / "last.pt").read_bytes() == kept
