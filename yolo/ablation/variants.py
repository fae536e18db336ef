"""The options of every variant of a study, checked before the first run starts. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from yolo.ablation.grid import dotted, merged, nested
from yolo.ablation.study import Study, StudyRun, plain_yaml
from yolo.darknet.cfg import read_cfg
from yolo.darknet.plan import make_plan
from yolo.options.ablate import PILOT_SEED
from yolo.options.presets import find_preset, model_in, parse_train
from yolo.options.registry import find_model
from yolo.options.train import Train
from yolo.options.training import Training
from yolo.options.yaml_file import read_values, read_yaml
from yolo.size import Size
from yolo.training.schedule import make_schedule

OF_A_RUN = ("seed", "out", "resume", "accept_changes")
"""Options that differ between the runs of one variant."""

PRESET = "preset"
"""Key of a variant that has another preset than the study."""

OF_THE_STUDY = ("--out", "--seed", "--resume", "--preset", "--options", "--transform")
"""Options of `train` that the study sets itself, or does not have."""


def flat_options(runs: Iterable[Path]) -> dict[str, str]:
    """Return the options in options.yaml of some runs of one variant, by dotted names such as `loss.assign`.

    Values are text. Runs without the file have not begun and are skipped. Where runs differ, all values are given.
    """
    found: dict[str, list[str]] = {}
    for run in runs:
        if (run / "options.yaml").is_file():
            for key, value in dotted(plain_yaml(run / "options.yaml")):
                found.setdefault(key, []).append("none" if value is None else str(value))
    return {key: " or ".join(dict.fromkeys(values)) for key, values in found.items() if key not in OF_A_RUN}


def common_and_own(variants: Mapping[str, Mapping[str, str]]) -> tuple[dict[str, str], list[str]]:
    """Return the options that are equal in all variants, and the names of the others."""
    keys = dict.fromkeys(key for options in variants.values() for key in options)
    values = {key: {options.get(key, "-") for options in variants.values()} for key in keys}
    common = {key: next(iter(found)) for key, found in values.items() if len(found) == 1}
    return common, [key for key in keys if key not in common]


def variant_options(study: Study) -> dict[str, Training]:
    """Return the options of every variant by name, except seed and folder, before the pilot.

    The last of these wins: the preset, `base`, the variant, the words of the command line. Words may not undo what a
    variant is about. Raises ValueError that names the variant; SystemExit for words that `train` does not know.
    """
    _check_words(study)
    found: dict[str, Training] = {}
    for name, variant in study.variants.items():
        # A variant of another model has a recipe of its own.
        changes = {option: value for option, value in variant.items() if option != PRESET}
        file, values = find_preset(variant.get(PRESET, study.preset)), merged(study.base, changes)
        model = values.get("model") or model_in(file) or Training.model
        preset = replace(find_model(model, f"variant {name}: model").options(), model=model)
        # With the recipe cfg the cfg has the values that the preset of the study would have.
        if PRESET in variant or values.get("recipe") != "cfg":
            preset = read_yaml(file, preset)
        # Words are read last, so they must not change what the variant has set.
        train = read_values(values, preset, f"variant {name}")
        try:
            train = parse_train(study.words, train)
        except ValueError as problem:
            raise ValueError(f"variant {name}: {problem}") from None
        if undone := differences(read_values(changes, train, f"variant {name}"), train):
            raise ValueError(
                f"variant {name}: the options after -- undo what it is about ({'; '.join(undone)}); leave them out"
            )
        # Runs of a study have equal lengths and share the machine.
        if train.early_stop is not None:
            raise ValueError(f"variant {name}: early_stop={train.early_stop}: compared runs must have equal lengths")
        if train.device not in (None, "cpu", "cuda"):
            raise ValueError(f"variant {name}: device={train.device}: expected cpu or cuda; a free GPU is found")
        if twin := next((other for other in found if found[other] == train), None):
            raise ValueError(f"variants {twin} and {name} have the same options; expected a difference, or one of them")
        found[name] = train
    return found


def check_start(trains: Mapping[str, Training]) -> None:
    """Raise ValueError, with the name, for a training that would fail at its start on whatever data.

    Its cfg and input size must fit, its weights must exist, its warm-up must be over within the steps of its `limit`.
    """
    for name, train in trains.items():
        try:
            if isinstance(train, Train) and train.cfg is not None:
                make_plan(read_cfg(train.cfg), Size.parse(train.size) if train.size else None)
            if train.weights is not None and not train.weights.exists():
                raise ValueError(f"weights: {train.weights}: no such file or folder")
            if train.limit is not None:  # a data set may have fewer images
                epoch_steps = -(-train.limit // (train.batch_size * train.accumulate))
                make_schedule(train.schedule, train.epochs * epoch_steps, epoch_steps)
        except (ValueError, OSError) as problem:
            raise ValueError(f"{name}: {problem}") from None


def decided(study: Study, options: dict[str, Training]) -> dict[str, Training]:
    """Return the options of every variant with the pilot's choice; variants without a choice yet are left out."""
    if study.pilot is None:
        return options
    return {name: with_option(options[name], study.pilot.option, value) for name, value in study.chosen.items()}


def pilot_runs(study: Study, options: dict[str, Training]) -> list[tuple[StudyRun, Training]]:
    """Return the pilot runs, with their options, of the variants for which nothing is chosen yet. Raises ValueError."""
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
            # A short run; `early_metric` makes its best weights those of the metric that chooses.
            train = with_option(options[name], study.pilot.option, value)
            epochs = max(1, round(train.epochs * study.pilot.epochs_share))
            train = replace(train, epochs=epochs, early_metric=study.pilot.metric)
            folder = study.folder / name / f"pilot-{value}"
            found.append((StudyRun(name, PILOT_SEED, folder, folder.with_name(f"{folder.name}.yaml")), train))
    return found


def with_option(train: Training, option: str, value: Any) -> Training:
    """Return the options with another value of one, such as `schedule.peak_lr`. Raises ValueError for a wrong value."""
    return read_values(nested(option, value), train, f"pilot, {option}={value}")


def option_of(train: Training, option: str) -> Any:
    """Return the value of an option such as `schedule.peak_lr`."""
    value: Any = train
    for part in option.split("."):
        value = getattr(value, part)
    return value


def differences(one: Training, other: Training) -> list[str]:
    """Return the options in which two runs differ, and how: `loss.bbox_loss: mse, not iou`."""
    before = dict(dotted(asdict(other)))
    return [f"{name}: {value}, not {before[name]}" for name, value in dotted(asdict(one)) if value != before[name]]


def _check_words(study: Study) -> None:
    """Raise ValueError for options that the study or its pilot sets itself."""
    pilots = (f"--{study.pilot.option.rpartition('.')[2].replace('_', '-')}",) if study.pilot else ()
    for word in study.words:
        flag = word.partition("=")[0].replace("_", "-")
        if flag in OF_THE_STUDY:
            raise ValueError(f"{word} after --: the study sets {', '.join(OF_THE_STUDY)} itself; leave it out")
        if flag in pilots:
            raise ValueError(f"{word} after --: the pilot chooses it; leave it out, or use a grid without a pilot")
