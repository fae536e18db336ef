"""Several items at once: their order, how many are taken ahead, errors, and the end of the threads."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

import yolo
from tests.support.train_problems import tiny_cfg
from yolo.models.in_order import MOST, batches_of, in_order, workers_for


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Have six threads of PyTorch, and no thread left at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(6)
    yield
    torch.set_num_threads(before)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("images")]


class Numbers:
    """Counts from 0 and knows how many numbers were taken, and whether it was closed."""

    def __init__(self, number: int) -> None:
        self.number, self.taken, self.closed = number, 0, False

    def each(self) -> Generator[int, None, None]:
        """Yield the numbers."""
        try:
            for k in range(self.number):
                self.taken += 1
                yield k
        finally:
            self.closed = True


def test_results_have_the_order_of_the_items() -> None:
    """Although each item of a group of three is done before the one in front of it, which needs all three at once."""
    done = [threading.Event() for _ in range(13)]

    def work(k: int) -> int:
        if k and k % 3:  # 1 waits for 2, 2 for 3, ...; the first item is computed before the threads start
            assert done[k + 1].wait(20)
        done[k].set()
        return k * k

    assert list(in_order(Numbers(13).each(), work, 3)) == [k * k for k in range(13)]


def test_what_is_taken_ahead_is_bounded() -> None:
    """Nothing before the first result, then at most twice as many items as threads."""
    numbers = Numbers(50)
    found = in_order(numbers.each(), lambda k: k, 3)
    assert numbers.taken == 0
    for k in range(50):
        assert next(found) == k
        assert numbers.taken <= k + 6
    assert list(found) == []


def test_one_worker_is_no_thread() -> None:
    """Each item is taken when its result is asked for, and computed in the calling thread."""
    numbers, own = Numbers(5), threading.current_thread()
    found = in_order(numbers.each(), lambda k: (k, threading.current_thread() is own), 1)
    for k in range(5):
        assert next(found) == (k, True)
        assert numbers.taken == k + 1
    assert list(found) == []


@pytest.mark.parametrize("number", [0, 1, 5])
def test_too_few_items_for_threads(number: int) -> None:
    """They are computed one by one by all threads of PyTorch, in the calling thread."""
    found = list(in_order(Numbers(number).each(), lambda _: (torch.get_num_threads(), threading.current_thread()), 3))
    assert found == [(6, threading.current_thread())] * number


def test_threads_of_pytorch_are_shared() -> None:
    """Three workers have two threads each, the caller keeps its six, and so does a thread that is new afterwards."""
    numbers = []
    for number in in_order(Numbers(9).each(), lambda _: torch.get_num_threads(), 3):
        numbers.append(number)
        assert torch.get_num_threads() == 6
    assert numbers == [2] * 9
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [6]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_comes_in_its_place(workers: int) -> None:
    """The results before it are yielded, those after it are not, and the items are closed."""

    def work(k: int) -> int:
        if k == 4:
            raise OSError("damaged")
        return k

    numbers = Numbers(20)
    found = in_order(numbers.each(), work, workers)
    assert [next(found) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(OSError, match="damaged"):
        next(found)
    assert numbers.closed


@pytest.mark.parametrize("workers", [1, 3])
def test_closing_ends_it(workers: int) -> None:
    """What is not begun is not computed, and the items are closed."""
    numbers, computed = Numbers(100), []

    def work(k: int) -> int:
        computed.append(k)
        return k

    found = in_order(numbers.each(), work, workers)
    assert [next(found), next(found)] == [0, 1]
    found.close()
    assert numbers.closed
    assert len(computed) <= numbers.taken <= 7


def test_ctrl_c_ends_it() -> None:
    """KeyboardInterrupt in the caller's loop is not held back; the threads end when the generator is closed."""
    numbers = Numbers(100)

    def interrupted() -> None:
        with closing(in_order(numbers.each(), lambda k: k, 3)) as found:
            for k in found:
                if k == 3:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert numbers.closed


def test_batches() -> None:
    """The last one is shorter; closing the batches closes the items."""
    assert list(batches_of(Numbers(7).each(), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    numbers = Numbers(7)
    batches = batches_of(numbers.each(), 2)
    assert next(batches) == [0, 1]
    batches.close()
    assert numbers.closed


def test_how_many_at_once() -> None:
    """As many as PyTorch has threads, up to a limit; a device that is neither a CPU nor CUDA has one."""
    assert workers_for(torch.device("cpu")) == 6
    torch.set_num_threads(MOST + 5)
    assert workers_for(torch.device("cpu")) == MOST
    assert workers_for(torch.device("meta")) == 1


def test_a_forked_process_detects(tmp_path: Path) -> None:
    """With a model that was loaded, and has detected, in two threads: they are not there after a fork."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = yolo.load(tiny_cfg(tmp_path), names=list("abcdef"), device="cpu")
        image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        expected = model.detect(image, confidence=0.6).boxes
        torch.ones(2**20).exp_()  # with both threads
        child = os.fork()
        if not child:
            try:
                torch.ones(2**20).exp_()
                os._exit(10 + torch.equal(model.detect([image] * 5, confidence=0.6)[4].boxes, expected))
            finally:
                os._exit(1)
    finally:
        torch.set_num_threads(threads)
    deadline, ended = time.monotonic() + 60, (0, 0)
    while not ended[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(ended[1]) == 11
