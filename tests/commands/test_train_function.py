"""`yolo.train`: the run of the same command line, bit for bit, with its numbers as Python values."""

from __future__ import annotations

import random
import re
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import yolo
from tests.support.train_problems import Place, difference, options_of, same_run, shapes, tiny_cfg, words
from yolo.__main__ import main
from yolo.options.presets import from_keywords, parse_train
from yolo.training.engine import Trainer
from yolo.training.run_folder import read_metrics


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run of two epochs by a command line."""
    folder = tmp_path_factory.mktemp("function")
    command = words(shapes(folder), tiny_cfg(folder))
    assert main(["train", *command, "--out", str(folder / "whole")]) == 0
    return Place(command, folder / "whole")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go into the test's own folder."""
    monkeypatch.chdir(tmp_path)


def keywords(place: Place, **more: Any) -> dict[str, Any]:
    """Return the words of the command line as keywords, its numbers as numbers."""
    names = [word.removeprefix("--").replace("-", "_") for word in place.words[::2]]
    values = [
        None if text == "None" else float(text) if text[0].isdigit() and not text.isdigit() else text
        for text in place.words[1::2]
    ]
    found = dict(zip(names, (int(v) if isinstance(v, str) and v.isdigit() else v for v in values), strict=True))
    return found | more


def drawn() -> tuple[float, ...]:
    """Return the next random numbers of all generators, which it leaves alone."""
    state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    found = float(torch.rand(())), float(np.random.random()), random.random()
    torch.set_rng_state(state[0])
    np.random.set_state(state[1])
    random.setstate(state[2])
    return found


def test_the_run_of_the_command(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    """Every bit, also with a function that draws random numbers and changes what it gets. Nothing is printed.

    Random numbers, handlers of signals and the settings of PyTorch are as before.
    """
    seen: list[dict[str, Any]] = []

    def note(epoch: int, found: dict[str, Any]) -> None:
        assert read_metrics("run")[-1] == found, "the line is on the disk"
        assert epoch == found["epoch"]
        seen.append(dict(found))
        torch.rand(7), np.random.random(7), random.random()
        found.clear()

    before = drawn(), signal.getsignal(signal.SIGINT), torch.are_deterministic_algorithms_enabled()
    run = yolo.train(**keywords(place, out="run", deterministic=True), on_epoch_end=note, quiet=True)
    assert (drawn(), signal.getsignal(signal.SIGINT), torch.are_deterministic_algorithms_enabled()) == before
    assert capfd.readouterr() == ("", "")
    assert same_run(place.run, Path("run")) == ""
    # What is returned.
    assert (run.folder, run.finished) == (Path("run"), True)
    assert run.history == seen == read_metrics("run")
    assert run.metrics == seen[1]
    assert run.best == max(seen, key=lambda row: (row["AP"], -row["epoch"]))
    assert run.best_epoch == run.best["epoch"]
    assert run.model is run.model
    saved = yolo.load("run/best.safetensors", device="cpu").network.state_dict()
    assert difference(run.model.network.cpu().state_dict(), saved) == ""


def test_the_options_of_the_command_line(place: Place, tmp_path: Path) -> None:
    """Presets, files, models, a run to resume, groups and their words, values of other types."""
    file = tmp_path / "my.yaml"
    file.write_text("epochs: 7\nloss: {assign: ratio}\n")
    for given, line in (
        ({}, ""),
        ({"data": tmp_path, "cfg": Path("toy.cfg"), "size": 96, "freeze": "0-1"},
         f"--data {tmp_path} --cfg toy.cfg --size 96 --freeze 0-1"),
        ({"schedule": "step", "lr": np.float64(1e-5), "step_epochs": np.int64(3)},
         "--schedule step --lr 1e-5 --step-epochs 3"),
        ({"schedule": {"schedule": "constant"}, "peak_lr": 6e-3}, "--schedule constant"),
        ({"preset": "darknet", "options": file, "mosaic": 0.5, "flip": 0},
         f"--preset darknet --options {file} --mosaic 0.5 --flip 0"),
        ({"preset": "small-data", "augment": {"hue": 0.1}, "shuffle": False, "clip": None},
         "--preset small-data --hue 0.1 --no-shuffle --clip None"),
        ({"model": "largest", "unfreeze": [2], "size": "64x96"}, "--model largest --unfreeze 2 --size 64x96"),
        ({"resume": place.run, "epochs": 9}, f"--resume {place.run} --epochs 9"),
    ):  # fmt: skip
        assert from_keywords(given, "f").train == parse_train(line.split()), line
    whole = yolo.Augment(mosaic=0.25, last_plain=3)
    assert from_keywords({"augment": whole}, "f").train.augment == whole


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"peak_lrr": 1}, "yolo.train: unknown option 'peak_lrr'; did you mean peak_lr"),
        ({"augment": {"mosaik": 1}}, "yolo.train: unknown option 'mosaik'; did you mean mosaic"),
        ({"epochs": "a"}, "yolo.train: epochs: got a, expected a whole number"),
        ({"epochs": 2.5}, "yolo.train: epochs: got 2.5, expected a whole number"),
        ({"epochs": 0}, "yolo.train: epochs=0: expected at least 1"),
        ({"cfg": object()}, "yolo.train: cfg: got <object"),
        ({"mosaic": 0.1, "augment": {"mosaic": 0.2}}, "yolo.train: mosaic is given twice"),
        ({"preset": "daknet"}, "preset 'daknet': expected one of"),
        ({"model": "yolov9"}, "model 'yolov9': expected one of yolo"),
        ({"resume": "r", "preset": "blog"}, "--preset or --options next to --resume"),
        ({"loss": {"transform": "a:b"}}, "yolo.train: unknown option 'transform'; no file can name code"),
    ],
)
def test_wrong_words(given: dict[str, Any], message: str) -> None:
    """The error says which word, and what was expected; nothing is written."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        yolo.train(**given)
    assert not list(Path.cwd().iterdir())


def test_a_function_that_fails(place: Place) -> None:
    """The run is saved, also where no checkpoint was due, and continues to the same end, in another thread too."""

    def fails(epoch: int, found: dict[str, Any]) -> None:
        raise LookupError("no such experiment")

    name = "test_train_function:test_a_function_that_fails.<locals>.fails"
    with pytest.raises(
        RuntimeError, match=rf"{name} failed after epoch 1 \(LookupError: no such experiment\)"
    ) as error:
        yolo.train(**keywords(place, out="run", save_every=2), on_epoch_end=fails, quiet=True)
    assert isinstance(error.value.__cause__, LookupError)
    assert [row["epoch"] for row in read_metrics("run")] == [0]
    ends = []
    thread = threading.Thread(target=lambda: ends.append(yolo.train(resume="run", quiet=True)))
    thread.start()
    thread.join()
    assert [run.finished for run in ends] == [True]
    assert same_run(place.run, Path("run")) == ""
    assert "save_every: 2" in options_of(Path("run"))


def test_an_interrupted_run(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is returned and not finished; resumed, it is the whole run."""
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_all_agree", lambda trainer, _: trainer.step == 2)
        run = yolo.train(**keywords(place, out="run"))
    assert "resume with: python -m yolo train --resume run" in capsys.readouterr().out
    assert (run.finished, run.history, run.metrics, run.best) == (False, [], {}, {})
    with pytest.raises(FileNotFoundError):
        _ = run.model
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_all_agree", lambda trainer, _: trainer.step == 5)
        run = yolo.train(resume=run.folder, quiet=True)
    assert (run.finished, run.best, run.metrics) == (False, run.history[0], run.history[0])
    assert yolo.train(resume=run.folder, quiet=True).finished
    assert same_run(place.run, Path("run")) == ""
