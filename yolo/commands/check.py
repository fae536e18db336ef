"""`python -m yolo check`: whether a training would fail, and why, before it starts."""

from __future__ import annotations

import json
import time

from yolo.files.atomic import replacing
from yolo.models.build import started_from
from yolo.models.load import find_device
from yolo.options.check import Check
from yolo.options.training import Training
from yolo.preflight.after import after
from yolo.preflight.checks import run_checks
from yolo.preflight.line import Line, as_json, as_text, counts, worst
from yolo.preflight.subject import Subject
from yolo.process.distributed import print_once
from yolo.training.assemble import gather
from yolo.training.precision import be_deterministic
from yolo.training.transform import named

NEXT = {
    "FAIL": "correct what fails; python -m yolo train --no-check with the same options starts anyway",
    "WARN": "look at the warnings, then start it with the same options: python -m yolo train",
    "PASS": "start it with the same options: python -m yolo train",
}
"""What to do after each verdict."""


def run(options: Check[Training]) -> int:
    """Run all checks, print a line for each and write the json file. Returns 1 if one fails, else 0.

    Raises ValueError for a run to resume, OSError if the file cannot be written.
    """
    train, start = options.train, time.perf_counter()
    if train.resume is not None:
        raise ValueError(f"--resume {train.resume}: only a training that has not begun can be checked; leave it out")
    if options.run is None:
        about, lines = {"model": train.model, "data": train.data}, _lines(options)
        next_step = f"; {NEXT[worst(lines)]}"
    else:
        about, lines, next_step = {"run": str(options.run)}, after(options.run), ""
        print_once(as_text(lines))  # which a lost output does not stop, so the file is written
    seconds = time.perf_counter() - start
    content = as_json(lines) | about | {"seconds": round(seconds, 1)}
    with replacing(options.json) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False), "utf-8", "backslashreplace")
    print(f"{counts(lines)} in {seconds:.0f} s ({options.json}){next_step}")
    return int(worst(lines) == "FAIL")


def _lines(options: Check[Training]) -> list[Line]:
    """Return the lines of all checks; of a training that cannot even be built, what is wrong with it. Prints them."""
    train = options.train
    be_deterministic(train.deterministic)
    try:
        parts = gather(started_from(train), find_device(train.device), transform=named(options.transform))
    except (ValueError, OSError, ImportError) as problem:
        lines = [Line("FAIL", getattr(problem, "about", "options"), str(problem))]
        print_once(as_text(lines))
        return lines
    return run_checks(Subject(parts, options.seconds), cheap=False)
