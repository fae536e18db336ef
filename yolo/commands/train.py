"""`python -m yolo train`: puts a run together from its options, starts it or goes on with it."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import replace
from typing import Any

import torch

from yolo.distributed import say, together
from yolo.models.load import find_device
from yolo.options.train import Train
from yolo.options.yaml_file import read_yaml
from yolo.training.assemble import assemble
from yolo.training.checkpoint import load_checkpoint
from yolo.training.engine import run_text
from yolo.training.interrupt import interruptible
from yolo.training.run_folder import BEST, LAST, OPTIONS


def run(options: Train) -> int:
    """Trains; 0 at the end, 130 if it was interrupted and can go on. ValueError or OSError for what is wrong."""
    with together(options.device) as device, interruptible() as asked:
        state = None
        if options.resume:
            options, state = _resumed(options)
        torch.use_deterministic_algorithms(options.deterministic)
        trainer = assemble(options, find_device(device), state)
        with trainer.run as folder:
            done = trainer.fit(asked)
        if done:
            say(f"done: {folder.folder / BEST}; python detect.py IMAGE detects with it, the newest run is the default")
            return 0
        command = f"python train.py --resume {shlex.quote(str(folder.folder))}"
        say(f"{asked.name or 'another process'}: the step is done and saved; this goes on exactly there: {command}")
        return 130


def _resumed(asked: Train) -> tuple[Train, dict[str, Any]]:
    """The options and the checkpoint of the run that goes on. ValueError for options beside --resume."""
    folder = asked.resume
    assert folder is not None
    others = [
        f.name for f in dataclasses.fields(Train) if getattr(asked, f.name) != getattr(Train(resume=folder), f.name)
    ]
    if others:
        raise ValueError(
            f"{', '.join(others)} beside --resume: a run goes on with the options it began with, those in "
            f"{folder / OPTIONS}; leave them out, or start a new run from its weights with --weights {folder / BEST}"
        )
    state = load_checkpoint(folder / LAST)
    options = replace(read_yaml(folder / OPTIONS, Train()), out=folder)
    if state["options"] != run_text(options):
        raise ValueError(
            f"{folder / OPTIONS} is not what the run began with; put it back, or start a new run with "
            f"--options {folder / OPTIONS} --weights {folder / BEST}"
        )
    return options, state
