"""Options of training: defaults < preset < YAML file < command line. No torch."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import tyro
import yaml
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes

from yolo.options.aliases import PRESETS
from yolo.options.keywords import read_keywords
from yolo.options.registry import find_model
from yolo.options.shipped import shipped
from yolo.options.training import Training
from yolo.options.yaml_file import read_yaml
from yolo.options.yaml_nodes import composed

DEFAULT = "default"
"""The preset of YOLO if no other is chosen. The preset of another model is the one with the model's name, if any."""

RUN = "options.yaml"
"""All options of a run, in its folder."""

EARLY = ("model", "preset", "options", "resume", "recipe")
"""The words that decide what the others change."""

T = TypeVar("T", bound=Training)


@dataclass(frozen=True, kw_only=True)
class Command(Generic[T]):
    """Train a detector on a data set and evaluate it as it goes.

    A later source of an option wins: --preset, then --options, then the other options of the command line. The defaults
    shown are those after the given preset and file.
    """

    train: T
    """What to train, on what, for how long."""
    preset: str | None = None
    """A recipe of config/presets/, by name."""
    options: Path | None = None
    """YAML file of options that differ, such as a run's options.yaml."""
    transform: str | None = None
    """MODULE:FUNCTION, a torchvision v2 transform `function(image, target)` of the augmented training images, imported
    from the current folder too. No file can name it, since nothing that a file names is imported: give it again with
    --resume."""


C = TypeVar("C", bound=Command[Any])


def parse_train(arguments: Sequence[str], base: Training | None = None) -> Training:
    """Return the options of training that a command line describes, as `parse_command` does, without a transform."""
    train: Training = parse_command(Command, "train", arguments, base).train
    return train


def from_keywords(words: Mapping[str, Any], caller: str) -> Command[Training]:
    """Return the options of training that the words of a command line describe, given as keywords.

    Raises ValueError that begins with `caller` for unknown words and wrong values, ValueError or OSError for wrong
    files.
    """
    early = {name: None if words.get(name) is None else str(words[name]) for name in EARLY}
    train, preset, file = _base(early)
    given = {word: value for word, value in words.items() if word not in ("preset", "options")}
    return Command(train=read_keywords(given, train, caller), preset=preset, options=file)


def parse_command(command: type[C], verb: str, arguments: Sequence[str], base: Training | None = None) -> C:
    """Return the options of a command that takes those of training; `train` is the model's own dataclass of options.

    `base`, if given, replaces preset and file. Raises ValueError (with file and line) or OSError for wrong files, and
    SystemExit after `--help` or for words that tyro does not accept.
    """
    # The model decides which options there are, so it comes first; where it is named twice, the later source wins.
    early = argparse.ArgumentParser(prog=f"python -m yolo {verb}", add_help=False, allow_abbrev=False)
    for name in EARLY:
        early.add_argument(f"--{name}")
    given, _ = early.parse_known_args(arguments)
    train, preset, file = _base(vars(given), base)
    return tyro.cli(
        cast("type[C]", command[type(train)]),  # type: ignore[index]  # known only now
        prog=f"python -m yolo {verb}",
        args=arguments,
        default=command(train=train, preset=preset, options=file),
        config=(OmitArgPrefixes, FlagCreatePairsOff),
    )


def _base(words: Mapping[str, str | None], base: Training | None = None) -> tuple[Training, str | None, Path | None]:
    """Return the options that the words of a command line change, and the preset and the file in them, if any.

    `words` has those of `EARLY`, which decide it: the preset comes first, then the file, or the options of a run alone.
    """
    model, preset, recipe = (words[name] for name in ("model", "preset", "recipe"))
    options, resume = (Path(path) if (path := words[name]) else None for name in ("options", "resume"))
    file = None if preset is None else find_preset(preset)
    if resume is not None and (preset or options):
        raise ValueError(
            "--preset or --options next to --resume: a run keeps the options that it began with; leave it out"
        )
    # A resumed run has its own options; the command line says which of them change.
    own = resume / RUN if resume is not None and (resume / RUN).is_file() else None
    model = model or model_in(options) or model_in(file) or model_in(own) or Training.model
    train = base or (replace(find_model(model).options(), model=model) if own is None else read_options(own))
    # With the recipe cfg the cfg has the values that a preset would have.
    by_cfg = (recipe or _word_in(options, "recipe")) == "cfg"
    if preset is None and base is None and resume is None and not by_cfg:
        preset = DEFAULT if model == Training.model else model if model in presets() else None
    if preset is not None:
        train = read_yaml(find_preset(preset), train)
    if options is not None:
        # A run's options.yaml has every option of its time: later ones have their defaults, not the preset's values.
        of_a_run = _word_in(options, "resume") is not None
        train = read_yaml(options, replace(find_model(model).options(), model=model) if of_a_run else train)
    return train, preset, options


def read_options(file: Path) -> Training:
    """Return the options in a file that has all of them, such as the options.yaml of a run. Raises as `read_yaml`."""
    model = model_in(file) or Training.model
    return read_yaml(file, find_model(model, f"{file}: model").options())


def presets() -> dict[str, Path]:
    """Return the files of all presets by name."""
    return dict(sorted((file.stem, file) for file in shipped("presets/*.yaml")))


def find_preset(name: str) -> Path:
    """Return the file of a preset. Raises ValueError with the names of all presets for an unknown one."""
    name = PRESETS.get(name, name)
    if name not in presets():
        raise ValueError(f"preset {name!r}: expected one of {', '.join(presets())}; give your own with --options FILE")
    return presets()[name]


def model_in(file: Path | None) -> str | None:
    """Return the model's name in a YAML file, or None."""
    return _word_in(file, "model")


def _word_in(file: Path | None, option: str) -> str | None:
    """Return the word of an option in a YAML file, or None. Faults of the file are left for `read_yaml` to report."""
    try:
        node = composed(file) if file is not None else None
    except (OSError, ValueError):
        return None
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    words = (value.value for key, value in pairs if key.value == option and isinstance(value, yaml.ScalarNode))
    return next(words, None)
