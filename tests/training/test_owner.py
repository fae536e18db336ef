"""A run folder has one owner: real processes that own it, are killed, and fork."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import yolo.training.owner
from tests.support.paths import environment
from tests.support.train_problems import ended, process, shapes, tiny_cfg, words
from tests.support.warm import Warm
from yolo.__main__ import main
from yolo.training.owner import OWNER, owned

HOLDER = """
import os, sys
from pathlib import Path
from yolo.training.owner import owned
with owned(Path(sys.argv[1])):
    worker = os.fork() if "fork" in sys.argv else -1
    if worker:
        print(worker, flush=True)
    sys.stdin.read()
    if not worker:
        os._exit(0)
"""
"""Owns a folder until its stdin ends. With `fork`, a child waits for that as well, whose process id is printed."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go into the test's own folder."""
    monkeypatch.chdir(tmp_path)


@contextmanager
def holder(folder: str, *more: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield a process that owns the folder, and the process id of its child, once it does."""
    command = [sys.executable, "-c", HOLDER, folder, *more]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            yield child, int(child.stdout.readline())
        finally:
            child.stdin.close()


def files() -> list[str]:
    """Return all files and folders below the working directory."""
    return sorted(map(str, Path().rglob("*")))


def test_the_second_one_is_refused() -> None:
    """The message says who has the folder: process, host, time and command. Nothing is written meanwhile."""
    with holder("a") as (child, _):
        before = files()
        with pytest.raises(BlockingIOError) as caught, owned(Path("a")):
            raise AssertionError("owned twice")
        who = f"a: another training writes here: process {child.pid} on {socket.gethostname()} since 20"
        assert str(caught.value).startswith(who)
        assert "-c " in str(caught.value)
        assert files() == before == ["a", f"a/{OWNER}"]
        with owned(Path("b")):  # another folder is free
            pass
    assert child.returncode == 0
    assert files() == []


def test_a_process_cannot_own_a_folder_twice() -> None:
    """Not even within one process, as two threads or a loop over runs might try."""
    with owned(Path("a")), pytest.raises(BlockingIOError, match=f"process {os.getpid()} on"), owned(Path("a")):
        raise AssertionError("owned twice")


def test_a_killed_process_owns_nothing() -> None:
    """Its file stays and does not matter, nor does a forked process that outlives it, as its workers do for seconds."""
    with holder("a", "fork") as (child, worker):
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert files() == ["a", f"a/{OWNER}"]
        os.kill(worker, 0)  # it lives
        with owned(Path("a")) as folder:
            assert f"process {os.getpid()} on" in (folder / OWNER).read_text()
    assert files() == ["a"]


def test_folders_are_left_as_they_were() -> None:
    """Folders that were made are removed if nothing was written into them; others stay, also empty ones."""
    Path("mine").mkdir()
    with owned(Path("mine/a/b")):
        pass
    assert files() == ["mine"]
    with owned(None) as folder:
        assert folder == Path("runs/train")
    assert files() == ["mine"]
    with owned(None) as folder:
        (folder / "options.yaml").touch()
    with owned(Path("mine")):
        pass
    assert files() == ["mine", "runs", "runs/train", "runs/train/options.yaml"]
    with pytest.raises(RuntimeError), owned(Path("c")):
        raise RuntimeError
    assert "c" not in files()


def test_where_files_cannot_be_locked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A line says so, and the training continues."""
    monkeypatch.setattr(yolo.training.owner, "open_alone", lambda *_, **__: None)
    with owned(Path("a")), owned(Path("a")):
        pass
    assert capsys.readouterr().out.count("a: files cannot be locked here, so make sure") == 2
    assert files() == []


BEGUN = """
import sys, time
from pathlib import Path
from yolo.__main__ import main
from yolo.training.engine import Trainer

def waiting(trainer, epoch, fit=Trainer._finish):
    fit(trainer, epoch)
    Path("epoch").touch()
    while Path("epoch").exists():
        time.sleep(0.01)

Trainer._finish = waiting
sys.exit(main(["train", *sys.argv[1:]]))
"""
"""A training that waits after each epoch until its file `epoch` is removed."""


def test_two_trainings(capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever of --out and --resume the second one has, it is refused in one line, and the first run is complete."""
    command = words(shapes(Path.cwd()), tiny_cfg(Path.cwd()), "--out", "run")
    child = Warm("-c", BEGUN, *command)
    after_epoch(child)
    kept = {path: path.read_bytes() for path in Path("run").iterdir()}
    for more in (["--resume", "run"], command):
        assert main(["train", *more]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"error: run: another training writes here: process {child.pid} on" in error
        assert "--out run" in error, "the command of the first one"
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == kept
    Path("epoch").unlink()
    after_epoch(child)
    Path("epoch").unlink()
    _, errors = ended(child)
    assert child.returncode == 0, errors
    assert not (Path("run") / OWNER).exists()


def after_epoch(child: Warm) -> None:
    """Wait until a training has completed an epoch."""
    deadline = time.monotonic() + 120
    while not Path("epoch").exists():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_all_processes_of_a_training_are_refused() -> None:
    """Process 0 finds the owner, both give the same error, and end."""
    with owned(Path("run")):
        command = ["--data", "set", "--device", "cpu", "--out", "run"]
        child = process(*command, ranks=2)
        _, errors = ended(child)
    assert child.returncode == 1
    assert errors.count(f"error: run: another training writes here: process {os.getpid()} on") == 2
    assert files() == []
