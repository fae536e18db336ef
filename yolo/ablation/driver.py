"""What a study still has to run."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from yolo.ablation.console import Told
from yolo.ablation.launch_local import Machine, run_local
from yolo.ablation.launch_ray import run_ray
from yolo.ablation.study import Study, StudyRun, finished, read_status, write_study
from yolo.ablation.study_report import write_report
from yolo.ablation.variants import decided, differences, option_of, pilot_runs
from yolo.options.commands import Ablate
from yolo.options.train import Train
from yolo.options.yaml_file import read_yaml, write_yaml
from yolo.training.diagnose import NotFiniteError
from yolo.training.interrupt import Interrupt, interruptible
from yolo.training.run_folder import OPTIONS, read_metrics


def work_through(study: Study, variants: dict[str, Train], options: Ablate, machine: Machine) -> int:
    """The pilots, what they chose, the runs, the report; the exit status."""
    failed = 0
    with interruptible() as asked:
        _write(study, variants)
        if pilots := pilot_runs(study, variants):
            told = _launch([pilot for pilot, _ in pilots], options, machine, asked)
            told.failed = [pilot for pilot in told.failed if not _diverged(pilot)]
            study = _chosen(study, pilots, told)
            failed += told.report_failures()
            _write(study, variants)
        if not asked:
            ready = decided(study, variants)
            runs = [run for run in study.runs() if run.variant in ready]
            failed += _launch(runs, options, machine, asked).report_failures()
    if any(finished(run.folder) for run in study.runs()):
        write_report(study.folder)
    if asked and not all(finished(run.folder) for run in study.runs()):
        print(f"{asked.name}: what was under way is saved; the same command goes on: {_again(options)}", flush=True)
        return 130
    print(
        f"{study.folder}: {sum(finished(run.folder) for run in study.runs())} of {len(study.runs())} runs are finished"
    )
    return int(failed > 0)


def _launch(runs: Sequence[StudyRun], options: Ablate, machine: Machine, asked: Interrupt) -> Told:
    """Those of the runs that are not finished, to their ends; what became of them."""
    rest = [run for run in runs if not finished(run.folder)]
    told = Told(len(rest), machine.jobs)
    if rest:
        (run_ray if options.launcher == "ray" else run_local)(rest, machine, asked, told)
    return told


def _files(study: Study, variants: dict[str, Train]) -> dict[Path, Train]:
    """The files of options that the study needs now: those of its pilots, and of variants that have their values."""
    files = {run.options: train for run, train in pilot_runs(study, variants)}
    return files | {study.folder / name / OPTIONS: train for name, train in decided(study, variants).items()}


def _write(study: Study, variants: dict[str, Train]) -> None:
    """study.yaml, and the files of options that are not there yet."""
    write_study(study)
    for file, train in _files(study, variants).items():
        if not file.is_file():
            write_yaml(file, train)


def grown(old: Study, new: Study, variants: dict[str, Train]) -> Study:
    """The study that is there, with the seeds of this command. ValueError if anything else of its runs differs."""
    found = []
    if new.seeds < old.seeds:
        found.append(f"seeds: {new.seeds}, not {old.seeds} or more")
    if list(new.variants) != list(old.variants):
        found.append(f"variants: {', '.join(new.variants)}, not {', '.join(old.variants)}")
    elif new.pilot != old.pilot:
        found.append(f"pilot: {new.pilot}, not {old.pilot}")
    else:
        new = replace(new, chosen=old.chosen)
        for file, train in _files(new, variants).items():
            if file.is_file():
                own = f"{file.parent.name}: " if file.name == OPTIONS else f"{file.parent.name}/{file.stem}: "
                found += [own + change for change in differences(train, read_yaml(file, Train()))]
    if found:
        raise ValueError(
            f"{old.folder} is another study, this command asks for {'; '.join(found)}. Give the command that it began "
            f"with (more --seeds are fine), or another folder with --out"
        )
    return new


def _chosen(study: Study, pilots: list[tuple[StudyRun, Train]], told: Told) -> Study:
    """The study with the best value of every variant whose pilots are done; the first one of equally good ones."""
    assert study.pilot is not None
    chosen = dict(study.chosen)
    for name in dict.fromkeys(run.variant for run, _ in pilots):
        tried = [(run, option_of(train, study.pilot.option)) for run, train in pilots if run.variant == name]
        scores = {value: _score(run, study.pilot.metric) for run, value in tried if finished(run.folder)}
        if not scores or not all(finished(run.folder) or _diverged(run) for run, _ in tried):
            told.failed += [run for run, _ in tried if _diverged(run) and not scores and run not in told.failed]
            continue
        chosen[name] = max(scores, key=lambda value: scores[value])
        shown = ", ".join(f"{value}: {score:.4g}" for value, score in scores.items())
        print(f"{name}: {study.pilot.option} is {chosen[name]}, by {study.pilot.metric} of the pilots ({shown})")
    return replace(study, chosen=chosen)


def _score(run: StudyRun, metric: str) -> float:
    """The best value of the metric over the epochs; for losses the negative of the lowest one."""
    sign = -1 if "/" in metric else 1
    values = (line.get(metric) for line in read_metrics(run.folder))
    return max((sign * value for value in values if value is not None), default=-math.inf)


def _diverged(run: StudyRun) -> bool:
    """Return whether a loss or gradient that was not finite ended the run. Such a pilot has lost; it has not failed."""
    return not finished(run.folder) and read_status(run.folder) == NotFiniteError.status


def _again(options: Ablate) -> str:
    """The command line."""
    words = ["python", "-m", "yolo", "ablate", options.grid]
    for name in ("out", "seeds", "jobs", "threads", "launcher"):
        if (value := getattr(options, name)) != Ablate.__dataclass_fields__[name].default:
            words += [f"--{name}", str(value)]
    return shlex.join([*words, "--", *options.train] if options.train else words)
