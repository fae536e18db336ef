"""What the command line of a verb means, generated from `yolo.options.commands`."""

from __future__ import annotations

import importlib
import io
import logging
import os
import platform
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from typing import Any

import tyro

from yolo.names import did_you_mean
from yolo.options.ablate import Ablate
from yolo.options.aliases import foreign
from yolo.options.anchors import Anchors
from yolo.options.check import Check
from yolo.options.commands import Completion, Detect, Doctor, Evaluate, Explain, Get, PlotLr, ShowData, Summary
from yolo.options.convert import Convert
from yolo.options.presets import Command, parse_command
from yolo.options.train import Train
from yolo.pixels import pixel_limit
from yolo.process.streams import coloured
from yolo.version import VERSION

VERBS: dict[str, tuple[type[Any], str]] = {
    "detect": (Detect, "yolo.commands.detect"),
    "eval": (Evaluate, "yolo.commands.evaluate"),
    "explain": (Explain, "yolo.commands.explain"),
    "summary": (Summary, "yolo.commands.summary"),
    "convert": (Convert, "yolo.commands.convert"),
    "show-data": (ShowData, "yolo.commands.show_data"),
    "anchors": (Anchors, "yolo.commands.anchors"),
    "doctor": (Doctor, "yolo.commands.doctor"),
    "get": (Get, "yolo.commands.get"),
    "check": (Check, "yolo.commands.check"),
    "train": (Command, "yolo.commands.train"),
    "plot-lr": (PlotLr, "yolo.commands.plot_lr"),
    "ablate": (Ablate, "yolo.commands.ablate"),
    "completion": (Completion, __name__),
}
"""The options of each verb, and the module whose `run` takes them."""

CONFIG = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)

HELP = (
    "python -m yolo VERB --help lists the options of a verb, python -m yolo --version the versions. "
    "--traceback, before or after a verb, prints where an error came from."
)


def command(given: Sequence[str], imported: Callable[[], None]) -> int:
    """Run one verb and return its exit status; 2 after words of other programs, which get an answer on stderr.

    `imported` is called when the verb and its packages are imported. Raises what the verb raises, and as `parse`.
    """
    logging.basicConfig(format="%(message)s")
    if given[-1:] == ["--version"] and len(given) < 3:  # alone, or after a verb: train.py and detect.py
        print(versions())
        return 0
    if answer := foreign(given):
        verb = f" {given[0]}" if given[0] in VERBS else ""
        print(f"error: {answer} (python -m yolo{verb} --help lists all words)", file=sys.stderr)
        return 2
    for word in given:
        if "\0" in word or not word.rpartition("=")[2]:
            raise ValueError(
                f"the word {word!r} of the command line is empty or has a zero byte: expected a file or a value"
            )
    with coloured():
        options = parse(given)
    if isinstance(options, Completion):  # a verb about the verbs
        print(completion(options.shell))
        return 0
    os.getcwd()  # where the current folder was deleted, PyTorch would end the process with a riddle
    name = next(module for kind, module in VERBS.values() if type(options) is kind)
    module = importlib.import_module(name)  # only now, so that `--help` does not import torch
    imported()
    with pixel_limit(options):
        return int(module.run(options) or 0)


def parse(arguments: Sequence[str]) -> object:
    """Return the options that a command line describes, an instance of its verb's dataclass.

    Those of training come from presets and files too. Raises ValueError or OSError for wrong options or files, and
    SystemExit after `--help` or for words that tyro does not accept.
    """
    if arguments[:1] == ["train"]:
        return parse_command(Command, "train", arguments[1:])
    if arguments[:1] == ["check"]:
        return parse_command(Check, "check", arguments[1:])
    if arguments[:1] == ["ablate"] and "--" in arguments:  # what follows are options of `train`
        cut = list(arguments).index("--")
        options = parse(arguments[:cut])
        assert isinstance(options, Ablate)
        return replace(options, train=tuple(arguments[cut + 1 :]))
    if arguments and arguments[0] in VERBS:  # so messages point to the help of the verb, not to the list of verbs
        kind, prog = VERBS[arguments[0]][0], f"python -m yolo {arguments[0]}"
        return tyro.cli(kind, prog=prog, args=arguments[1:], config=CONFIG)
    if arguments and arguments[0] not in ("-h", "--help"):
        hint = "" if arguments[0].startswith("-") else did_you_mean(arguments[0], VERBS)
        hint = hint or "python -m yolo VERB --help lists its options"
        raise ValueError(f"got {arguments[0]!r}, expected a verb first: {', '.join(VERBS)}; {hint}")
    return _any_verb("python -m yolo", arguments)


def _any_verb(prog: str, arguments: Sequence[str]) -> object:
    """Return the options of a verb that comes first, or print the help of all verbs, or a completion, and exit."""
    verbs: dict[str, Callable[..., object]] = {verb: options for verb, (options, _) in VERBS.items()}
    verbs |= {"check": Check[Train], "train": Command[Train]}
    return tyro.extras.subcommand_cli_from_dict(verbs, prog=prog, description=HELP, args=arguments, config=CONFIG)


def completion(shell: str) -> str:
    """Return the script with which a shell completes the verbs and options of the command `exact-yolov3`."""
    with redirect_stdout(io.StringIO()) as script, suppress(SystemExit):
        _any_verb("exact-yolov3", ["--tyro-print-completion", shell])
    # It takes every line that it gets for a candidate, those of a longer description too.
    return re.sub(
        "^COMPLETION_SPEC = .*", lambda spec: spec[0].replace("\\n", " "), script.getvalue(), flags=re.MULTILINE
    )


def versions() -> str:
    """Return the versions of this program and of what its numbers depend on, and the device that it uses."""
    import torch

    device = f"cuda ({torch.cuda.get_device_name()})" if torch.cuda.is_available() else "cpu"
    return f"exact-yolov3 {VERSION}\nPython {platform.python_version()}, torch {torch.__version__}, device {device}"
