"""The runs of a study as processes of this machine: how one is started, and several at once."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from yolo.ablation.console import Told
from yolo.ablation.study import LOG, STATUS, StudyRun, write_status
from yolo.training.interrupt import Interrupt
from yolo.training.run_folder import BEST, LAST

LOCK = ".lock"
"""In the folder of a run: held while a process writes there."""

PAUSE = 0.05
"""Seconds between two looks at the processes."""


@dataclass(frozen=True)
class Machine:
    """What the runs may use: so many `jobs` at once with so many `threads` each; `gpus` are CUDA's names of them."""

    jobs: int
    threads: int
    gpus: tuple[str, ...] = ()

    def gpu(self, slot: int) -> str | None:
        """The GPU of a job, counted from 0; several jobs share one if there are more of them."""
        return self.gpus[slot % len(self.gpus)] if self.gpus else None


def find_machine(jobs: int | None, threads: int | None, *, cpu: bool) -> Machine:
    """What this machine has; no GPU for `cpu`. By default one run for each GPU, on a CPU one with all cores."""
    gpus = () if cpu else _gpus()
    jobs = jobs or max(1, len(gpus))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(jobs, threads or max(1, cores // jobs), gpus)


def command(run: StudyRun) -> list[str]:
    """What is to be run: a new training, or the rest of one that was interrupted."""
    if (run.folder / LAST).is_file():
        words = ["--resume", str(run.folder)]
    else:
        words = ["--options", str(run.options), "--out", str(run.folder), "--seed", str(run.seed)]
    return [sys.executable, "-m", "yolo", "train", *words]


def start(run: StudyRun, threads: int, gpu: str | None = None) -> subprocess.Popen[bytes] | None:
    """Starts a run, or goes on with it; None while another process still writes it, such as one that is saving.

    Its output goes to the end of train.log. It is a process group of its own, so that Ctrl-C does not reach it twice,
    and it is asked to end when this process is gone.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    lock = hold(run.folder / LOCK)
    if lock is None:
        return None
    try:
        (run.folder / STATUS).unlink(missing_ok=True)
        if not (run.folder / LAST).is_file():
            (run.folder / BEST).unlink(missing_ok=True)  # of a run that was killed before its first checkpoint
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        environment |= {"OMP_NUM_THREADS": str(threads)} | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
        tethered = [sys.executable, "-m", "yolo.ablation.tethered", str(os.getpid())]
        with (run.folder / LOG).open("ab") as log:
            return subprocess.Popen(
                [*tethered, *command(run)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lock,),
            )
    finally:
        os.close(lock)  # the run has it now, and what it starts, to the end of the last of them


def hold(path: Path) -> int | None:
    """The lock, as a file descriptor to close; None if another process has it. It falls with its last holder."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def run_local(runs: Sequence[StudyRun], machine: Machine, asked: Interrupt, told: Told) -> None:
    """All runs, in their order, as many at once as the machine has jobs; a failed one does not end the others.

    When somebody asks for the end, no more are started, those that are under way are asked to save, and waited for.
    """
    waiting, slots = list(runs), list(range(machine.jobs))
    working: list[_Working] = []
    terminated = False
    while working or (waiting and not asked):
        if asked and not terminated:
            terminated = True
            for work in working:
                work.child.terminate()
        for run in () if asked else tuple(waiting):
            if slots and (child := start(run, machine.threads, machine.gpu(slots[0]))):
                told.started(run)
                waiting.remove(run)
                working.append(_Working(run, child, slots.pop(0), time.monotonic()))
            elif slots:
                told.waits(run)
        slots += _ended(working, asked, told)
        time.sleep(PAUSE)


class _Working(NamedTuple):
    """A run that is under way, in its process, in one of the machine's slots, since then (monotonic seconds)."""

    run: StudyRun
    child: subprocess.Popen[bytes]
    slot: int
    since: float


def _ended(working: list[_Working], asked: Interrupt, told: Told) -> list[int]:
    """Takes the runs that have ended out of the list, and says so; the slots that are free now."""
    done = [work for work in working if work.child.poll() is not None]
    for work in done:
        working.remove(work)
        write_status(work.run.folder, work.child.returncode)
        told.ended(work.run, work.child.returncode, time.monotonic() - work.since, stopped=bool(asked))
    return [work.slot for work in done]


def _gpus() -> tuple[str, ...]:
    """CUDA's names of the GPUs that this process sees."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(named.split(",")[:count] if named else map(str, range(count)))
