"""Several items at once, each in a thread, with results in the order of the items."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from itertools import chain, islice
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

MOST = 8
"""The largest number of images at once. Each has its pixels and the network's activations in memory."""

READERS = 4
"""Threads that read images for a device that computes them."""


def _in_a_fork() -> None:
    """Compute with one thread in a forked process: it has not got PyTorch's others, and would wait for them forever."""
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_fork)


def workers_for(device: torch.device) -> int:
    """Return how many images to detect in at once, each in a thread of its own.

    On a CPU it is the number of PyTorch's threads. A thread that has an image for itself never waits for the others,
    and reads the next image while they compute, so all cores are busy all the time. Another device computes one batch
    after the other; the threads read the images and wait for it.
    """
    if device.type == "cpu":
        return min(MOST, torch.get_num_threads())
    return min(READERS, os.cpu_count() or 1) if device.type == "cuda" else 1


@contextmanager
def share_of_threads(workers: int) -> Iterator[None]:
    """Have the calling thread compute with its share of PyTorch's threads, one of `workers`, within the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // workers))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def in_order(items: Generator[T, None, None], work: Callable[[T], R], workers: int) -> Generator[R, None, None]:
    """Yield `work(item)` of every item, in their order.

    Up to `workers` items are computed at once, each by a share of PyTorch's threads. Items are taken in the calling
    thread, at most `2 * workers` ahead of the results. The first one is computed there as well, before the threads
    start: what is made at the first detection, such as an inference copy, is made once. Fewer than `2 * workers` items
    are computed one by one by all of PyTorch's threads. With one worker, no item is taken before the result of the one
    before it has been used.

    What `work` raises is raised in the place of the result. Closing the generator drops what is not yet computed, waits
    for the rest, and closes `items`.
    """
    with closing(items):
        ahead = list(islice(items, 2 * workers)) if workers > 1 else []
        if computed_at_once(len(ahead), workers) == 1:
            yield from map(work, chain(ahead, items))
            return
        with share_of_threads(workers):
            first = work(ahead[0])
        yield first
        threads = torch.get_num_threads()
        # The number belongs to the thread that sets it, and is what later threads of the program begin with.
        pool = ThreadPoolExecutor(workers, "images", torch.set_num_threads, (max(1, threads // workers),))
        try:
            waiting = deque(pool.submit(work, item) for item in ahead[1:])
            for item in items:
                waiting.append(pool.submit(work, item))
                yield _result(waiting.popleft())
            while waiting:
                yield _result(waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)


def computed_at_once(items: int, workers: int) -> int:
    """Return how many of that number of items `in_order` computes at once."""
    return workers if items >= 2 * workers else 1


def batches_of(items: Generator[T, None, None], size: int) -> Generator[list[T], None, None]:
    """Yield the items in lists of `size`, the last one perhaps shorter. Closes `items`."""
    with closing(items):
        while batch := list(islice(items, size)):
            yield batch


def _result(future: Future[R]) -> R:
    """Return the result of a future, or raise what it raised."""
    # With a limit, since Ctrl-C does not end a wait on Windows.
    while not wait([future], timeout=0.5).done:
        pass
    return future.result()
