"""`python -m yolo VERB ...`: the command line, generated from `yolo.options`."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Sequence

import tyro

from yolo.options import Convert, Detect, Evaluate, Get, ShowData, Summary
from yolo.train_options import PlotLr

VERBS: dict[str, Callable[..., object]] = {
    "detect": Detect,
    "eval": Evaluate,
    "summary": Summary,
    "convert": Convert,
    "show-data": ShowData,
    "get": Get,
    "plot-lr": PlotLr,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; 0 if it succeeded, 1 with one line on stderr if files or options are wrong."""
    logging.basicConfig(format="%(message)s")
    try:
        options = tyro.extras.subcommand_cli_from_dict(
            VERBS, prog="python -m yolo", args=arguments, config=(tyro.conf.FlagCreatePairsOff,)
        )
    except ValueError as problem:  # of options within options: tyro reports those of the outer ones only
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return run(options)


def run(options: object) -> int:
    """Runs the verb that the options belong to, in a module that is imported now: `--help` does without torch."""
    module = importlib.import_module(f"yolo.{type(options).__name__.lower()}")
    try:
        return int(module.run(options) or 0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
