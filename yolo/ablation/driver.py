"""Works through the runs that a study still needs: pilots, runs, report."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from yolo.ablation.console import Console
from yolo.ablation.launch_local import Machine, run_local
from yolo.ablation.launch_ray import run_ray
from yolo.ablation.study import Study, StudyRun, finished, read_status, write_study
from yolo.ablation.study_report import write_report
from yolo.ablation.variants import decided, differences, option_of, pilot_runs
from yolo.options.ablate import Ablate
from yolo.options.presets import read_options
from yolo.options.training import Training
from yolo.options.yaml_file import write_yaml
from yolo.training.diagnose import NotFiniteError
from yolo.training.interrupt import Interrupt, interruptible
from yolo.training.run_folder import OPTIONS, read_metrics


def work_through(study: Study, variants: dict[str, Training], options: Ablate, machine: Machine) -> int:
    """Run pilots and runs that are not finished, and write the report.

    Args:
        study: The study.
        variants: The options of each variant before the pilot.
        options: Those of the command.
        machine: What the runs may use.

    Returns:
        The exit status of the command: 0 if no run failed, 1 if some did, 130 if it was interrupted.
    """
    failed = 0
    with interruptible() as interrupt:
        _write(study, variants)
        # Pilots come first, since the runs of a variant need the value that they choose.
        if pilots := pilot_runs(study, variants):
            console = _launch([pilot for pilot, _ in pilots], study, options, machine, interrupt)
            console.failed = [pilot for pilot in console.failed if not _diverged(pilot)]
            study = _chosen(study, pilots, console)
            failed += console.report_failures()
            _write(study, variants)
        if not interrupt:
            ready = decided(study, variants)
            runs = [run for run in study.runs() if run.variant in ready]
            failed += _launch(runs, study, options, machine, interrupt).report_failures()
    # An interrupted study has a report, too, if it has finished runs.
    done, total = sum(finished(run.folder) for run in study.runs()), len(study.runs())
    if done:
        write_report(study.folder)
    if interrupt and done < total:
        print(f"{interrupt.name}: the runs are saved; continue with the same command: {_again(options)}", flush=True)
        return 130
    print(f"{study.folder}: {done} of {total} runs are finished")
    return int(failed > 0)


def _launch(runs: Sequence[StudyRun], study: Study, options: Ablate, machine: Machine, interrupt: Interrupt) -> Console:
    """Run those of the runs that are not finished; return the console, which has the failed ones."""
    rest = [run for run in runs if not finished(run.folder)]
    console = Console(len(rest), machine.jobs, study.metrics)
    if rest:
        (run_ray if options.launcher == "ray" else run_local)(rest, machine, interrupt, console)
    return console


def _files(study: Study, variants: dict[str, Training]) -> dict[Path, Training]:
    """Return the files of options that the study needs now: of open pilots, and of variants with decided options."""
    files = {run.options: train for run, train in pilot_runs(study, variants)}
    return files | {study.folder / name / OPTIONS: train for name, train in decided(study, variants).items()}


def _write(study: Study, variants: dict[str, Training]) -> None:
    """Write study.yaml, and those files of options that do not exist yet."""
    write_study(study)
    for file, train in _files(study, variants).items():
        if not file.is_file():
            write_yaml(file, train)


def grown(old: Study, new: Study, variants: dict[str, Training]) -> Study:
    """Return the study on disk, `old`, with the seeds of the `new` one that this command asks for.

    Raises ValueError if anything else of its runs differs.
    """
    found = []
    if new.seeds < old.seeds:
        found.append(f"seeds: {new.seeds}, not {old.seeds} or more")
    if list(new.variants) != list(old.variants):
        found.append(f"variants: {', '.join(new.variants)}, not {', '.join(old.variants)}")
    elif new.pilot != old.pilot:
        found.append(f"pilot: {new.pilot}, not {old.pilot}")
    else:
        # Variants and pilot agree: what remains is every option in the files on disk.
        new = replace(new, chosen=old.chosen)
        for file, train in _files(new, variants).items():
            if file.is_file():
                own = f"{file.parent.name}: " if file.name == OPTIONS else f"{file.parent.name}/{file.stem}: "
                found += [own + change for change in differences(train, read_options(file))]
    if found:
        raise ValueError(
            f"{old.folder} is another study, this command asks for {'; '.join(found)}. Repeat its first command "
            f"(more --seeds are fine), or give another folder with --out"
        )
    return new


def _chosen(study: Study, pilots: list[tuple[StudyRun, Training]], console: Console) -> Study:
    """Return the study with the best value of every variant whose pilots have ended; of equal ones the first.

    If all pilots of a variant diverged, they count as failed.
    """
    assert study.pilot is not None
    chosen = dict(study.chosen)
    for name in dict.fromkeys(run.variant for run, _ in pilots):
        tried = [(run, option_of(train, study.pilot.option)) for run, train in pilots if run.variant == name]
        scores = {value: _score(run, study.pilot.metric) for run, value in tried if finished(run.folder)}
        diverged = [run for run, _ in tried if _diverged(run)]
        if not scores:
            console.failed += diverged
        elif all(finished(run.folder) or run in diverged for run, _ in tried):
            chosen[name] = max(scores, key=lambda value: scores[value])
            shown = ", ".join(f"{value}: {score:.4g}" for value, score in scores.items())
            print(f"{name}: {study.pilot.option} is {chosen[name]}, by {study.pilot.metric} of the pilots ({shown})")
    return replace(study, chosen=chosen)


def _score(run: StudyRun, metric: str) -> float:
    """Return the best value of the metric over the epochs; for losses, the negative of the lowest."""
    sign = -1 if "/" in metric else 1
    values = (line.get(metric) for line in read_metrics(run.folder))
    return max((sign * value for value in values if value is not None), default=-math.inf)


def _diverged(run: StudyRun) -> bool:
    """Return whether a loss or gradient that was not finite ended the run. Such a pilot has lost; it has not failed."""
    return not finished(run.folder) and read_status(run.folder) == NotFiniteError.status


def _again(options: Ablate) -> str:
    """Return the command line that continues the study."""
    words = ["python", "-m", "yolo", "ablate", options.grid]
    for name in ("out", "seeds", "jobs", "threads", "launcher"):
        if (value := getattr(options, name)) != Ablate.__dataclass_fields__[name].default:
            words += [f"--{name}", str(value)]
    return shlex.join([*words, "--", *options.train] if options.train else words)
