"""What all benchmarks share: contenders that take turns, and competitors in processes of their own.

Standard library only, because competitors run in environments of their own.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
"""The clone. It is measured without being installed, so it comes after this folder among the places of modules."""

if str(ROOT) not in sys.path:
    sys.path.insert(1, str(ROOT))

Turn = Callable[[], Sequence[float]]
"""One turn of a contender: returns what it measured, for example the milliseconds of each of its calls."""


@dataclass
class Figures:
    """The measurements of one contender, turn by turn."""

    turns: list[Sequence[float]] = field(default_factory=list)

    @property
    def values(self) -> list[float]:
        """All measurements, in their order."""
        return [value for turn in self.turns for value in turn]

    @property
    def median(self) -> float:
        """The median of all measurements."""
        return statistics.median(self.values)

    def spread(self, form: str = "8.2f") -> str:
        """Return minimum, median and maximum, each in the format `form`."""
        return " ".join(format(value, form) for value in (min(self.values), self.median, max(self.values)))

    def over(self, other: Figures) -> list[float]:
        """Return the ratio of the medians of each turn to those of the same turn of another contender."""
        pairs = zip(self.turns, other.turns, strict=True)
        return [statistics.median(own) / statistics.median(others) for own, others in pairs]


def race(
    contenders: Mapping[str, Turn], rounds: int, *, warmup: int = 0, at_most: Mapping[str, int] | None = None
) -> dict[str, Figures]:
    """Let contenders take turns, so that a disturbance of the machine meets all of them, and return their figures.

    Args:
        contenders: a turn of each, by name. In every round each has one turn, in this order.
        rounds: the number of rounds that count.
        warmup: the number of rounds before them that do not.
        at_most: the number of rounds of single contenders, where that is smaller.
    """
    figures = {name: Figures() for name in contenders}
    limits = at_most or {}
    for number in range(-warmup, rounds):
        for name, turn in contenders.items():
            if number >= limits.get(name, rounds):
                continue
            measured = turn()
            if number >= 0:
                figures[name].turns.append(measured)
    return figures


def timed(
    function: Callable[[], object], calls: int = 1, *, unit: float = 1.0, wait: Callable[[], object] | None = None
) -> Turn:
    """Return the turn that calls a function and measures each call.

    Args:
        function: what is measured.
        calls: the number of calls in a turn.
        unit: factor on the seconds; 1e3 gives milliseconds.
        wait: returns when the device has finished, such as `torch.cuda.synchronize`; None for work on the host.
    """

    def turn() -> list[float]:
        return [unit * clock(function, wait) for _ in range(calls)]

    return turn


def clock(function: Callable[[], object], wait: Callable[[], object] | None = None) -> float:
    """Return the seconds of one call, with the work that it leaves on a device (`wait`, as for `timed`)."""
    if wait is not None:
        wait()
    start = time.perf_counter()
    function()
    if wait is not None:
        wait()
    return time.perf_counter() - start


class Worker:
    """A process that waits for its turn: it answers a line on stdin with a line of JSON on stdout.

    Args:
        command: starts the process. When it is ready it prints one line of JSON, which is kept as `ready`.
        log: file for its stderr.

    Raises RuntimeError with the last line of the log if the process ends without an answer.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log.open("w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        self.ready = self._answer()

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line and return the answer; the other workers wait meanwhile."""
        assert self.process.stdin is not None
        time.sleep(0.05)  # the threads of the previous worker still spin for a while
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process by closing its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.log.close()

    def _answer(self) -> dict[str, Any]:
        """Read one answer; RuntimeError if the process has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            raise RuntimeError((self.log.read().strip().splitlines() or ["ended without a message"])[-1])
        answer: dict[str, Any] = json.loads(line)
        return answer


def peak_memory() -> float:
    """Return the peak resident memory of this process in MB (10^6 bytes), NaN where the system does not report it.

    Not `ru_maxrss`: on Linux it includes the parent's memory at the fork.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
