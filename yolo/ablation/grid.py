"""What is compared, from a YAML file: variants by name, or a grid of axes. No torch.

question: {title of a figure: one sentence}
preset: blog                         options of all variants: a recipe of config/presets/, ...
base: {epochs: 50}                   ... and what differs from it
variants:                            the names of the variants, and their options; or instead of it
  mse: {loss: {bbox_loss: mse}}
  rcnn: {preset: faster-rcnn}        also with a preset of their own, such as that of another model
grid:                                every combination of these values
  loss.bbox_loss: [mse, iou]
figures: {title: [mse, iou]}         which variants are compared with each other; by default all
pilot: {option: schedule.peak_lr, values: [4e-4, 8e-4], epochs_share: 0.5, metric: AP50}
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from yolo.ablation.study import Study, plain_yaml, study_of
from yolo.files.reading import reading
from yolo.options.shipped import shipped

VARIANTS = 1000
"""Combinations of a grid at most."""


def find_grid(name: str) -> Path:
    """Return the file of a grid: a YAML file, or a shipped one by name. Raises FileNotFoundError that lists those."""
    if Path(name).is_file():
        return Path(name)
    known = {file.stem: file for file in shipped("ablations/*.yaml")}
    if name not in known:
        raise FileNotFoundError(f"grid {name!r}: no such file; expected a YAML file or one of {', '.join(known)}")
    return known[name]


def read_grid(file: Path, folder: Path, seeds: int, words: tuple[str, ...]) -> Study:
    """Return the study that a file describes.

    Args:
        file: The YAML file of the grid.
        folder: The folder of the study.
        seeds: The number of seeds.
        words: Options of `train` for all runs.

    Raises:
        ValueError: The file is wrong; the message begins with its name.
    """
    with reading(file, "a grid"):
        return _grid(plain_yaml(file), file, folder, seeds, words)


def _grid(values: dict[str, Any], file: Path, folder: Path, seeds: int, words: tuple[str, ...]) -> Study:
    """Return the study of a grid's values; see `read_grid`."""
    if own := [key for key in ("seeds", "words", "chosen") if key in values]:
        raise ValueError(f"{file}: {', '.join(own)}: set by the command line, not by the file; leave it out")
    if ("variants" in values) == ("grid" in values):
        raise ValueError(f"{file}: expected either `variants` or `grid`")
    if "grid" in values:
        values["variants"] = combinations(values.pop("grid"), file)
    variants = values["variants"]
    if isinstance(variants, dict):
        # `name:` alone is a variant without options of its own. By default one figure has all variants.
        values["variants"] = {str(name): {} if own is None else own for name, own in variants.items()}
        if not values.get("figures") and len(variants) > 1:
            values["figures"] = {file.stem: list(values["variants"])}
    return study_of({**values, "seeds": seeds, "words": words}, folder, file)


def combinations(axes: Any, file: Path) -> dict[str, dict[str, Any]]:
    """Return every combination of the values of some axes as a variant, named by its values joined with a hyphen.

    Args:
        axes: Option -> list of values.
        file: Named in messages.

    Raises:
        ValueError: `axes` is something else, or two combinations have the same name.
    """
    if not isinstance(axes, dict) or not axes or not all(isinstance(v, list) and v for v in axes.values()):
        raise ValueError(f"{file}: grid: expected lines as `loss.bbox_loss: [mse, iou]`, got {axes!r}")
    if (number := math.prod(map(len, axes.values()))) > VARIANTS:
        raise ValueError(f"{file}: grid: {number:,} combinations, expected at most {VARIANTS:,}")
    variants: dict[str, dict[str, Any]] = {}
    for values in product(*axes.values()):
        name = "-".join(_named(option, value) for option, value in zip(axes, values, strict=True))
        changes: dict[str, Any] = {}
        for option, value in zip(axes, values, strict=True):
            changes = merged(changes, nested(option, value))
        if name in variants:
            raise ValueError(f"{file}: grid: two combinations are called {name}; expected every value once")
        variants[name] = changes
    return variants


def nested(option: str, value: Any) -> dict[str, Any]:
    """Return `loss.bbox_loss` and its value as in files of options: {"loss": {"bbox_loss": value}}."""
    for part in reversed(option.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def dotted(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of everything in nested mappings: the inverse of `nested`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return two nested mappings as one; where both have a value, the second wins."""
    both = {**one, **other}
    for key in one.keys() & other.keys():
        if isinstance(one[key], dict) and isinstance(other[key], dict):
            both[key] = merged(one[key], other[key])
    return both


def _named(option: str, value: Any) -> str:
    """Return a value as a part of a variant's name: a word as it is, anything else with the name of its option."""
    last = option.rpartition(".")[2]
    word = re.sub(r"[^A-Za-z0-9._+]+", "_", "none" if value is None else str(value))
    return word if isinstance(value, str) and word[:1].isalpha() else f"{last}={word}"
