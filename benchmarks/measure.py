"""What several benchmarks measure alike. Standard library only: competitors run in environments of their own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Worker:
    """A process that waits for its turn: it answers a line on stdin with a line of JSON on stdout.

    Args:
        command: starts it; it says one line of JSON when it is ready, which is kept as `ready`.
        log: file for its stderr.

    Raises RuntimeError with the last line of the log where an answer does not come.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log.open("w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        self.ready = self._answer()

    def ask(self, line: str) -> dict[str, Any]:
        """The answer to a line, while the other workers wait."""
        assert self.process.stdin is not None
        time.sleep(0.05)  # the threads of the one before spin for a while
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends it: there are no more lines."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.log.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            raise RuntimeError((self.log.read().strip().splitlines() or ["ended without a word"])[-1])
        answer: dict[str, Any] = json.loads(line)
        return answer


def peak_memory() -> float:
    """Peak resident memory of this process in MB (10^6 bytes), NaN where the system does not tell.

    Not `ru_maxrss`: Linux counts the parent's memory at the fork into it.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
