"""What a person sees of a study: a line for each run that starts or ends, the time left, and what failed."""

from __future__ import annotations

import sys
import time

from yolo.ablation.study import LOG, StudyRun
from yolo.training.run_folder import read_metrics

LAST_LINES = 5
"""Of the log of a run that failed."""


class Told:
    """Of so many runs, `jobs` at once."""

    def __init__(self, runs: int, jobs: int) -> None:
        self.all, self.left, self.jobs = runs, runs, jobs
        self.failed: list[StudyRun] = []
        self.stopped: list[StudyRun] = []  # asked to end, and saved if they had begun
        self._waited_for: set[StudyRun] = set()
        self._seconds: list[float] = []  # of the runs that ended well

    def started(self, run: StudyRun) -> None:
        """A process has it."""
        _say(f"{run.name}: started")

    def queued(self, run: StudyRun) -> None:
        """It begins as soon as there is room for it."""
        _say(f"{run.name}: given to Ray")

    def waits(self, run: StudyRun) -> None:
        """Another process still writes it; said once."""
        if run not in self._waited_for:
            self._waited_for.add(run)
            _say(f"{run.name}: a process of an earlier command is still at it; waiting for its end")

    def ended(self, run: StudyRun, status: int, seconds: float, *, stopped: bool) -> None:
        """The process has ended, with 0 for a run that is done, after so long; `stopped` if it was asked to."""
        if status == 0:
            self.left -= 1
            self._seconds.append(seconds)
            _say(f"{run.name}: finished in {clock(seconds)}{_numbers(run)}; {self._rest()}")
        elif stopped:
            self.stopped.append(run)
            _say(f"{run.name}: stopped")
        else:
            self.left -= 1
            self.failed.append(run)
            _say(f"{run.name}: failed with status {status}; the others go on")

    def report_failures(self) -> int:
        """Each failed run and the end of its log, on stderr; how many they are."""
        for run in self.failed:
            log = run.folder / LOG
            lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:] if log.is_file() else []
            text = "\n".join(f"    {line}" for line in lines)
            print(f"error: {run.name} failed; the last lines of {log}:\n{text}", file=sys.stderr)
        return len(self.failed)

    def _rest(self) -> str:
        """How many runs are left, and about how long they take."""
        if not self.left:
            return "the last one"
        mean = sum(self._seconds) / len(self._seconds)
        return f"{self.left} of {self.all} left, about {clock(mean * -(-self.left // self.jobs))}"


def clock(seconds: float) -> str:
    """A time in words: 45 s, 2 min 5 s, 3 h 20 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _numbers(run: StudyRun) -> str:
    """AP and AP50 at the end, where they are."""
    *_, last = [{}, *read_metrics(run.folder)]
    return "".join(f", {name} {last[name]:.4f}" for name in ("AP", "AP50") if last.get(name) is not None)


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
