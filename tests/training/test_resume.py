"""A run that is stopped anywhere and resumed equals the run that did not stop, bit for bit."""

from __future__ import annotations

import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.options.test_aliases import SAVED
from tests.support.paths import ROOT
from tests.support.train_problems import (
    Place,
    checkpoint,
    difference,
    ended,
    numbers,
    process,
    same_run,
    shapes,
    tiny_cfg,
    words,
)
from tests.support.warm import Warm
from yolo.__main__ import main
from yolo.darknet.safetensors_file import read_tensors
from yolo.options.train import Train
from yolo.training.checkpoint import load_checkpoint, random_state, save_checkpoint, set_random_state
from yolo.training.engine import Trainer
from yolo.training.interrupt import interruptible
from yolo.training.run_folder import Run, read_metrics

STEPS = 3
"""Steps per epoch: six batches, two per step."""

RECIPE = ["--batch-size", "2", "--accumulate", "2", "--ema", "0.9", "--epochs", "2", "--limit", "11"]
RECIPE += ["--eval-every", "2", "--multi-scale", "1.5", "--mosaic", "0.5", "--no-check"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run with augmentation, average, accumulation, changing sizes and an evaluation at the end."""
    folder = tmp_path_factory.mktemp("resume")
    command = words(shapes(folder), tiny_cfg(folder), *RECIPE)
    assert main(["train", *command, "--out", str(folder / "whole")]) == 0
    assert [row["step"] for row in read_metrics(folder / "whole")] == [STEPS, 2 * STEPS]
    return Place(command, folder / "whole")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go into the test's own folder."""
    monkeypatch.chdir(tmp_path)


class Killed(BaseException):
    """Replaces SIGKILL: nothing in the program catches it."""


@pytest.mark.parametrize("step", [1, 3, 5, 6])  # other tests stop after steps 2 and 4
def test_a_stop_request_after_any_step(step: int, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after the last step of an epoch and of the run: it is saved there and resumes with the next batch."""
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_all_agree", lambda trainer, _interrupt: trainer.step == step)
        assert main(["train", *place.words, "--out", "run"]) == 130
    state = checkpoint(Path("run"))
    assert state["step"] == step
    assert 0 < state["loader"]["position"] <= 6
    assert len(read_metrics("run")) == (step > 3)
    assert main(["train", "--resume", "run"]) == 0
    assert same_run(place.run, Path("run")) == ""


def test_another_number_of_threads(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sums of other threads round otherwise, which is said; with the same ones nothing is."""
    for threads in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_all_agree", lambda trainer, _interrupt: trainer.step == 5)
            assert main(["train", *place.words, "--out", f"run-{threads}"]) == 130
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
            assert main(["train", "--resume", f"run-{threads}"]) == 0
        said = capsys.readouterr().out
        assert ("from here on sums round otherwise" in said) == (threads == 2)
        assert ("threads 1, processes 1, resumed with torch" in said) == (threads == 2)


def before(method: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    """Return the method; it is killed at its start if `when` is true for its arguments."""

    def killed(*arguments: Any, **options: Any) -> Any:
        if when(*arguments, **options):
            raise Killed
        return method(*arguments, **options)

    return killed


def only(number: int) -> Callable[[int], bool]:
    """Return a function that is true in its call with that number, counted from 1."""
    calls = itertools.count(1)
    return lambda _: next(calls) == number


@pytest.mark.parametrize(
    ("owner", "name", "when"),
    [
        (Trainer, "_batch", lambda trainer, *_, **__: trainer.step == 5),
        (Run, "log", lambda _, epoch, *__: epoch == 1),
        (Trainer, "save", lambda trainer: trainer.step == 6),
        (os, "fsync", only(9)),
        (os, "fsync", only(11)),
    ],
    ids=["batch", "before-the-line", "line-but-no-checkpoint", "in-the-middle-of-a-file", "in-another-file"],
)
def test_killed_between_the_files(
    owner: Any, name: str, when: Callable[..., bool], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that were written without the others are written again."""
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, before(getattr(owner, name), when))
        with pytest.raises(Killed):
            main(["train", *place.words, "--out", "run"])
    assert main(["train", "--resume", "run"]) == 0
    assert same_run(place.run, Path("run")) == ""
    one, other = (read_tensors(run / "best.safetensors") for run in (place.run, Path("run")))
    assert difference(one, other) == ""


def wait_until(true: Callable[[], bool], child: Warm) -> None:
    """Check a thousand times a second. Fails if the process ends before, or after two minutes."""
    deadline = time.monotonic() + 120
    while not true():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)


def reached(run: Path, epochs: int) -> bool:
    """Return whether a run that is being written has completed `epochs` epochs."""
    return lines(run) >= epochs


def lines(run: Path) -> int:
    """Return the number of epochs in the metrics of a run that is being written."""
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture(scope="module")
def long(place: Place) -> Place:
    """The same run with eight epochs."""
    command, run = [*place.words, "--epochs", "8"], place.run.with_name("long")
    assert main(["train", *command, "--out", str(run)]) == 0
    return Place(command, run)


@pytest.mark.parametrize("workers", [0, 2])
def test_kill_minus_nine(workers: int, long: Place) -> None:
    """A process that is killed from outside some time after its second epoch, resumed by another process."""
    # Workers notice the death of their process seconds later and hold its pipes until then; the resume does not wait.
    with process(*long.words, "--workers", str(workers), "--out", "run") as child:
        wait_until(partial(reached, Path("run"), 2), child)
        time.sleep(random.uniform(0, 0.1))
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert 2 <= lines(Path("run")) <= 8
    assert main(["train", "--resume", "run"]) == 0
    assert same_run(long.run, Path("run")) == ""


def test_signals(place: Place) -> None:
    """The whole process group gets it, as with Ctrl-C and job schedulers: one line, status 130, no traceback."""
    more = ["--epochs", "500", "--workers", "2", "--eval-every", "0"]
    signals = (signal.SIGINT, signal.SIGTERM)
    children = [process(*place.words, *more, "--out", number.name) for number in signals]
    for number, child in zip(signals, children, strict=True):
        run = Path(number.name)
        wait_until(partial(reached, run, 2), child)
        os.killpg(child.pid, number)
        out, errors = ended(child, 60)
        assert child.returncode == 130, errors
        assert errors == ""
        how = f"resume with: python -m yolo train --resume {run}"
        assert out.splitlines()[-1] == f"{number.name}: stopped after a completed step; {how}"
        assert checkpoint(run)["step"] > 6


CRASH = """
import sys
from yolo.__main__ import main
from yolo.data.workers import Workers

def crash(*_):
    raise RuntimeError("an unexpected error")

Workers.answers = Workers.close = crash
sys.exit(main(["train", *sys.argv[1:]]))
"""
"""A run whose first epoch fails when its workers are started, and does not end them."""


def test_a_crash_ends_the_workers(place: Place) -> None:
    """An unexpected error ends the whole run: the main process does not wait forever for its workers."""
    command = [sys.executable, "-c", CRASH, *place.words, "--workers", "2", "--out", str(Path.cwd() / "run")]
    child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    _, errors = ended(child, 60)
    assert child.returncode == 1
    assert "unforeseen RuntimeError in" in errors
    assert ": an unexpected error; this is a fault of the program" in errors


def test_a_second_signal_acts_at_once() -> None:
    """Whichever signal was the first."""
    for first, second in ((signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)):
        with interruptible() as interrupt:
            assert not interrupt
            os.kill(os.getpid(), first)
            assert interrupt
            assert interrupt.name == first.name
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), second)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_full_disk(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The previous checkpoint stays and no other file is left; the error is one line. The run can be resumed later."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_all_agree", lambda trainer, _interrupt: trainer.step == 2)
        assert main(["train", *place.words, "--out", "run"]) == 130
    kept = (Path("run") / "last.pt").read_bytes()
    files = {path.name for path in Path("run").iterdir()}
    capsys.readouterr()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) - 5000, hard))
        status = main(["train", "--resume", "run"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    error = capsys.readouterr().err
    assert status == 1
    assert error.count("\n") == 1, error
    assert "not written, the previous one stays; " in error
    assert "run/last.pt" in error
    assert (Path("run") / "last.pt").read_bytes() == kept
    assert {path.name for path in Path("run").iterdir() if not path.name.startswith("events")} == {
        name for name in files if not name.startswith("events")
    }
    assert main(["train", "--resume", "run"]) == 0
    assert same_run(place.run, Path("run")) == ""


def test_weights_to_start_from_are_needed_once(place: Place) -> None:
    """A run is resumed without the weights that it started from."""
    Path("start.safetensors").write_bytes((place.run / "best.safetensors").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_all_agree", lambda trainer, _interrupt: trainer.step == 2)
        assert main(["train", *place.words, "--weights", "start.safetensors", "--out", "run"]) == 130
    Path("start.safetensors").unlink()
    assert main(["train", "--resume", "run"]) == 0


OLD_OPTIONS = [line.partition(":")[0] for line in SAVED.read_text().splitlines() if not line.startswith(" ")]
"""Options of a run in the order in which version 0.1 wrote them; it had no others."""


def as_version_0_1(run: Path) -> None:
    """Rewrite a run as version 0.1 wrote it: the order of the options, the keys of the checkpoint, no record of data.

    Options that came later have their defaults.
    """
    for name in ("data.json", "network.cfg"):
        (run / name).unlink()
    options = yaml.safe_load((run / "options.yaml").read_text())
    for name in options.keys() - {*OLD_OPTIONS}:
        assert options.pop(name) == getattr(Train(), name)
    assert (options["schedule"].pop("step_epochs"), options["schedule"].pop("gamma")) == (10, 0.1)
    options = {name: options[name] for name in OLD_OPTIONS}
    state = load_checkpoint(run / "last.pt")["trainer"]
    state["loader"]["pictures"] = state["loader"].pop("images")
    watchers = state.pop("watchers")
    state |= {"watcher": watchers.get("glance"), "memory": watchers.get("probe", {})}
    (run / "options.yaml").write_text(yaml.safe_dump(options, sort_keys=False))
    text = yaml.safe_dump({**options, "out": None}, sort_keys=False)
    save_checkpoint(run / "last.pt", {"trainer": state, "options": text})


@pytest.mark.parametrize("more", [[], ["--glance", "2", "--probe"]], ids=["neither", "both"])
def test_a_run_of_version_0_1(more: list[str], place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Interrupted within its second epoch, it is resumed bit for bit, including the images that glance has seen in the
    epoch and the anchors that the probe remembers from the evaluation after the first."""
    command = [*(word for word in place.words if word != "--no-check"), "--eval-every", "1", *more]
    assert main(["train", *command, "--out", "whole"]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_all_agree", lambda trainer, _interrupt: trainer.step == 4)
        assert main(["train", *command, "--out", "run"]) == 130
    as_version_0_1(Path("run"))
    capsys.readouterr()
    assert main(["train", "--resume", "run"]) == 0
    assert "run: it has no data.json, as runs of older versions" in capsys.readouterr().out
    assert {"data.json", "network.cfg"} <= {file.name for file in Path("run").iterdir()}
    assert same_run(Path("whole"), Path("run")) == ""
    assert ("probe/moved" in read_metrics("run")[-1]) == ("--probe" in more)


def test_random_numbers_continue(tmp_path: Path) -> None:
    """PyTorch's, NumPy's and Python's, through the file, also between two normal numbers that are drawn as a pair."""
    import numpy as np

    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    for _ in range(3):
        torch.randn(3)
        np.random.randn(1)
        random.gauss(0, 1)
    save_checkpoint(tmp_path / "a.pt", {"random": random_state()})

    def drawn() -> list[float]:
        return [
            *torch.randn(5).tolist(), *torch.rand(2).tolist(), *np.random.randn(5).tolist(), np.random.rand(),
            *(random.gauss(0, 1) for _ in range(5)), random.random(),
        ]  # fmt: skip

    expected = drawn()
    assert drawn() != expected
    set_random_state(load_checkpoint(tmp_path / "a.pt")["random"])
    assert drawn() == expected


def test_a_checkpoint_holds_nothing_but_data(place: Place, tmp_path: Path) -> None:
    """It is read without running code, and its contents are unchanged."""
    state = load_checkpoint(place.run / "last.pt")
    save_checkpoint(tmp_path / "copy.pt", {name: value for name, value in state.items() if name != "format"})
    assert difference(load_checkpoint(tmp_path / "copy.pt"), state) == ""
    assert state["trainer"]["ema"]["updates"] == state["trainer"]["step"] == 6
    assert len(numbers(place.run)) == 2


def test_a_checkpoint_that_runs_code_is_refused(tmp_path: Path) -> None:
    """A pickled object of another class is not unpickled."""
    torch.save({"format": 1, "trainer": Path("x")}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="not a complete checkpoint"):
        load_checkpoint(tmp_path / "a.pt")
