"""A worker that is killed: the run is saved after the step, the command ends with a sentence, and a resume is exact."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.train_problems import Place, checkpoint, same_run, shapes, tiny_cfg, words
from yolo.__main__ import main
from yolo.data.order import Draw
from yolo.data.sample import Sample
from yolo.data.transforms import Augmented
from yolo.training.validation import Validation

RECIPE = ["--batch-size", "2", "--accumulate", "2", "--ema", "0.9", "--epochs", "2", "--limit", "11"]
RECIPE += ["--eval-every", "1", "--mosaic", "0.5", "--no-check"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run with augmentation, average and accumulation: six batches and three steps in each of its two epochs."""
    folder = tmp_path_factory.mktemp("killed")
    command = words(shapes(folder), tiny_cfg(folder), *RECIPE)
    assert main(["train", *command, "--out", str(folder / "whole")]) == 0
    return Place(command, folder / "whole")


def kill(patch: pytest.MonkeyPatch, epoch: int, batch: int, times: int = 1) -> None:
    """Have the process that makes a batch of training end by SIGSEGV, the first `times` times."""
    made, main_process = Augmented.__getitem__, os.getpid()
    Path("times").write_bytes(bytes(times))

    def deadly(seen: Augmented, draw: Draw) -> Sample:
        left = Path("times").stat().st_size
        if os.getpid() != main_process and draw.epoch == epoch and draw.number // 2 == batch and left:
            os.truncate("times", left - 1)
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGSEGV)
        return made(seen, draw)

    patch.setattr(Augmented, "__getitem__", deadly)


@pytest.mark.parametrize(
    ("workers", "epoch", "batch", "step"), [(1, 0, 0, 1), (2, 0, 3, 2), (1, 1, 5, 6), (2, 1, 4, 6)]
)
def test_a_killed_worker(
    workers: int, epoch: int, batch: int, step: int, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """At the start, in the middle and at the end of an epoch, between two steps and within one."""
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        kill(patch, epoch, batch)
        assert main(["train", *place.words, "--workers", str(workers), "--out", "run"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert error.startswith(f"error: worker {batch % workers + 1} of {workers} (process ")
    assert "was killed by SIGSEGV: a fault in a library, or in the transform; stopped after a completed step" in error
    assert error.endswith("; resume with: python -m yolo train --resume run\n")
    assert checkpoint(Path("run"))["step"] == step
    assert main(["train", "--resume", "run", "--workers", "0"]) == 0
    assert same_run(place.run, Path("run")) == ""


@pytest.mark.parametrize(("batch", "saved"), [(2, True), (3, False)], ids=["between-steps", "within-a-step"])
def test_an_image_that_kills_every_worker(
    batch: int, saved: bool, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """What is whole is saved: nothing of a step that cannot be finished."""
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        kill(patch, 0, batch, times=2)
        assert main(["train", *place.words, "--workers", "2", "--out", "run"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert "; the one in its place as well: worker 1 of 1 (process " in error
    assert ("resume with" in error) == (Path("run") / "last.pt").exists() == saved
    if saved:
        assert checkpoint(Path("run"))["step"] == 1
        assert main(["train", "--resume", "run", "--workers", "0"]) == 0
        assert same_run(place.run, Path("run")) == ""


def test_a_worker_of_the_evaluation(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The evaluation is finished by another worker, then training stops; in the last epoch it is complete."""
    monkeypatch.chdir(tmp_path)
    losses = Validation._losses

    def failing(validation: Validation, *rest: Any) -> dict[str, float]:
        with monkeypatch.context() as patch:
            kill(patch, 0, 0)
            return losses(validation, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "_losses", failing)
        assert main(["train", *place.words, "--workers", "1", "--out", "run"]) == 1
    assert "error: worker 1 of 1" in capsys.readouterr().err
    assert checkpoint(Path("run"))["step"] == 4
    assert main(["train", "--resume", "run", "--workers", "0"]) == 0
    assert same_run(place.run, Path("run")) == ""
