"""Signals end every verb cleanly, and an output that is gone ends nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import yolo.commands.summary
import yolo.training.interrupt
from tests.support.train_problems import checkpoint, ended, process, shapes, tiny_cfg, words
from yolo.__main__ import main
from yolo.files.atomic import replacing
from yolo.process.signals import ending_cleanly
from yolo.training.interrupt import interruptible


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files go into the test's own folder; handlers of signals are afterwards what they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in (signal.SIGTERM, signal.SIGHUP):  # as in a new process, whoever started this one
        signal.signal(number, signal.SIG_DFL)
    yield
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == [signal.SIG_DFL] * 2
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_verb(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While a file is written: the temporary one goes, the old one stays, and the status is 128 plus the number."""
    Path("a.txt").write_text("old")

    def run(_options: object) -> int:
        with replacing(Path("a.txt")) as temporary:
            temporary.write_text("new")
            os.kill(os.getpid(), number)
        return 0

    monkeypatch.setattr(yolo.commands.summary, "run", run)
    with pytest.raises(SystemExit) as caught:
        main(["summary", "toy.cfg"])
    assert caught.value.code == 128 + number
    assert [(path.name, path.read_text()) for path in Path().iterdir()] == [("a.txt", "old")]
    assert capsys.readouterr().err == ""


def test_ignored_signals_stay_ignored() -> None:
    """nohup ignores SIGHUP at the start of a process."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_cleanly(), interruptible() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupt
            os.kill(os.getpid(), signal.SIGTERM)
            assert interrupt.name == "SIGTERM"
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_ends_a_run(first: signal.Signals, second: signal.Signals) -> None:
    """The first one only asks, also where a program of one's own trains; the second one lets every `finally` run."""

    def trains() -> None:
        with interruptible() as interrupt, replacing(Path("a")) as temporary:
            os.kill(os.getpid(), first)
            assert interrupt.name == first.name
            temporary.write_text("half")
            os.kill(os.getpid(), second)

    with pytest.raises(SystemExit) as caught:
        trains()
    assert caught.value.code == 128 + second
    assert list(Path().iterdir()) == []


def test_torchrun_sends_a_signal_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once itself, once with the process group or the job: that is one request. A later one ends the process."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with interruptible() as interrupt:
        monkeypatch.setattr(yolo.training.interrupt, "ECHO", 1e9)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt
        monkeypatch.setattr(yolo.training.interrupt, "ECHO", -1.0)
        with pytest.raises(SystemExit):
            os.kill(os.getpid(), signal.SIGTERM)


GONE = """
import os, signal, sys
from yolo.__main__ import main
from yolo.training.engine import Trainer

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever started the tests
ours, theirs = os.openpty() if sys.argv[1] == "terminal" else os.pipe()
for number in (1, 2):
    os.dup2(theirs, number)
sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
sys.stderr = sys.__stderr__ = os.fdopen(2, "w", closefd=False)

def closed(trainer, epoch, finish=Trainer._finish):
    if epoch == 0:
        os.close(ours)
    if epoch == 2:
        os.kill(os.getpid(), signal.SIGHUP)
    finish(trainer, epoch)

Trainer._finish = closed
sys.exit(main(["train", *sys.argv[2:]]))
"""
"""A training whose terminal, or the reader of its output, goes after an epoch. Two epochs later it gets a SIGHUP."""


def test_a_lost_output(tmp_path: Path) -> None:
    """A closed terminal gives errors at each write; a reader that ended, too. The run is saved at a signal."""
    command = words(shapes(tmp_path), tiny_cfg(tmp_path), "--epochs", "9", "--eval-every", "0", "--save-every", "9")
    kinds = ("terminal", "pipe")
    children = [process("-c", GONE, kind, *command, "--out", kind, module=False) for kind in kinds]
    for kind, child in zip(kinds, children, strict=True):
        ended(child)
        assert child.returncode == 130, kind
        assert checkpoint(Path(kind))["step"] == 10, kind


TWICE = """
import os, signal, sys
from yolo.files import atomic
from yolo.__main__ import main
from yolo.training import checkpoint
from yolo.training.engine import Trainer

def writing(state, path, save=checkpoint.torch.save):
    save(state, path)
    for number in (signal.SIGHUP, signal.SIGTERM):
        os.kill(os.getpid(), number)

def batch(trainer, *more, batch=Trainer._batch, **words):
    if trainer.loader.epoch == 1:  # its workers are there
        trainer.save()
    batch(trainer, *more, **words)

checkpoint.torch.save, Trainer._batch = writing, batch
for number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)  # whoever started the tests
sys.exit(main(["train", *sys.argv[1:]]))
"""
"""A training with workers that gets two signals while it saves within its second epoch."""


def test_a_second_signal_ends_a_training(tmp_path: Path) -> None:
    """At once, without traceback; no temporary file, no lock and no worker is left."""
    command = words(shapes(tmp_path), tiny_cfg(tmp_path), "--workers", "2", "--save-every", "9", "--epochs", "9")
    child = process("-c", TWICE, *command, "--out", "run", module=False)
    _, errors = ended(child)
    assert (child.returncode, errors) == (128 + signal.SIGTERM, "")
    assert [path.name for path in Path("run").iterdir() if path.name.startswith(".") or path.suffix == ".pt"] == []
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
