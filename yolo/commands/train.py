"""`python -m yolo train`: start a run from its options, or resume one."""

from __future__ import annotations

import shlex
from dataclasses import fields, replace
from typing import Any

import torch
import yaml

from yolo.distributed import print_once, together
from yolo.models.load import find_device
from yolo.options.presets import read_options
from yolo.options.training import Training
from yolo.options.yaml_file import read_values
from yolo.training.assemble import assemble
from yolo.training.checkpoint import load_checkpoint
from yolo.training.interrupt import interruptible
from yolo.training.run_folder import BEST, LAST, OPTIONS


def run(options: Training) -> int:
    """Train. Returns 0 if training is complete, 130 if it was interrupted and can be resumed.

    Raises ValueError or OSError with what is wrong.
    """
    with together(options.device) as device, interruptible() as interrupt:
        # A new run has no state; a resumed one brings its options as well.
        state = None
        if options.resume:
            options, state = _resumed(options)
        torch.use_deterministic_algorithms(options.deterministic)
        trainer = assemble(options, find_device(device), state)
        with trainer.run as folder:
            done = trainer.fit(interrupt)
        # What to do next.
        if done:
            if reason := trainer.stopped_early():
                print_once(reason)
            print_once(f"done: {folder.folder / BEST}; python detect.py IMAGE uses it, as the newest run")
            return 0
        command = f"python train.py --resume {shlex.quote(str(folder.folder))}"
        print_once(f"{interrupt.name or 'another process'}: stopped after a completed step; resume with: {command}")
        return 130


def _resumed(given: Training) -> tuple[Training, dict[str, Any]]:
    """Return the options and the checkpoint of the run to resume.

    Raises ValueError for other options next to --resume, and if options.yaml has changed since the run started.
    """
    folder = given.resume
    assert folder is not None
    # --resume alone: all other options come from the run.
    plain = type(given)(resume=folder)
    others = [f.name for f in fields(given) if getattr(given, f.name) != getattr(plain, f.name)]
    if others:
        raise ValueError(
            f"{', '.join(others)} next to --resume: a run keeps the options that it began with, those in "
            f"{folder / OPTIONS}; leave them out, or start a new run from its weights with --weights {folder / BEST}"
        )
    state = load_checkpoint(folder / LAST)
    options = replace(read_options(folder / OPTIONS), out=None)
    # They are compared as values: an older version wrote the same options in another order.
    began = read_values(yaml.safe_load(state["options"]), type(options)(), f"{folder / LAST}, its options")
    if options != began:
        raise ValueError(
            f"{folder / OPTIONS} is not what the run began with; put it back, or start a new run with "
            f"--options {folder / OPTIONS} --weights {folder / BEST}"
        )
    return replace(options, out=folder), state
