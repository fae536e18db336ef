"""`python -m yolo VERB ...`: the command line, generated from `yolo.options`."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import tyro

from yolo.options import Convert, Detect, Evaluate, Get, ShowData, Summary
from yolo.presets import parse_train
from yolo.study_options import Ablate, Explain
from yolo.train_options import PlotLr, Train

VERBS: dict[str, Callable[..., object]] = {
    "detect": Detect,
    "eval": Evaluate,
    "explain": Explain,
    "summary": Summary,
    "convert": Convert,
    "show-data": ShowData,
    "get": Get,
    "train": Train,
    "plot-lr": PlotLr,
    "ablate": Ablate,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; 0 if it succeeded, 1 with one line on stderr if files or options are wrong."""
    logging.basicConfig(format="%(message)s")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = parse(given)
    except (ValueError, OSError) as problem:  # files of options; options within options, tyro reports only outer ones
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return run(options)


def parse(arguments: Sequence[str]) -> object:
    """The options of a verb; training's come from presets and files, too. ValueError, OSError, SystemExit."""
    if arguments[:1] == ["train"]:
        return parse_train(arguments[1:])
    if arguments[:1] == ["ablate"] and "--" in arguments:  # behind it stand options of `train`
        cut = list(arguments).index("--")
        options = parse(arguments[:cut])
        assert isinstance(options, Ablate)
        return replace(options, train=tuple(arguments[cut + 1 :]))
    return tyro.extras.subcommand_cli_from_dict(
        VERBS, prog="python -m yolo", args=arguments, config=(tyro.conf.FlagCreatePairsOff,)
    )


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
