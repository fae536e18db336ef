"""`python -m yolo train`: start a run from its options, or resume one."""

from __future__ import annotations

import shlex
from dataclasses import fields, replace
from typing import Any

import torch
import yaml

from yolo.distributed import print_once, rank, together
from yolo.models.build import started_from
from yolo.models.load import find_device
from yolo.options.presets import read_options
from yolo.options.training import Training
from yolo.options.yaml_file import read_values
from yolo.preflight.checks import check_first
from yolo.training.assemble import assemble, gather
from yolo.training.checkpoint import load_checkpoint
from yolo.training.interrupt import interruptible
from yolo.training.kept import check_there
from yolo.training.owner import owned
from yolo.training.run_folder import BEST, LAST, OPTIONS

MAY_CHANGE = ("data", "val", "epochs", "workers", "device", "eval_every", "save_every")
"""Options that may change when a run is resumed: `data` and `val` if the set only moved, `epochs` if they grow."""

OF_THE_COMMAND = ("resume", "check", "accept_changes", "out")
"""Options of the command, not of the run."""


def run(options: Training) -> int:
    """Train. Returns 0 if training is complete, 130 if it was interrupted and can be resumed.

    Raises ValueError or OSError with what is wrong.
    """
    with (
        together(options.device) as device,
        interruptible() as interrupt,
        owned(options.resume or options.out) as place,
    ):
        # A new run has no state; a resumed one brings its options as well.
        state, note, accept = None, "", options.accept_changes
        if options.resume:
            options, state, note = _resumed(options)
        options = replace(started_from(options) if state is None else options, out=place)
        torch.use_deterministic_algorithms(options.deterministic)
        parts = gather(options, find_device(device), state, accept=accept)
        if options.check and state is None:
            check_first(parts)
        trainer = assemble(parts)
        if note:
            print_once(note)
        with trainer.run as folder:
            done = trainer.fit(interrupt)
        # What to do next.
        if done:
            if reason := trainer.stopped_early():
                print_once(reason)
            if trainer.detector.curves and rank() == 0:
                from yolo.training.curves import curves  # imported now, because matplotlib takes a while

                print(curves(folder.folder))
            print_once(f"done: {folder.folder / BEST}; python detect.py IMAGE uses it, as the newest run")
            return 0
        command = f"python train.py --resume {shlex.quote(str(folder.folder))}"
        print_once(f"{interrupt.name or 'another process'}: stopped after a completed step; resume with: {command}")
        return 130


def _resumed(given: Training) -> tuple[Training, dict[str, Any], str]:
    """Return the options and the checkpoint of the run to resume, and what more epochs mean.

    Of `given`, those in MAY_CHANGE replace the run's own. Raises ValueError for others, and if options.yaml has changed
    otherwise since the run started; FileNotFoundError if the data is not where it was.
    """
    folder = given.resume
    assert folder is not None
    state = load_checkpoint(folder / LAST)
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
