"""Worker processes that make batches, and tell how one ended.

A worker has a connection of its own to the main process, so one that is killed leaves no lock behind that another
process waits for, and its end is seen where its next answer is due. An answer travels in memory without a name: it
needs no room in /dev/shm, of which a container has 64 MB, and it is gone with the last process that uses it.

`torch.utils.data.DataLoader` was weighed. It needs that room and waits for ever where there is none, and of a killed
worker it tells by an exception anywhere in the main process, in the middle of a step too.
"""

from __future__ import annotations

import pickle
import random
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from yolo.process.memory import received, send

AHEAD = 2
"""Answers that each worker makes before they are due."""

PATIENCE = 5.0
"""Seconds that a worker gets to end by itself."""

CAUSES = {
    "SIGKILL": "most likely by the system because memory ran out; --workers 1 or a smaller --batch-size needs less",
    "SIGBUS": "a file that it had mapped was cut, or a disk is full",
    "SIGSEGV": "a fault in a library, or in the transform",
}
"""The probable cause of a signal that ended a worker."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class WorkerError(ChildProcessError):
    """A worker has ended before its work was done. The message says which one, how, and the probable cause."""


class Workers(Generic[Item, Answer]):
    """Processes that answer items, which are not None, each worker every n-th one.

    Args:
        make: makes the answer of an item; where processes are not forked, it is pickled. Answers are pickled; large
            arrays of NumPy in them are not copied by that.
        count: number of workers.
        begin: called in each worker with its number, before anything else.
        seed: seed of the random numbers of worker 0, for what draws them without a seed of its own.
        ahead: number of answers that each worker makes before they are due.

    Close it, or use it in a `with` statement. Raises OSError if no process can be started.
    """

    def __init__(
        self, make: Callable[[Item], Answer], count: int, begin: Callable[[int], None], *, seed: int = 0,
        ahead: int = AHEAD,
    ) -> None:  # fmt: skip
        self.ahead = ahead
        self.pipes: list[Connection] = []
        self.processes: list[Any] = []
        context = get_context()
        forked = context.get_start_method() == "fork"
        try:
            for number in range(count):
                ours, theirs = context.Pipe()
                self.pipes.append(ours)
                # What a forked process has of our ends would hide from another worker that we have closed them.
                inherited = self.pipes[:] if forked else []
                process = context.Process(
                    target=_work, args=(make, number, theirs, inherited, begin, seed + number), daemon=True
                )
                try:
                    process.start()
                finally:
                    theirs.close()
                self.processes.append(process)
        except BaseException:
            self.close()
            raise

    def answers(self, items: Sequence[Item]) -> Iterator[Answer]:
        """Yield the answers of all items, in order.

        An error of `make` is raised in its place. Raises WorkerError if the worker whose answer is due has ended.
        """
        count = len(self.pipes)
        for number, item in enumerate(items[: self.ahead * count]):
            self._ask(number % count, item)
        for number in range(len(items)):
            answer = self._answer(number % count)
            if number + self.ahead * count < len(items):
                self._ask(number % count, items[number + self.ahead * count])
            if isinstance(answer, _Failed):
                raise answer.problem
            yield answer

    def close(self) -> None:
        """End the workers, by force if one does not end by itself."""
        for pipe in self.pipes:
            # In words as well, since processes that were forked later have our ends too.
            with suppress(OSError):
                pipe.send(None)
            pipe.close()
        for process in self.processes:
            process.join(PATIENCE)
            if process.exitcode is None:
                process.kill()
                process.join()
        self.pipes, self.processes = [], []

    def __enter__(self) -> Workers[Item, Answer]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, worker: int, item: Item) -> None:
        """Send a worker its next item. One that has ended is noticed when its answer is due."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipes[worker].send(item)

    def _answer(self, worker: int) -> Any:
        """Return the next answer of a worker."""
        pipe, process = self.pipes[worker], self.processes[worker]
        try:
            # It may have ended although its end of the connection is open, in a process that somebody else has forked.
            while not pipe.poll(PATIENCE):
                if not process.is_alive() and not pipe.poll():
                    raise EOFError
            return received(pipe)
        except (EOFError, OSError):
            process.join(PATIENCE)
            if process.exitcode is None:
                raise
            raise WorkerError(_how(worker, len(self.pipes), process.pid, process.exitcode)) from None


class _Failed:
    """The error of `make` on its way from a worker."""

    def __init__(self, problem: Exception) -> None:
        self.problem = problem
        text = "".join(traceback.format_exception(problem))
        try:
            problem.add_note(text)
            pickle.loads(pickle.dumps(problem))
        except Exception:  # an error of a class that cannot travel
            self.problem = RuntimeError(f"{type(problem).__name__}: {problem}")
            self.problem.add_note(text)


def _how(worker: int, count: int, pid: int, code: int | None) -> str:
    """Return a sentence on how a worker ended, by the exit code of its process; negative for a signal."""
    who = f"worker {worker + 1} of {count} (process {pid})"
    if code is None or code >= 0:
        return f"{who} has ended with exit status {code}: a library or the transform has ended it"
    name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
    return f"{who} was killed by {name}: {CAUSES.get(name, 'somebody has sent it')}"


def _work(
    make: Callable[[Any], Any], number: int, pipe: Connection, inherited: Sequence[Connection],
    begin: Callable[[int], None], seed: int,
) -> None:  # fmt: skip
    """Answer items until the main process closes its end of the pipe."""
    for other in inherited:
        other.close()
    begin(number)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    with suppress(EOFError, ConnectionResetError, BrokenPipeError):
        while (item := pipe.recv()) is not None:
            try:
                answer = make(item)
            except Exception as problem:
                answer = _Failed(problem)
            send(pipe, answer)
