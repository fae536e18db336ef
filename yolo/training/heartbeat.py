"""The processes of a training watch each other: when one of them dies or stops, the others end with a sentence.

A collective call waits for a stopped process until its timeout, 30 minutes by default. A short timeout would end
healthy trainings, because one process may save or call the user's function while the others wait. So every process
counts up a number in the store that they met in, and looks whether those of the others grow.
"""

from __future__ import annotations

import multiprocessing
import os
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path

import torch.distributed as dist

from yolo.process.distributed import rank, world_size
from yolo.training.run_folder import LAST

PAUSE, MISSED = 5.0, 8
"""Seconds between two looks, and the number of looks without a sign of life after which a process is lost."""

ENDED = -(2**40)
"""Added to the number of a process that has ended in good order."""

_blocks = count()


@contextmanager
def watched(run: Path) -> Iterator[None]:
    """End this process when another one of the training is lost during the block. Without others nothing is done.

    Raises ConnectionError if a collective call fails. One that would wait for ever cannot be interrupted from Python:
    then the sentence is printed and the process ends with status 1. The last checkpoint stays as it is.
    """
    if world_size() == 1:
        yield
        return
    watch = _Watch(run)
    threads = [threading.Thread(target=target, daemon=True) for target in (watch.count, watch.judge)]
    for thread in threads:
        thread.start()
    try:
        yield
        watch.well = True
    except RuntimeError as problem:
        what = " ".join(str(problem).split())
        if not isinstance(problem, dist.DistError) and not any(name in what for name in ("gloo", "NCCL", "by peer")):
            raise
        raise ConnectionError(f"another process of this training has ended; {_again(run)}") from problem
    finally:
        watch.over.set()
        threads[0].join(PAUSE)


class _Watch:
    """The signs of life of all processes, as two threads see them."""

    def __init__(self, run: Path) -> None:
        self.run, self.over, self.well = run, threading.Event(), False
        self.counts = [0] * world_size()
        self._rank, self._block = rank(), next(_blocks)

    def count(self) -> None:
        """Give signs of life and look for those of the others, until the block is over."""
        try:
            store = dist.TCPStore(  # type: ignore[attr-defined]
                os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=timedelta(seconds=60)
            )
            names = [f"alive {self._block} {number}" for number in range(len(self.counts))]
            while not self.over.is_set():
                self.counts = [store.add(name, int(k == self._rank)) for k, name in enumerate(names)]
                self.over.wait(PAUSE)
            if self.well:
                store.add(names[self._rank], ENDED)
        except RuntimeError:
            # torchrun's store went with torchrun, which the processes may survive. Otherwise process 0 is gone with it.
            if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
                self.over.set()

    def judge(self) -> None:
        """End the process when one gives no sign of life. Looks are counted, not seconds: all may have been stopped."""
        missed, before = [0] * len(self.counts), self.counts
        while not self.over.wait(PAUSE):
            now = self.counts
            missed = [(n + 1) * (one == other >= 0) for n, one, other in zip(missed, before, now, strict=True)]
            before = now
            if lost := [number for number, looks in enumerate(missed) if looks >= MISSED]:
                # A number of one's own that does not grow: the store does not answer.
                who = lost[0] if self._rank not in lost else 0
                text = f"error: process {who} of {len(now)} of this training does not answer; {_again(self.run)}\n"
                os.write(2, text.encode())
                for worker in multiprocessing.active_children():
                    worker.kill()
                os._exit(1)


def _again(run: Path) -> str:
    """Return why a process is lost, and what to do."""
    then = "start the training again"
    if (run / LAST).is_file():
        then = (
            f"resume from the last checkpoint, with torchrun as before: -m yolo train --resume {shlex.quote(str(run))}"
        )
    return f"it was killed (out of memory?), stopped, or its machine is gone. This process ends too; {then}"
