"""Worker processes: answers in order, however they travel, and a sentence when one ends."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import synchronize
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.test_batches import SIZE, Drawn
from yolo.data.loader import Batch, Loader
from yolo.data.order import Draw
from yolo.data.sample import Sample
from yolo.data.sampler import Batches
from yolo.data.transforms import Augmented
from yolo.data.workers import WorkerError, Workers


def nothing(_worker: int) -> None:
    """What a worker begins with."""


def answers(make: Callable[[int], object], items: int, count: int) -> list[object]:
    """Return the answers of workers to 0, 1, 2, ..."""
    with Workers(make, count, nothing) as workers:
        return list(workers.answers(range(items)))


@pytest.mark.parametrize(("count", "ahead"), [(1, 2), (3, 1)])
def test_answers_are_in_order(count: int, ahead: int) -> None:
    """Also fewer than there are workers, and none at all."""
    workers: Workers[int, int] = Workers(lambda item: item * item, count, nothing, ahead=ahead)
    with workers:
        for items in (0, 1, 2, 11):
            assert list(workers.answers(range(items))) == [item * item for item in range(items)]


def arrays(item: int) -> dict[str, np.ndarray]:
    """Return arrays of several dtypes and shapes, an empty one among them, that depend on a number."""
    random = np.random.default_rng(item)
    return {
        "pixels": random.integers(0, 255, (2, 5, 7, 3), np.uint8),
        "boxes": random.random((3, 4), np.float32),
        "none": np.zeros((0, 4), np.float32),
        "turned": random.random((4, 6)).T,
    }


@pytest.mark.parametrize("way", ["memory", "no-memory", "full"])
def test_arrays_are_the_same_by_every_way(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file without a name, and in the pipe where there is none or no room for it. They can be written."""

    def refused(*_: object) -> int:
        raise OSError("not allowed")

    if way == "no-memory":
        monkeypatch.setattr(os, "memfd_create", refused)
    if way == "full":
        monkeypatch.setattr(os, "memfd_create", lambda _: os.open("/dev/full", os.O_WRONLY))
    for item, found in enumerate(answers(arrays, 5, 2)):
        assert isinstance(found, dict)
        for name, expected in arrays(item).items():
            assert found[name].dtype == expected.dtype
            assert np.array_equal(found[name], expected)
            found[name][...] = 1


class OddError(Exception):
    """An error that cannot be made again from its arguments."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def test_an_error_comes_in_its_place() -> None:
    """As it was raised, with where it was raised as a note; one of a class that cannot travel as its text."""

    def make(item: int) -> int:
        if item == 3:
            raise ValueError("image.png: damaged")
        return item

    with Workers(make, 2, nothing) as workers:
        found = workers.answers(range(9))
        assert [next(found) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="damaged") as caught:
            next(found)
    assert str(caught.value) == "image.png: damaged"
    assert "in make" in caught.value.__notes__[0]

    def odd(item: int) -> int:
        raise OddError(item, 2)

    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(OddError(1, 2)))
    with pytest.raises(RuntimeError, match="OddError: 0 and 2"):
        answers(odd, 1, 1)


HOW = {
    signal.SIGKILL: "killed by SIGKILL: most likely by the system because memory ran out",
    signal.SIGSEGV: "killed by SIGSEGV: a fault in a library",
    signal.SIGBUS: "killed by SIGBUS: a file that it had mapped was cut",
    signal.SIGUSR1: "killed by SIGUSR1: somebody has sent it",
    3: "ended with exit status 3",
}


@pytest.mark.parametrize("how", list(HOW), ids=str)
def test_a_worker_that_ends(how: int) -> None:
    """Answers before it come; then a sentence says which worker, which process, how, and the probable cause."""

    def make(item: int) -> int:
        if item == 3:
            if isinstance(how, signal.Signals):
                signal.signal(how, signal.SIG_DFL) if how != signal.SIGKILL else None
                os.kill(os.getpid(), how)
            os._exit(how)
        return item

    with Workers(make, 2, nothing) as workers:
        pid = workers.processes[1].pid
        found = workers.answers(range(9))
        assert [next(found) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(WorkerError, match=rf"worker 2 of 2 \(process {pid}\) (was|has) {HOW[how]}"):
            next(found)


def test_half_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that ends while it sends leaves nobody waiting for the rest."""
    monkeypatch.setattr(
        "yolo.data.workers.send", lambda pipe, _: os.write(pipe.fileno(), b"\0\0\1\0half") and os._exit(1)
    )
    with pytest.raises(WorkerError, match="worker 1 of 1"):
        answers(abs, 1, 1)


def test_a_worker_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended by force."""
    monkeypatch.setattr("yolo.data.workers.PATIENCE", 0.1)
    workers: Workers[int, None] = Workers(lambda item: time.sleep(1000 * item), 2, nothing)
    with workers:
        processes = workers.processes
        next(workers.answers(range(2)))
    assert [process.exitcode for process in processes] == [0, -signal.SIGKILL]


def test_workers_beside_others() -> None:
    """They end by themselves although later ones were forked with the connections to them."""
    one: Workers[int, int] = Workers(abs, 2, nothing)
    other: Workers[int, int] = Workers(abs, 1, nothing)
    with one, other:
        processes = one.processes
        assert list(one.answers([-1, -2])) == [1, 2]
        one.close()
        assert list(other.answers([-3])) == [3]
    assert [process.exitcode for process in processes] == [0, 0]


def test_workers_end_with_their_process() -> None:
    """Those of a killed process end, busy or not, and leave nothing in shared memory."""
    before = set(Path("/dev/shm").iterdir()) if Path("/dev/shm").is_dir() else set()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            batches = iter(Loader(Slow(Augmented(Drawn(6))), Batches(6, 1, SIZE, shuffle=False), workers=2))
            next(batches)
            os.write(writer, b"ready")
            time.sleep(600)
        finally:
            os._exit(1)
    os.close(writer)
    assert os.read(reader, 5) == b"ready"
    pids = [int(pid) for pid in Path(f"/proc/{child}/task/{child}/children").read_text().split()]
    assert len(pids) == 2
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for pid in pids:
        while "sleeping" in state(pid) or "running" in state(pid):
            time.sleep(0.01)
    assert {file for file in Path("/dev/shm").iterdir() if file not in before and "exact" in file.name} == set()
    os.close(reader)


def state(pid: int) -> str:
    """Return the state of a process, "" if there is none."""
    try:
        return next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("State"))
    except OSError:
        return ""


class Slow:
    """Makes the first two samples as `data` does, and never comes to the end of another one."""

    def __init__(self, data: Augmented) -> None:
        self.data = data

    def __getitem__(self, draw: Draw) -> Sample:
        if draw.image > 1:
            time.sleep(600)
        return self.data[draw]


# batches


class Deadly:
    """Makes samples as `data` does; the process that makes one of some images ends, the first `times` times.

    `times` is kept in a file, since each process has memory of its own.
    """

    def __init__(self, data: Augmented, images: set[int], file: Path, times: int) -> None:
        self.data, self.images, self.file = data, images, file
        file.write_bytes(bytes(times))

    def __getitem__(self, draw: Draw) -> Sample:
        left = self.file.stat().st_size
        if draw.image in self.images and left:
            os.truncate(self.file, left - 1)
            os.kill(os.getpid(), signal.SIGKILL)
        return self.data[draw]


def same(one: list[Batch], other: list[Batch]) -> bool:
    """Return whether batches are equal, bit for bit."""
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.images.equal(b.images)
        assert a.images.stride() == b.images.stride()
        for s, t in zip(a.targets, b.targets, strict=True):
            assert all(torch.equal(s[key], t[key]) for key in ("boxes", "labels", "iscrowd", "area"))
            assert (s["size"], s["image_id"]) == (t["size"], t["image_id"])
    return True


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("image", [0, 5, 8])
def test_another_worker_takes_over(workers: int, image: int, tmp_path: Path) -> None:
    """At the beginning, in the middle and at the end of an epoch: the batches are the same, and `failure` says it."""
    data, batches = Augmented(Drawn(9)), Batches(9, 2, SIZE, shuffle=False)
    loader = Loader(Deadly(data, {image}, tmp_path / "times", 1), batches, workers=workers)
    assert same(list(loader), list(Loader(data, batches)))
    assert f"of {workers} (process" in loader.failure
    assert (loader.epoch, loader.position) == (1, 0)


def test_its_successor_ends_too(tmp_path: Path) -> None:
    """The batches before it have come, the position is that of the batch that cannot be made."""
    batches = Batches(9, 2, SIZE, shuffle=False)
    loader = Loader(Deadly(Augmented(Drawn(9)), {5}, tmp_path / "times", 2), batches, workers=2)
    made: list[Batch] = []
    with pytest.raises(WorkerError, match=r"worker 1 of 2 .*; the one in its place as well: worker 1 of 1 .*SIGKILL"):
        made.extend(loader)
    assert loader.position == 2


def test_nothing_of_dev_shm_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither locks nor memory with a name, which a container has little of; nor is a process that cannot start."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    data, batches = Augmented(Drawn(9)), Batches(9, 2, SIZE)
    expected = list(Loader(data, batches))
    monkeypatch.setattr(synchronize.SemLock, "__init__", refused)
    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", refused)
    loader = Loader(data, batches, workers=2)
    assert same(list(loader), expected)
    assert loader.failure == ""


def test_processes_that_cannot_start(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The batches are made in this process, and one sentence says so. A worker that has started is ended."""
    data, batches = Augmented(Drawn(9)), Batches(9, 2, SIZE)
    fork, left = os.fork, [0, 0]

    def last() -> int:
        if left.pop():
            return fork()
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", last)
    left[:] = [0, 1]
    with caplog.at_level(logging.WARNING):
        assert same(list(Loader(data, batches, workers=2)), list(Loader(data, batches)))
    (record,) = caplog.records
    assert "no worker process can be started" in record.getMessage()


@pytest.mark.parametrize("workers", [0, 2])
def test_page_locked_batches(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch once, in order; an error of a worker comes in its place, and leaving early ends everything."""
    pinned = []

    def pin(images: torch.Tensor) -> torch.Tensor:
        pinned.append(images)
        return images.clone(memory_format=torch.preserve_format)

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    data, batches = Augmented(Drawn(9)), Batches(9, 2, SIZE)
    assert same(list(Loader(data, batches, workers=workers, pin=True)), list(Loader(data, batches)))
    assert len(pinned) == 5
    one = next(iter(Loader(data, batches, workers=workers, pin=True)))
    assert same([one], [next(iter(Loader(data, batches)))])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool])
def test_samples_of_another_kind(dtype: torch.dtype) -> None:
    """Vectors and scalars of any dtype travel as images do."""
    for shape in ((5,), ()):
        batches = Batches(9, 2, SIZE)
        made = [list(Loader(OtherSamples(shape, dtype), batches, workers=workers)) for workers in (0, 2)]
        assert same(*made)
        assert made[1][0].images.dtype == dtype


class OtherSamples:
    """Samples of a shape and dtype, with the target of an image."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.data, self.make = Augmented(Drawn(9)), partial(torch.full, shape, dtype=dtype)

    def __getitem__(self, draw: Draw) -> Sample:
        return self.make(fill_value=draw.image), self.data[draw][1]
