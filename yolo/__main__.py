"""`python -m yolo VERB ...`: the command line, generated from `yolo.options.commands`."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import tyro

from yolo.options.ablate import Ablate
from yolo.options.aliases import foreign
from yolo.options.check import Check
from yolo.options.commands import Convert, Detect, Doctor, Evaluate, Explain, Get, PlotLr, ShowData, Summary
from yolo.options.presets import parse_command, parse_train
from yolo.options.training import Training

VERBS: dict[str, tuple[type[Any], str]] = {
    "detect": (Detect, "yolo.commands.detect"),
    "eval": (Evaluate, "yolo.commands.evaluate"),
    "explain": (Explain, "yolo.commands.explain"),
    "summary": (Summary, "yolo.commands.summary"),
    "convert": (Convert, "yolo.commands.convert"),
    "show-data": (ShowData, "yolo.commands.show_data"),
    "doctor": (Doctor, "yolo.commands.doctor"),
    "get": (Get, "yolo.commands.get"),
    "check": (Check, "yolo.commands.check"),
    "train": (Training, "yolo.commands.train"),
    "plot-lr": (PlotLr, "yolo.commands.plot_lr"),
    "ablate": (Ablate, "yolo.commands.ablate"),
}
"""The options of each verb, and the module whose `run` takes them."""

HELP = "python -m yolo VERB --help lists the options of a verb."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns 0 if it succeeded, 1 with one line on stderr if files or options are wrong.

    The words of other programs get an answer on stderr and the status 2, which tyro has for words that nobody knows.
    """
    logging.basicConfig(format="%(message)s")
    given = list(sys.argv[1:] if arguments is None else arguments)
    if answer := foreign(given):
        verb = f" {given[0]}" if given[0] in VERBS else ""
        print(f"error: {answer} (python -m yolo{verb} --help lists all words)", file=sys.stderr)
        return 2
    try:
        options = parse(given)
    except (ValueError, OSError) as problem:  # of files, and of nested options; tyro reports the other ones
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return run(options)


def parse(arguments: Sequence[str]) -> object:
    """Return the options that a command line describes, an instance of its verb's dataclass.

    Those of training come from presets and files too. Raises ValueError or OSError for wrong options or files, and
    SystemExit after `--help` or for words that tyro does not accept.
    """
    if arguments[:1] == ["train"]:
        return parse_train(arguments[1:])
    if arguments[:1] == ["check"]:
        return parse_command(Check, "check", arguments[1:])
    if arguments[:1] == ["ablate"] and "--" in arguments:  # what follows are options of `train`
        cut = list(arguments).index("--")
        options = parse(arguments[:cut])
        assert isinstance(options, Ablate)
        return replace(options, train=tuple(arguments[cut + 1 :]))
    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
    if arguments and arguments[0] in VERBS:  # so messages point to the help of the verb, not to the list of verbs
        kind, prog = VERBS[arguments[0]][0], f"python -m yolo {arguments[0]}"
        return tyro.cli(kind, prog=prog, args=arguments[1:], config=config)
    verbs: dict[str, Callable[..., object]] = {verb: options for verb, (options, _) in VERBS.items()}
    return tyro.extras.subcommand_cli_from_dict(
        verbs, prog="python -m yolo", description=HELP, args=arguments, config=config
    )


def run(options: object) -> int:
    """Run the verb that the options belong to, and return the exit status.

    The verb's module is imported only now, so that `--help` does not import torch.
    """
    module = importlib.import_module(next(module for kind, module in VERBS.values() if isinstance(options, kind)))
    try:
        return int(module.run(options) or 0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return getattr(problem, "status", 1)  # a training that diverged has a status of its own


if __name__ == "__main__":
    sys.exit(main())
