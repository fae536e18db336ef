"""The options of every variant of a study, checked before the first run starts. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from yolo.ablation.grid import dotted, merged, nested
from yolo.ablation.study import Study, StudyRun
from yolo.options.commands import PILOT_SEED
from yolo.options.presets import parse_train
from yolo.options.train import Train
from yolo.options.yaml_file import read_yaml

OF_A_RUN = ("seed", "out", "resume")
"""Options that no two runs share."""


def flat_options(runs: Iterable[Path]) -> dict[str, str]:
    """The options in the options.yaml of some runs of one variant, nested ones as `loss.assign`, values as text.

    Runs without the file have not begun and are passed over. Where runs differ, all values are given.
    """
    found: dict[str, list[str]] = {}
    for run in runs:
        if (run / "options.yaml").is_file():
            for key, value in dotted(yaml.safe_load((run / "options.yaml").read_text(encoding="utf-8"))):
                found.setdefault(key, []).append("none" if value is None else str(value))
    return {key: " or ".join(dict.fromkeys(values)) for key, values in found.items() if key not in OF_A_RUN}


def common_and_own(variants: Mapping[str, Mapping[str, str]]) -> tuple[dict[str, str], list[str]]:
    """The options that are equal in all variants, and the names of the others."""
    keys = dict.fromkeys(key for options in variants.values() for key in options)
    values = {key: {options.get(key, "-") for options in variants.values()} for key in keys}
    common = {key: next(iter(found)) for key, found in values.items() if len(found) == 1}
    return common, [key for key in keys if key not in common]


OWN = ("--out", "--seed", "--resume", "--preset", "--options")
"""Words of `train` that the study says itself."""


def variant_options(study: Study) -> dict[str, Train]:
    """Variant -> its options, but for seed and folder, before the pilot.

    What counts is what comes last: the preset, `base` and the variant, the words of the command line, which may not
    undo what a variant is about. Raises ValueError that names the variant; SystemExit for wrong words.
    """
    _check_words(study)
    found: dict[str, Train] = {}
    for name, changes in study.variants.items():
        train = _parsed(study, name, changes)
        if train.early_stop is not None:
            raise ValueError(f"variant {name}: early_stop={train.early_stop}: runs that are compared are equally long")
        if train.device not in (None, "cpu", "cuda"):
            raise ValueError(f"variant {name}: device={train.device}: expected cpu or cuda; a free GPU is found")
        found[name] = train
    names = list(found)
    for k, name in enumerate(names):
        if twin := next((one for one in names[:k] if found[one] == found[name]), None):
            raise ValueError(f"variants {twin} and {name} have the same options; expected a difference, or one of them")
    return found


def decided(study: Study, options: dict[str, Train]) -> dict[str, Train]:
    """Variant -> its options with what the pilot chose; without those for which it has not chosen yet."""
    if study.pilot is None:
        return options
    return {name: with_option(options[name], study.pilot.option, value) for name, value in study.chosen.items()}


def pilot_runs(study: Study, options: dict[str, Train]) -> list[tuple[StudyRun, Train, Any]]:
    """The pilot runs of variants for which nothing is chosen yet, their options, and the value that they try."""
    if study.pilot is None:
        return []
    for name, changes in study.variants.items():
        if study.pilot.option in (option for option, _ in dotted(changes)):
            raise ValueError(f"variant {name}: {study.pilot.option} is given, but the pilot chooses it; expected one")
    found = []
    for name in study.variants:
        if name in study.chosen:
            continue
        for value in study.pilot.values:
            train = with_option(options[name], study.pilot.option, value)
            epochs = max(1, round(train.epochs * study.pilot.epochs_share))
            train = replace(train, epochs=epochs, early_metric=study.pilot.metric)
            folder = study.folder / name / f"pilot-{value}"
            found.append((StudyRun(name, PILOT_SEED, folder, folder.with_name(f"{folder.name}.yaml")), train, value))
    return found


def with_option(train: Train, option: str, value: Any) -> Train:
    """The options with another value of `schedule.peak_lr`, say. ValueError for one that it cannot have."""
    return _changed(train, nested(option, value), f"pilot, {option}={value}")


def option_of(train: Train, option: str) -> Any:
    """The value of `schedule.peak_lr`, say."""
    value: Any = train
    for part in option.split("."):
        value = getattr(value, part)
    return value


def differences(one: Train, other: Train) -> list[str]:
    """The options in which two runs differ, and how: `loss.bbox_loss: mse, not iou`."""
    before = dict(dotted(asdict(other)))
    return [f"{name}: {value}, not {before[name]}" for name, value in dotted(asdict(one)) if value != before[name]]


def _parsed(study: Study, name: str, changes: dict[str, Any]) -> Train:
    """The options of one variant before the pilot. ValueError."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "options.yaml"
        file.write_text(yaml.safe_dump(merged(study.base, changes)))
        try:
            train = parse_train(["--preset", study.preset, "--options", str(file), *study.words])
        except ValueError as problem:
            raise ValueError(f"variant {name}: {_without(file, problem)}") from None
    if undone := differences(_changed(train, changes, f"variant {name}"), train):
        raise ValueError(
            f"variant {name}: the options behind -- undo what it is about ({'; '.join(undone)}); leave them out"
        )
    return train


def _changed(train: Train, changes: dict[str, Any], who: str) -> Train:
    """The options with nested changes. ValueError that begins with `who`."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "options.yaml"
        file.write_text(yaml.safe_dump(changes))
        try:
            return read_yaml(file, train)
        except ValueError as problem:
            raise ValueError(f"{who}: {_without(file, problem)}") from None


def _without(file: Path, problem: ValueError) -> str:
    """The message without the name and line of a file that nobody else knows."""
    return re.sub(rf"{re.escape(str(file))}(:\d+)?: ", "", str(problem))


def _check_words(study: Study) -> None:
    """ValueError for words that are the study's own business."""
    pilots = (f"--{study.pilot.option.rpartition('.')[2].replace('_', '-')}",) if study.pilot else ()
    for word in study.words:
        flag = word.partition("=")[0].replace("_", "-")
        if flag in OWN:
            raise ValueError(f"{word} behind --: the study says {', '.join(OWN)} itself; leave it out")
        if flag in pilots:
            raise ValueError(f"{word} behind --: the pilot chooses it; leave it out, or use a grid without a pilot")
