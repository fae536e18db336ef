"""Every file that a command writes has the mode of the user's umask, whatever library wrote it.

The files of `ablate`: `tests/ablation/test_report.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images.test_sources import write_video
from tests.support.train_problems import shapes, tiny_cfg, words
from yolo.__main__ import main

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes are others there")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a set, a cfg and a run."""
    folder = tmp_path_factory.mktemp("umask")
    data, cfg = shapes(folder), tiny_cfg(folder)
    assert main(["train", *words(data, cfg, "--out", folder / "run", "--epochs", "1")]) == 0
    return folder


def train(home: Path) -> int:
    """A run of two parts, with images in a cache on the disk."""
    given = words(home / "shapes", home / "tiny.cfg", "--epochs", "1", "--out", "run", "--cache", "disk")
    return main(["train", *given]) + main(["train", "--resume", "run", "--epochs", "2"])


def evaluate(home: Path) -> int:
    """Numbers, tables, plots."""
    return main(["eval", "--weights", str(home / "run"), "--out", "out"])


def explain(home: Path) -> int:
    """Json and a drawing."""
    image = next((home / "shapes" / "images" / "val").iterdir())
    words = ["--data", str(home / "shapes"), "--weights", str(home / "run"), "--device", "cpu", "--conf", "0.5"]
    return main(["explain", str(image), *words, "--out", "out"])


def show_data(home: Path) -> int:
    """Contact sheets."""
    return main(["show-data", str(home / "shapes"), "--cfg", str(home / "tiny.cfg"), "--out", "out"])


def doctor(home: Path) -> int:
    """A report and its sheets, with a model."""
    weights = ["--weights", str(home / "run"), "--device", "cpu"]
    return min(main(["doctor", str(home / "shapes"), *weights, "--out", "out"]), 0)


def detect(home: Path) -> int:
    """Every kind of results."""
    write_video(Path("a.mp4"))
    image = next((home / "shapes" / "images" / "val").iterdir())
    words = ["--weights", str(home / "run"), "--device", "cpu", "--conf", "0.01", "--max-det", "1", "--out", "out"]
    return main(["detect", str(image), "a.mp4", *words, "--json", "--csv", "--txt", "--crops"])


def convert(home: Path) -> int:
    """Files of other programs and back."""
    back = ["--cfg", "a.cfg", "--names", "a.names"]
    status = main(["convert", str(home / "run"), "a.weights"]) + main(["convert", "a.weights", "b.safetensors", *back])
    return status + main(["convert", str(home / "run"), "a.conv.2", "--cutoff", "2"])


def get(home: Path) -> int:
    """A data set, as `get shapes` draws it, but small."""
    return int(len(list(shapes(Path()).iterdir())) == 0)


def plot_lr(home: Path) -> int:
    """A plot."""
    return main(["plot-lr", "--out", "out.png"])


@pytest.mark.parametrize(
    ("command", "least"),
    [(train, 9), (evaluate, 6), (explain, 2), (show_data, 4), (doctor, 2), (detect, 8), (convert, 5), (get, 18),
     (plot_lr, 1)],
)  # fmt: skip
def test_files_have_the_mode_of_the_umask(
    command: Callable[[Path], int], least: int, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the umask 027 the group may read all files and others none of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXACT_YOLOV3_CACHE", str(tmp_path / "cache"))
    before = os.umask(0o027)
    try:
        assert command(home) == 0
    finally:
        os.umask(before)
    modes = {str(file): oct(file.stat().st_mode & 0o777) for file in Path().rglob("*") if file.is_file()}
    assert len(modes) >= least
    assert {file: mode for file, mode in modes.items() if mode != "0o640"} == {}
