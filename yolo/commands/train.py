"""`python -m yolo train` and `yolo.train`: start a run from its options, or resume one."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from yolo.data.transforms import Transform
from yolo.data.workers import WorkerError
from yolo.models.build import started_from
from yolo.models.load import find_device
from yolo.options.presets import Command, from_keywords, read_options
from yolo.options.training import Training
from yolo.options.yaml_file import read_values
from yolo.pixels import pixel_limit
from yolo.preflight.checks import check_first
from yolo.preflight.subject import undisturbed
from yolo.process.distributed import from_rank_0, print_once, quietly, rank, together
from yolo.training.assemble import assemble, gather
from yolo.training.callback import EpochEnd
from yolo.training.checkpoint import load_checkpoint
from yolo.training.fitting import check_parts, loading
from yolo.training.heartbeat import watched
from yolo.training.interrupt import interruptible
from yolo.training.kept import check_there
from yolo.training.owner import owned
from yolo.training.precision import be_deterministic
from yolo.training.run_folder import BEST, LAST, OPTIONS, read_metrics
from yolo.training.trained import Trained
from yolo.training.transform import Named, check_same, named

MAY_CHANGE = ("data", "val", "epochs", "workers", "device", "eval_every", "save_every", "max_pixels")
"""Options that may change when a run is resumed: `data` and `val` if the set only moved, `epochs` if they grow."""

OF_THE_COMMAND = ("resume", "check", "accept_changes", "out")
"""Options of the command, not of the run."""


def run(options: Command[Training]) -> int:
    """Train. Returns 0 if training is complete, 130 if it was interrupted and can be resumed.

    Raises ValueError or OSError with what is wrong.
    """
    return 0 if _carry_out(options.train, named(options.transform)).finished else 130


def train(
    data: str | os.PathLike[str] | None = None,
    *,
    transform: Transform | str | None = None,
    on_epoch_end: EpochEnd | None = None,
    quiet: bool = False,
    **options: Any,
) -> Trained:
    """Train as `python train.py` does, and return the run. The arguments are the words of that command line.

        run = yolo.train("data/shapes", cfg="toy.cfg", preset="small-data", epochs=3, peak_lr=1e-3)
        run.best["AP50"], run.model.detect("image.jpg")

    Args:
        data: the data set; by default the embedded one.
        transform: a torchvision v2 transform `(image, target) -> (image, target)` of the augmented training images, or
            its name as MODULE:FUNCTION. To resume a run, give the same one again.
        on_epoch_end: a function `(epoch, numbers)`, called in process 0 after the line of an epoch is in metrics.jsonl.
            It gets a copy of that line and does not change the run. If it raises an error, the run is saved and ends.
        quiet: print nothing. Warnings about the data still go to the logger `yolo`.
        options: all other words of `python train.py --help`, with underscores: `preset="NAME"`, `options="FILE.yaml"`,
            `resume="runs/train"`, `batch_size=16`, `mosaic=0.5`. A group may be given as a whole:
            `augment=yolo.Augment(mosaic=0.5)`.

    Ctrl-C, SIGTERM and SIGHUP stop after the current step; the run that is returned is not `finished` then, and
    `resume` continues it. Random numbers and settings of PyTorch are afterwards as they were.

    Raises:
        ValueError: An unknown word (with the one that was probably meant), a wrong value, unusable data, or a training
            that diverged.
        OSError: A file does not exist or cannot be written; another training owns the folder;
            a worker process was killed.
        RuntimeError: `on_epoch_end` has failed; the cause is its own error.
    """
    given = options if data is None else {"data": data, **options}
    with quietly(quiet):
        return _carry_out(from_keywords(given, "yolo.train").train, named(transform), on_epoch_end)


@contextmanager
def _settings_kept() -> Iterator[None]:
    """Put random numbers and the setting `deterministic` of PyTorch back at the end of the block."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        with undisturbed():
            yield
    finally:
        be_deterministic(*before)


def _carry_out(options: Training, transform: Named | None, on_epoch_end: EpochEnd | None = None) -> Trained:
    """Train as the options say, and return the run. Raises ValueError or OSError with what is wrong."""
    with (
        together(options.device) as device,
        interruptible() as interrupt,
        owned(options.resume or options.out) as place,
        watched(place),
        _settings_kept(),
        ExitStack() as stack,
    ):
        # A new run has no state; a resumed one brings its options as well.
        state, note, accept = None, "", options.accept_changes
        if options.resume:
            options, state, note = _resumed(options)
            check_same(place, state.get("transform"), transform)
        options = replace(started_from(options) if state is None else options, out=place)
        be_deterministic(options.deterministic)
        stack.enter_context(pixel_limit(options))
        parts = gather(options, find_device(device), state, accept=accept, transform=transform)
        if options.check and state is None:
            check_first(parts)
        trainer = assemble(parts, on_epoch_end)
        if note:
            print_once(note)
        with trainer.run as folder:
            again = _again(folder.folder, transform)
            try:
                done = trainer.fit(interrupt)
            except WorkerError as problem:
                raise WorkerError(f"{problem}; {again}" if (folder.folder / LAST).exists() else str(problem)) from None
        # What to do next.
        if done:
            if reason := trainer.stopped_early():
                print_once(reason)
            if trainer.detector.curves and rank() == 0:
                from yolo.training.curves import curves  # imported now, because matplotlib takes a while

                print_once(curves(folder.folder))
            run = shlex.quote(str(folder.folder))
            print_once(f"done: {folder.folder / BEST}; try it: python -m yolo detect IMAGE --weights {run}")
        elif not trainer.loader.failure:
            print_once(f"{interrupt.name or 'another process'}: stopped after a completed step; {again}")
        # Those of process 0, which has written them; another one could read too early.
        history = json.loads(from_rank_0(json.dumps(read_metrics(folder.folder)) if rank() == 0 else ""))
        if trainer.loader.failure and not done:
            raise WorkerError(f"{trainer.loader.failure}; stopped after a completed step; {again}")
        return Trained(folder.folder, done, trainer.best.epoch, history)


def _again(folder: Path, transform: Named | None) -> str:
    """Return how to resume the run of a folder."""
    if transform and not transform.given:  # no command line can name it
        return f"resume with: yolo.train(resume={str(folder)!r}, transform=...)"
    same = f" --transform {shlex.quote(transform.name)}" if transform else ""
    return f"resume with: python -m yolo train --resume {shlex.quote(str(folder))}{same}"


def _resumed(given: Training) -> tuple[Training, dict[str, Any], str]:
    """Return the options and the checkpoint of the run to resume, and what more epochs mean.

    Of `given`, those in MAY_CHANGE replace the run's own. Raises ValueError for others, and if options.yaml has changed
    otherwise since the run started; FileNotFoundError if the data is not where it was.
    """
    folder = given.resume
    assert folder is not None
    state = load_checkpoint(folder / LAST)
    with loading(folder / LAST):
        check_parts(state)
    options = read_options(folder / OPTIONS)
    # The command line was read onto the options of the run: what differs was given.
    others = [name for name in _differing(given, options) if name not in (*MAY_CHANGE, *OF_THE_COMMAND)]
    if others:
        may = ", ".join(f"--{name.replace('_', '-')}" for name in MAY_CHANGE)
        raise ValueError(
            f"{', '.join(others)} next to --resume: a run keeps the options that it began with, those in "
            f"{folder / OPTIONS}; only {may} may change. Leave the others out, or start a new run from its weights "
            f"with --weights {folder / BEST}"
        )
    # They are compared as values: an older version wrote the same options in another order.
    with loading(folder / LAST):
        began = read_values(yaml.safe_load(state["options"]), type(options)(), f"{folder / LAST}, its options")
    if any(name not in (*MAY_CHANGE, *OF_THE_COMMAND) for name in _differing(options, began)):
        raise ValueError(
            f"{folder / OPTIONS} is not what the run began with; put it back, or start a new run with "
            f"--options {folder / OPTIONS} --weights {folder / BEST}"
        )
    # What may change is that of the command line, else of the file, where a resume before this one has written it.
    options = replace(options, **{name: getattr(given, name) for name in MAY_CHANGE})
    if options.epochs < began.epochs:
        raise ValueError(
            f"epochs={options.epochs} next to --resume: the run was planned for {began.epochs}, and its learning rate "
            f"has followed them; expected {began.epochs} or more. To end it earlier, leave it: {folder / BEST} is its "
            f"best epoch so far"
        )
    check_there(folder, options)
    step, more = state["trainer"]["step"] + 1, options.epochs > began.epochs
    note = (
        f"{options.epochs} epochs in place of {began.epochs}: from step {step} on, learning rate "
        f"({options.schedule.schedule}) and augmentation follow the plan of {options.epochs} epochs"
    )
    return options, state, note if more else ""


def _differing(one: Training, other: Training) -> list[str]:
    """Return the names of the options in which two runs differ."""
    return [f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)]
