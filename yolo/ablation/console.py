"""The progress of a study in the terminal: each run that starts or ends, the time left, and what failed."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from yolo.ablation.study import LOG, StudyRun
from yolo.metrics.precision import in_words
from yolo.training.progress import clock
from yolo.training.run_folder import read_metrics

LAST_LINES = 5
"""Lines of its log that are printed for a failed run."""


class Console:
    """Prints the progress of `runs` runs, `jobs` at once, with their `metrics`, and keeps which of them failed."""

    def __init__(self, runs: int, jobs: int, metrics: Sequence[str]) -> None:
        self.runs, self.left, self.jobs, self.metrics = runs, runs, jobs, metrics
        self.failed: list[StudyRun] = []
        self._waited_for: set[StudyRun] = set()
        self._seconds: list[float] = []  # of successful runs

    def started(self, run: StudyRun) -> None:
        """Report a run whose process has started."""
        _print(f"{run.name}: started")

    def queued(self, run: StudyRun) -> None:
        """Report a run that starts as soon as the cluster has room for it."""
        _print(f"{run.name}: given to Ray")

    def waits(self, run: StudyRun) -> None:
        """Report once that another process still writes a run."""
        if run not in self._waited_for:
            self._waited_for.add(run)
            _print(f"{run.name}: a process of an earlier command still runs it; waiting for its end")

    def ended(self, run: StudyRun, status: int, seconds: float, *, stopped: bool) -> None:
        """Report a run whose process has ended.

        Args:
            run: The run.
            status: Its exit status, 0 for a finished run.
            seconds: How long the process ran.
            stopped: Whether it was asked to stop.
        """
        if status and stopped:
            _print(f"{run.name}: stopped")
            return
        self.left -= 1
        if status:
            self.failed.append(run)
            _print(f"{run.name}: failed with status {status}; the others continue")
        else:
            self._seconds.append(seconds)
            _print(f"{run.name}: finished in {clock(seconds)}{_numbers(run, self.metrics)}; {self._rest()}")

    def report_failures(self) -> int:
        """Print the end of each failed run's log on stderr; return the number of failed runs."""
        for run in self.failed:
            log = run.folder / LOG
            lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:] if log.is_file() else []
            text = "\n".join(f"    {line}" for line in lines)
            print(f"error: {run.name} failed; the last lines of {log}:\n{text}", file=sys.stderr)
        return len(self.failed)

    def _rest(self) -> str:
        """Return how many runs are left, and about how long they take."""
        if not self.left:
            return "the last one"
        mean = sum(self._seconds) / len(self._seconds)
        return f"{self.left} of {self.runs} left, about {clock(mean * -(-self.left // self.jobs))}"


def _numbers(run: StudyRun, metrics: Sequence[str]) -> str:
    """Return some metrics of the last epoch in words; empty if it was not evaluated."""
    *_, last = [{}, *read_metrics(run.folder)]
    return "".join(f", {name} {in_words(last[name])}" for name in metrics if name in last)


def _print(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
