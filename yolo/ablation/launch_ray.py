"""The runs of a study as tasks of Ray: on an existing cluster, or on one that is made of this machine."""

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

from yolo.ablation.console import Console
from yolo.ablation.launch_local import PAUSE, ROOT, Machine, start
from yolo.ablation.study import StudyRun, write_status
from yolo.training.interrupt import Interrupt


def require_ray() -> Any:
    """Return the module `ray`. Raises ValueError that says how to install it."""
    try:
        import ray
    except ImportError:
        raise ValueError("--launcher ray needs Ray: pip install 'exact-yolov3[sweep]'") from None
    return ray


def run_ray(runs: Sequence[StudyRun], machine: Machine, interrupt: Interrupt, console: Console) -> None:
    """Run all runs, as many at once as the cluster has room for; a failed one does not stop the others.

    Each is the same process as with the local launcher, started by a task of Ray on a machine with free cores, or a
    free GPU. The folder of the study must have the same path on all machines. Raises ValueError without Ray.
    """
    ray = require_ray()
    _connect(ray, machine)
    try:
        console.jobs = max(1, int(ray.cluster_resources().get("CPU", 1)) // machine.threads)
        room = {"num_cpus": machine.threads, "num_gpus": int(bool(machine.gpus))}
        task = ray.remote(max_retries=0, **room)(follow)
        # Ray queues the runs; tasks have another working directory, so their paths are absolute.
        waiting = {}
        for run in runs:
            there = replace(run, folder=run.folder.absolute(), options=run.options.absolute())
            waiting[task.remote(there, machine.threads, Path.cwd())] = run
            console.queued(run)
        cancelled = False
        while waiting:
            if interrupt and not cancelled:
                cancelled = True
                for reference in waiting:
                    ray.cancel(reference, force=False)
            done, _ = ray.wait(list(waiting), num_returns=1, timeout=0.2)
            for reference in done:
                console.ended(waiting.pop(reference), *_outcome(ray, reference), stopped=bool(interrupt))
    finally:
        ray.shutdown()


def follow(run: StudyRun, threads: int, folder: Path) -> tuple[int, float]:
    """Start a run, as a task, and wait for it; return its exit status and its seconds.

    Ray itself decides which GPU the process sees. A cancelled task asks its run to save.

    Args:
        run: The run, with absolute paths.
        threads: Its threads.
        folder: Where the command was given, to which paths in the options are relative.
    """
    os.chdir(folder)
    child: subprocess.Popen[bytes] | None = None
    since = time.monotonic()
    try:
        while (child := start(run, threads)) is None:
            time.sleep(PAUSE)
        while child.poll() is None:  # in short pauses: a cancellation arrives between them
            time.sleep(PAUSE)
    finally:
        if child is not None:
            if child.poll() is None:
                child.terminate()
            write_status(run.folder, child.wait())
    return child.returncode, time.monotonic() - since


def _connect(ray: Any, machine: Machine) -> None:
    """Connect to the cluster of RAY_ADDRESS, or to a new one with room for the jobs."""
    options: dict[str, Any] = {"runtime_env": {"env_vars": {"PYTHONPATH": str(ROOT)}}}
    if os.environ.get("RAY_ADDRESS"):
        options |= {"address": "auto"}
    else:
        options |= {"include_dashboard": False, "num_cpus": machine.jobs * machine.threads}
        options |= {"num_gpus": len(machine.gpus)} if machine.gpus else {}
    before = signal.getsignal(signal.SIGTERM)
    ray.init(log_to_driver=False, **options)
    signal.signal(signal.SIGTERM, before)  # Ray's handler would end this process before the runs have saved


def _outcome(ray: Any, reference: Any) -> tuple[int, float]:
    """Return a run's exit status and seconds; -1 and 0 if its task was cancelled, or its machine is gone."""
    try:
        status, seconds = ray.get(reference)
    except ray.exceptions.RayError as problem:  # such as a lost machine
        if not isinstance(problem, ray.exceptions.TaskCancelledError):
            print(f"Ray: {str(problem).strip().splitlines()[-1]}", file=sys.stderr)
        return -1, 0.0
    return int(status), float(seconds)
