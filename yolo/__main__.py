"""`python -m yolo VERB ...`: the command line, generated from `yolo.options.commands`."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import tyro

from yolo.options.commands import Ablate, Convert, Detect, Evaluate, Explain, Get, PlotLr, ShowData, Summary
from yolo.options.presets import parse_train
from yolo.options.train import Train

VERBS: dict[str, tuple[type[Any], str]] = {
    "detect": (Detect, "yolo.commands.detect"),
    "eval": (Evaluate, "yolo.commands.evaluate"),
    "explain": (Explain, "yolo.commands.explain"),
    "summary": (Summary, "yolo.commands.summary"),
    "convert": (Convert, "yolo.commands.convert"),
    "show-data": (ShowData, "yolo.commands.show_data"),
    "get": (Get, "yolo.commands.get"),
    "train": (Train, "yolo.commands.train"),
    "plot-lr": (PlotLr, "yolo.commands.plot_lr"),
    "ablate": (Ablate, "yolo.commands.ablate"),
}
"""The options of each verb, and the module whose `run` takes them."""


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
    verbs: dict[str, Callable[..., object]] = {verb: options for verb, (options, _) in VERBS.items()}
    return tyro.extras.subcommand_cli_from_dict(
        verbs, prog="python -m yolo", args=arguments, config=(tyro.conf.FlagCreatePairsOff,)
    )


def run(options: object) -> int:
    """Runs the verb that the options belong to, in a module that is imported now: `--help` does without torch."""
    module = importlib.import_module(next(module for kind, module in VERBS.values() if kind is type(options)))
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
