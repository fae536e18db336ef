"""The runs of a study as processes of this machine: how one is started, and several at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from yolo.ablation.console import Console
from yolo.ablation.study import LOG, STATUS, StudyRun, write_status
from yolo.files.atomic import open_alone
from yolo.training.interrupt import Interrupt
from yolo.training.run_folder import BEST, LAST

LOCK = ".lock"
"""In the folder of a run: locked while a process writes there."""

PAUSE = 0.05
"""Seconds between two checks of the processes."""

ROOT = Path(__file__).parents[2]
"""The folder from which `yolo` is imported, by the runs as well."""


@dataclass(frozen=True)
class Machine:
    """What the runs may use: `jobs` runs at once with `threads` threads each, and `gpus` by their names in CUDA."""

    jobs: int
    threads: int
    gpus: tuple[str, ...] = ()

    def gpu(self, slot: int) -> str | None:
        """Return the GPU of a job, counted from 0; if there are more jobs than GPUs, several share one."""
        return self.gpus[slot % len(self.gpus)] if self.gpus else None


def find_machine(jobs: int | None, threads: int | None, *, cpu: bool) -> Machine:
    """Return what this machine has, without GPUs for `cpu`. The default is one run per GPU; on a CPU, one run."""
    gpus = () if cpu else _gpus()
    jobs = jobs or max(1, len(gpus))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(jobs, threads or max(1, cores // jobs), gpus)


def command(run: StudyRun) -> list[str]:
    """Return the command of a run: a new training, or the rest of one that was interrupted."""
    if (run.folder / LAST).is_file():
        words = ["--resume", str(run.folder)]
    else:
        words = ["--options", str(run.options), "--out", str(run.folder), "--seed", str(run.seed)]
    return [sys.executable, "-m", "yolo", "train", *words]


def start(run: StudyRun, threads: int, gpu: str | None = None) -> subprocess.Popen[bytes] | None:
    """Start or resume a run; return None while another process still writes it, such as one that is saving.

    The output is appended to train.log. The process has a group of its own, so that Ctrl-C does not reach it twice,
    and gets a SIGTERM when this process ends.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = open_alone(run.folder / LOCK, wait=False)
    except BlockingIOError:
        return None
    try:
        # Remove the last process's status, and its weights if it was killed before its first checkpoint.
        (run.folder / STATUS).unlink(missing_ok=True)
        if not (run.folder / LAST).is_file():
            (run.folder / BEST).unlink(missing_ok=True)
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        tethered = [sys.executable, "-m", "yolo.ablation.tethered", str(os.getpid())]
        passed = [lock.fileno()] if lock else []
        with (run.folder / LOG).open("ab") as log:
            return subprocess.Popen(
                [*tethered, *command(run)], env=environment, start_new_session=True, pass_fds=passed,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
    finally:
        if lock:
            lock.close()  # the run has it now, and so have its own processes; the last one that ends releases it


def run_local(runs: Sequence[StudyRun], machine: Machine, interrupt: Interrupt, console: Console) -> None:
    """Run all runs in their order, as many at once as the machine has jobs; a failed one does not stop the others.

    After an interrupt no more runs are started; the working ones are asked to save and waited for.
    """
    waiting, slots = list(runs), list(range(machine.jobs))
    working: list[_Working] = []
    terminated = False
    while working or (waiting and not interrupt):
        # Ask the runs once to save; a second SIGTERM would end them at once.
        if interrupt and not terminated:
            terminated = True
            for work in working:
                work.child.terminate()
        # Fill the free slots. A run that another process still writes is passed over, and tried again later.
        for run in () if interrupt else tuple(waiting):
            if slots and (child := start(run, machine.threads, machine.gpu(slots[0]))):
                console.started(run)
                waiting.remove(run)
                working.append(_Working(run, child, slots.pop(0), time.monotonic()))
            elif slots:
                console.waits(run)
        # Free the slots of the runs that have ended.
        for work in [work for work in working if work.child.poll() is not None]:
            working.remove(work)
            slots.append(work.slot)
            write_status(work.run.folder, work.child.returncode)
            seconds = time.monotonic() - work.since
            console.ended(work.run, work.child.returncode, seconds, stopped=bool(interrupt))
        time.sleep(PAUSE)


class _Working(NamedTuple):
    """A run at work: its process, its slot of the machine, and when it began (monotonic seconds)."""

    run: StudyRun
    child: subprocess.Popen[bytes]
    slot: int
    since: float


def _gpus() -> tuple[str, ...]:
    """Return CUDA's names of the GPUs that this process sees."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(named.split(",")[:count] if named else map(str, range(count)))
