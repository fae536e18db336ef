"""The runs of a study as tasks of Ray: on a cluster that is there, or on one that is made of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolo.ablation.console import Told
from yolo.ablation.launch_local import PAUSE, Machine, start
from yolo.ablation.study import StudyRun, write_status
from yolo.training.interrupt import Interrupt


def require_ray() -> Any:
    """The module. ValueError that says what to install where it is not there."""
    try:
        import ray
    except ImportError:
        raise ValueError("--launcher ray needs Ray: pip install 'exact-yolov3[sweep]'") from None
    return ray


def run_ray(runs: Sequence[StudyRun], machine: Machine, asked: Interrupt, told: Told) -> None:
    """All runs, as many at once as the cluster has cores, or GPUs; a failed one does not end the others.

    Each is the same process as with the local launcher, started by a task of Ray on the machine where it has room. The
    folder of the study must be under the same path on all of them. ValueError where Ray is not installed.
    """
    ray = require_ray()
    _connect(ray, machine)
    try:
        told.jobs = max(1, int(ray.cluster_resources().get("CPU", 1)) // machine.threads)
        room = {"num_cpus": machine.threads, "num_gpus": int(bool(machine.gpus))}
        task = ray.remote(max_retries=0, **room)(follow)
        waiting = {}
        for run in runs:
            there = replace(run, folder=run.folder.absolute(), options=run.options.absolute())
            waiting[task.remote(there, machine.threads, Path.cwd())] = run
            told.queued(run)
        cancelled = False
        while waiting:
            if asked and not cancelled:
                cancelled = True
                for reference in waiting:
                    ray.cancel(reference, force=False)
            done, _ = ray.wait(list(waiting), num_returns=1, timeout=0.2)
            for reference in done:
                told.ended(waiting.pop(reference), *_outcome(ray, reference), stopped=bool(asked))
    finally:
        ray.shutdown()


def follow(run: StudyRun, threads: int, folder: Path) -> tuple[int, float]:
    """The task: starts the run in the folder that the command was given in, and waits for it; its status and seconds.

    Ray itself says which GPU the process sees. A task that is cancelled asks its run to save.
    """
    os.chdir(folder)
    child: subprocess.Popen[bytes] | None = None
    since = time.monotonic()
    try:
        while (child := start(run, threads)) is None:
            time.sleep(PAUSE)
        while child.poll() is None:  # in short waits, so that a cancellation comes through
            time.sleep(PAUSE)
    finally:
        if child is not None and child.poll() is None:
            child.terminate()
            child.wait()
        if child is not None:
            write_status(run.folder, child.returncode)
    return child.returncode, time.monotonic() - since


def _connect(ray: Any, machine: Machine) -> None:
    """To the cluster of RAY_ADDRESS, or to a new one with room for the jobs."""
    root = str(Path(__file__).parents[2])
    options: dict[str, Any] = {"runtime_env": {"env_vars": {"PYTHONPATH": root}}, "include_dashboard": False}
    if os.environ.get("RAY_ADDRESS"):
        options = {"runtime_env": options["runtime_env"], "address": "auto"}
    else:
        options |= {"num_cpus": machine.jobs * machine.threads}
        options |= {"num_gpus": len(machine.gpus)} if machine.gpus else {}
    before = signal.getsignal(signal.SIGTERM)
    ray.init(log_to_driver=False, **options)
    signal.signal(signal.SIGTERM, before)  # Ray's handler would end this process before the runs have saved


def _outcome(ray: Any, reference: Any) -> tuple[int, float]:
    """The exit status of a run and its seconds; -1 if its task was cancelled, or its machine is gone."""
    try:
        status, seconds = ray.get(reference)
    except ray.exceptions.TaskCancelledError:
        return -1, 0.0
    except ray.exceptions.RayError as problem:
        print(f"Ray: {str(problem).strip().splitlines()[-1]}", file=sys.stderr)
        return -1, 0.0
    return int(status), float(seconds)
