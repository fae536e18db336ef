"""A run folder has one owner: real processes that own it, are killed, and fork."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import yolo.training.owner
from tests.support.train_problems import ended, process, shapes, tiny_cfg, words
from tests.support.warm import Warm
from yolo.__main__ import main
from yolo.files.atomic import open_alone
from yolo.training.owner import OWNER, owned

HOLDER = """
import os, sys, time
from pathlib import Path
from yolo.training.owner import owned
with owned(Path(sys.argv[1])):
    worker = os.fork() if "fork" in sys.argv else -1
    if worker:
        print(worker, flush=True)
    while not Path("../end").exists():
        time.sleep(0.01)
    if not worker:
        os._exit(0)
"""
"""Owns a folder until there is a file. With `fork`, a child waits for that as well, whose process id is printed."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go into a folder of the test's own folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@contextmanager
def holder(folder: str, *more: str) -> Iterator[tuple[Warm, int]]:
    """Yield a process that owns the folder, and the process id of its child, once it does."""
    with Warm("-c", HOLDER, folder, *more) as child:
        try:
            while not (said := child.files[0].read_text()).endswith("\n"):
                assert child.poll() is None, child.communicate()
                time.sleep(0.01)
            yield child, int(said)
        finally:
            Path("../end").touch()


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


def attempt(folder: str, start: int, end: int, result: int) -> None:
    """In a forked process: try to own a folder when `start` is closed, write whether it did, keep it until `end` is."""
    os.read(start, 1)
    try:
        with owned(Path(folder)):
            os.write(result, b"1")
            os.read(end, 1)
    except BlockingIOError:
        os.write(result, b"0")
    except BaseException:
        os.write(result, b"x")
        raise


def test_two_starts_at_once() -> None:
    """Of two processes that begin in the same moment exactly one gets the folder, twenty times."""
    for number in range(20):
        pipes = [os.pipe() for _ in range(3)]
        (start, begin), (end, finish), (result, report) = pipes
        children = []
        for _ in range(2):
            if not (child := os.fork()):
                os.close(begin)
                os.close(finish)
                with suppress(BaseException):
                    attempt(f"{number}/a", start, end, report)
                os._exit(0)
            children.append(child)
        os.close(begin)
        assert sorted(os.read(result, 1) + os.read(result, 1)) == [*b"01"]
        os.close(finish)
        for child in children:
            os.waitpid(child, 0)
        for descriptor in (start, end, result, report):
            os.close(descriptor)
        assert not any(file.endswith(OWNER) for file in files())


@pytest.mark.parametrize("kind", ["symlink", "dangling", "hard link", "folder", "pipe", "read pipe"])
def test_something_else_in_place_of_the_lock(kind: str) -> None:
    """It is named and refused at once, and what it leads to keeps its content."""
    Path("a").mkdir()
    Path("mine.txt").write_text("work")
    place, ends = Path("a") / OWNER, []
    if kind == "folder":
        place.mkdir()
    elif kind == "hard link":
        place.hardlink_to("mine.txt")
    elif kind.endswith("pipe"):
        os.mkfifo(place)
        ends = [os.open(place, os.O_RDONLY | os.O_NONBLOCK)] if kind.startswith("read") else []
    else:
        place.symlink_to(Path("mine.txt" if kind == "symlink" else "new.txt").absolute())
    before = files()
    with pytest.raises(OSError, match=r"a/\.owner: is a link, a folder or a pipe, expected no file or one to write"):
        main_owned("a")
    for end in ends:
        os.close(end)
    assert files() == before
    assert Path("mine.txt").read_text() == "work"


def main_owned(folder: str) -> None:
    """Own a folder."""
    with owned(Path(folder)):
        pass


@pytest.mark.parametrize("text", [b"process 1 on another since 2020", b"\xff\0\x1b[31m\n" * 9, b"x" * 200_000])
def test_any_text_of_an_owner(text: bytes) -> None:
    """The lock decides. The text is of another machine, of a copied folder, or damaged: never an error of its own."""
    Path("a").mkdir()
    place = Path("a") / OWNER
    place.write_bytes(text)
    lock = open_alone(place, wait=False)
    assert lock is not None
    with lock, pytest.raises(BlockingIOError, match="a: another training writes here: ") as caught:
        main_owned("a")
    assert str(caught.value).isprintable()
    with owned(Path("a")):  # the other one has ended, or never wrote here
        assert f"process {os.getpid()} on" in place.read_text()
    assert files() == ["a"]


def test_a_file_in_place_of_the_folder() -> None:
    """It is said, and the file stays."""
    Path("a").write_text("work")
    with pytest.raises(OSError, match="a: is a file, expected a folder; give another one with --out"):
        main_owned("a")
    assert Path("a").read_text() == "work"


def test_a_run_within_a_run() -> None:
    """Each folder has an owner of its own; the inner one leaves the outer one's lock alone."""
    with owned(Path("a")):
        main_owned("a/b")
        with pytest.raises(BlockingIOError):
            main_owned("a")


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
