"""The options of training, gathered: a preset, then a file, then the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes

from yolo.options.shipped import shipped
from yolo.options.train import Train
from yolo.options.yaml_file import read_yaml

DEFAULT = "default"
"""The recipe where none is asked for."""


@dataclass(frozen=True, kw_only=True)
class _Command:
    """Trains a detector on a data set and evaluates it as it goes.

    What counts is what comes last: --preset, --options, the other options of the command line. The defaults shown are
    those after the preset and the file that are given.
    """

    train: Train
    """What to train, on what, for how long."""
    preset: str = DEFAULT
    """A recipe of config/presets/, by name."""
    options: Path | None = None
    """YAML file of differences, such as a run's options.yaml: `epochs: 50`, and `lr: 1e-4` under `schedule:`."""


def parse_train(arguments: Sequence[str], base: Train | None = None) -> Train:
    """Return the options of training that a command line means; `base`, where given, replaces preset and file.

    Raises ValueError (with file and line) and OSError; SystemExit behind `--help` or a wrong word.
    """
    early = argparse.ArgumentParser(prog="python -m yolo train", add_help=False, allow_abbrev=False)
    early.add_argument("--preset")
    early.add_argument("--options", type=Path)
    early.add_argument("--resume")
    files, _ = early.parse_known_args(arguments)
    train = base or Train()
    if base is None and (files.preset is not None or files.resume is None):  # a run that goes on has its own options
        train = read_yaml(find_preset(files.preset or DEFAULT), train)
    if files.options is not None:
        train = read_yaml(files.options, train)
    return tyro.cli(
        _Command,
        prog="python -m yolo train",
        args=arguments,
        default=_Command(train=train, preset=files.preset or DEFAULT, options=files.options),
        config=(OmitArgPrefixes, FlagCreatePairsOff),
    ).train


def find_preset(name: str) -> Path:
    """The file of a preset. ValueError that lists them if there is none of that name."""
    presets = {file.stem: file for file in shipped("presets/*.yaml")}
    if name not in presets:
        raise ValueError(
            f"preset {name!r}: expected one of {', '.join(presets)}; a file of one's own is --options FILE"
        )
    return presets[name]
