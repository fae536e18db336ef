"""`python -m yolo ablate`: train every variant of a grid with several seeds, in processes, and write the report."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path

from yolo.ablation.driver import grown, work_through
from yolo.ablation.grid import find_grid, read_grid
from yolo.ablation.launch_local import command, find_machine
from yolo.ablation.launch_ray import require_ray
from yolo.ablation.study import STUDY, Study, StudyRun, finished, read_study
from yolo.ablation.variants import check_start, pilot_runs, variant_options
from yolo.options.ablate import Ablate
from yolo.training.owner import OWNER, owned_alone


def run(options: Ablate) -> int:
    """Run what is not finished yet. Returns 0 if the study is complete, 1 if runs failed, 130 if it was interrupted.

    Raises ValueError or OSError for wrong options or files.
    """
    if options.launcher == "ray":
        require_ray()
    file = find_grid(options.grid)
    folder = options.out or Path("runs") / f"ablate-{file.stem}"
    # Two commands must not work on one study, nor begin it with different options.
    with nullcontext() if options.dry else owned_alone(folder, "`ablate`"):
        return _run(options, file, folder)


def _run(options: Ablate, file: Path, folder: Path) -> int:
    """Run the study in a folder of its own, with the grid of a file."""
    # The study that the command describes, or the one on disk with more seeds.
    study = read_grid(file, folder, options.seeds, options.train)
    variants = variant_options(study)
    if (folder / STUDY).is_file():
        study = grown(read_study(folder), study, variants)
    elif folder.is_dir() and any(path.name != OWNER for path in folder.iterdir()):
        raise FileExistsError(f"{folder}: files but no {STUDY}, so it is not a study; give another folder with --out")
    pilots = dict(pilot_runs(study, variants))
    named = {f"variant {name}": train for name, train in variants.items()}
    check_start(named | {pilot.name: train for pilot, train in pilots.items()})
    if options.dry:
        _show(study, list(pilots))
        return 0
    cpu = all(train.device == "cpu" for train in variants.values())
    return work_through(study, variants, options, find_machine(options.jobs, options.threads, cpu=cpu))


def _show(study: Study, pilots: list[StudyRun]) -> None:
    """Print the commands of all unfinished runs, and their number."""
    runs = [*pilots, *study.runs()]
    rest = [run for run in runs if not finished(run.folder)]
    for run in rest:
        print(shlex.join(["python", *command(run)[1:]]))
    parts = f"{len(study.variants)} variants times {study.seeds} seeds, {len(pilots)} pilots"
    print(f"{len(rest)} runs: {parts}, {len(runs) - len(rest)} are finished")
