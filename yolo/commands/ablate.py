"""`python -m yolo ablate`: every variant of a grid with several seeds, as processes of their own, and the report."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from yolo.ablation.driver import grown, work_through
from yolo.ablation.grid import find_grid, read_grid
from yolo.ablation.launch_local import LOCK, command, find_machine, hold
from yolo.ablation.launch_ray import require_ray
from yolo.ablation.study import STUDY, Study, StudyRun, finished, read_study
from yolo.ablation.variants import pilot_runs, variant_options
from yolo.options.commands import Ablate


def run(options: Ablate) -> int:
    """Runs what is not done yet; 0 at the end, 1 if runs failed, 130 if it was interrupted. ValueError, OSError."""
    if options.launcher == "ray":
        require_ray()
    file = find_grid(options.grid)
    folder = options.out or Path("runs") / f"ablate-{file.stem}"
    study = read_grid(file, folder, options.seeds, options.train)
    variants = variant_options(study)
    if (folder / STUDY).is_file():
        study = grown(read_study(folder), study, variants)
    elif folder.is_dir() and any(path.name != LOCK for path in folder.iterdir()):
        raise FileExistsError(f"{folder}: no {STUDY} in it, so it is no study; give another folder with --out")
    pilots = pilot_runs(study, variants)
    if options.dry:
        _show(study, [pilot for pilot, _ in pilots])
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    lock = hold(folder / LOCK)
    if lock is None:
        raise OSError(f"{folder}: another `ablate` is at this study; wait for its end, or end it")
    try:
        cpu = all(train.device == "cpu" for train in variants.values())
        return work_through(study, variants, options, find_machine(options.jobs, options.threads, cpu=cpu))
    finally:
        os.close(lock)


def _show(study: Study, pilots: list[StudyRun]) -> None:
    """The commands of all that is not done, and how many they are."""
    rest = [run for run in (*pilots, *study.runs()) if not finished(run.folder)]
    for run in rest:
        print(shlex.join(["python", *command(run)[1:]]))
    print(
        f"{len(rest)} runs: {len(study.variants)} variants times {study.seeds} seeds, {len(pilots)} pilots, "
        f"{len(study.runs()) + len(pilots) - len(rest)} are finished"
    )
