"""A study: variants of a training, each with several seeds, in one folder. No torch.

STUDY/study.yaml            what is compared: this file reads and writes it
STUDY/VARIANT/options.yaml  every option of the variant except seed and folder
STUDY/VARIANT/seed-K/       a run, as `train --out` writes it; train.log, its output; exit_status, once it has ended
STUDY/VARIANT/pilot-VALUE/  a pilot run, if the study has a pilot
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from yolo.files.atomic import replacing
from yolo.files.harmless import Distinct, folder_name
from yolo.files.reading import read_bytes, reading
from yolo.options.presets import read_options
from yolo.options.yaml_nodes import plain_values

STUDY, LOG, STATUS = "study.yaml", "train.log", "exit_status"

SEEDS = 10_000
"""Seeds of a study at most."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")
"""The name of a variant, which is that of its folder."""


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """Short runs of every variant, one for each value of an option; all seeds of the variant use the best value."""

    option: str
    """The option with its groups, such as schedule.peak_lr."""
    values: tuple[Any, ...]
    epochs_share: float = 0.5
    """The epochs of a pilot run, as a share of those of the study."""
    metric: str = "AP50"
    """The metric that decides: the highest value over the epochs wins; for losses, the lowest."""

    def __post_init__(self) -> None:
        if len(self.values) < 2 or not 0 < self.epochs_share <= 1:
            raise ValueError("pilot: expected two values or more, and epochs_share above 0, at most 1")


@dataclass(frozen=True)
class StudyRun:
    """One training of a study: `folder` is its own, `options` the file with the options that it starts with."""

    variant: str
    seed: int
    folder: Path
    options: Path

    @property
    def name(self) -> str:
        """The name in messages: mse/seed-3."""
        return f"{self.variant}/{self.folder.name}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is compared, and the folder of its runs."""

    folder: Path
    seeds: int
    variants: dict[str, dict[str, Any]]
    """Name -> the options of a training that are its own, nested as in files of options."""
    preset: str = "default"
    base: dict[str, Any] = field(default_factory=dict)
    """Options of all variants, nested."""
    words: tuple[str, ...] = ()
    """Options of all variants, as words on the command line of `train`."""
    figures: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Title -> the variants that are compared with each other."""
    question: dict[str, str] = field(default_factory=dict)
    """Title of a figure -> the question that it answers."""
    metrics: tuple[str, ...] = ("AP50", "AP")
    """The metrics in which variants are compared."""
    beside: tuple[str, ...] = ("AR100",)
    """Further metrics in the tables of values."""
    goal: dict[str, float] = field(default_factory=dict)
    """Metric -> the value that it should reach; the tables of values say which variants reach all of them."""
    pilot: Pilot | None = None
    chosen: dict[str, Any] = field(default_factory=dict)
    """Variant -> the value that the pilot chose."""

    def __post_init__(self) -> None:
        """Raise ValueError for names that cannot be folders, and for unknown names in figures and questions."""
        if not self.variants or self.seeds < 1:
            raise ValueError("expected at least one variant and one seed")
        folders = Distinct()
        for name, changes in self.variants.items():
            if folders.take(name) != name:
                raise ValueError(f"variant {name!r}: another one has this name in other case, so it may be one folder")
            if not NAME.fullmatch(name) or folder_name(name, 200) != name:
                raise ValueError(f"variant {name!r}: expected letters, digits and ._+=- as in the name of a folder")
            if not isinstance(changes, dict):
                raise ValueError(f"variant {name!r}: expected options of train, nested, or {{}}; got {changes!r}")
        for title, names in self.figures.items():
            unknown = [name for name in names if name not in self.variants]
            if unknown or len(names) < 2:
                known = ", ".join(self.variants)
                raise ValueError(f"figure {title!r}: expected two or more of {known}; got {', '.join(names)}")
        _check_names("question", self.question, self.figures)
        _check_names("chosen", self.chosen, self.variants if self.pilot else {})

    def runs(self) -> list[StudyRun]:
        """Return all runs except pilots, seed by seed, so that an interrupted study has pairs."""
        return [
            StudyRun(name, seed, self.folder / name / f"seed-{seed}", self.folder / name / "options.yaml")
            for seed in range(self.seeds)
            for name in self.variants
        ]


def _check_names(what: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raise ValueError for names that are not known."""
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"{what}: {', '.join(unknown)}: expected some of {', '.join(known) or 'nothing'}")


def study_of(values: Mapping[str, Any], folder: Path, source: Path) -> Study:
    """Return the study that nested values describe; messages begin with their file, `source`.

    Raises ValueError for unknown, missing and wrong values.
    """
    known = [f.name for f in dataclasses.fields(Study) if f.name != "folder"]
    if unknown := [str(key) for key in values if key not in known]:
        raise ValueError(f"{source}: unknown key {', '.join(unknown)}; expected some of {', '.join(known)}")
    for key in ("variants", "base", "figures", "question", "goal", "pilot", "chosen"):
        if not isinstance(values.get(key, {}), dict | None):
            raise ValueError(f"{source}: {key}: expected lines of `name: value`, got {values[key]!r}")
    given = {key: value for key, value in values.items() if value is not None}
    for key, value in given.items():
        _check_kind(key, value, source)
    try:
        if "pilot" in given:
            given["pilot"] = _pilot(given["pilot"])
        figures = {title: tuple(map(str, names)) for title, names in given.get("figures", {}).items()}
        lists: dict[str, Any] = {
            key: tuple(map(str, given[key])) for key in ("words", "metrics", "beside") if key in given
        }
        return Study(folder=folder, **{**given, "figures": figures, **lists})
    except (TypeError, ValueError) as problem:
        raise ValueError(f"{source}: {problem}") from None


def _check_kind(key: str, value: Any, source: Path) -> None:
    """Raise ValueError for a value of `Study` of another type than its field's."""
    kinds: dict[str, tuple[type | tuple[type, ...], type | tuple[type, ...], str]] = {
        "seeds": (int, object, f"a whole number up to {SEEDS:,}"),
        "preset": (str, object, "the name of a preset"),
        "words": ((list, tuple), (str, int, float), "a list of words"),
        "metrics": ((list, tuple), str, "a list of metrics"),
        "beside": ((list, tuple), str, "a list of metrics"),
        "variants": (dict, object, "names with options of train"),
        "figures": (dict, (list, tuple), "titles with lists of variants"),
        "question": (dict, str, "titles with a question"),
        "goal": (dict, (int, float), "metrics with a number"),
    }
    kind, within, expected = kinds.get(key, (dict, object, "lines of `name: value`"))
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    fits = isinstance(value, kind) and all(isinstance(part, within) for part in parts)
    if isinstance(value, bool) or not fits or (key == "seeds" and value > SEEDS):
        raise ValueError(f"{source}: {key}: expected {expected}, got {value!s:.100}")
    if isinstance(value, dict) and not all(isinstance(name, str) for name in value):
        raise ValueError(f"{source}: {key}: expected names in quotes, got {', '.join(map(repr, value)):.100}")


def _pilot(values: dict[str, Any]) -> Pilot:
    """Return the pilot that nested values describe. Raises ValueError."""
    keys = [f.name for f in dataclasses.fields(Pilot)]
    if not {"option", "values"} <= values.keys() <= set(keys) or not isinstance(values["values"], list):
        raise ValueError(f"pilot: expected an option, its values as a list, and of {', '.join(keys[2:])}; got {values}")
    share, words = values.get("epochs_share", 0.5), (values["option"], values.get("metric", ""))
    if type(share) not in (int, float) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"pilot: expected option and metric as words, epochs_share as a number; got {values}")
    return Pilot(**{**values, "values": tuple(values["values"])})


def read_study(path: Path) -> Study:
    """Return the study of a folder, or of its study.yaml. Raises FileNotFoundError; ValueError for a damaged file."""
    file = path / STUDY if path.is_dir() or path.name != STUDY else path
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file, so this is not a study; python -m yolo ablate makes one")
    with reading(file, "a study"):
        return study_of(plain_yaml(file), file.parent, file)


def write_study(study: Study) -> None:
    """Write the study.yaml of a study, whole or not at all."""
    values = dataclasses.asdict(study)
    del values["folder"]
    order = ["question", "preset", "seeds", "words", "base", "variants", "figures", "metrics", "beside", "goal"]
    order += ["pilot", "chosen"]
    text = yaml.safe_dump({key: _lists(values[key]) for key in order}, sort_keys=False, allow_unicode=True, width=120)
    with replacing(study.folder / STUDY) as temporary:
        temporary.write_text(text, encoding="utf-8")


def plain_yaml(file: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file. Raises ValueError with file and line for anything else in it."""
    values = plain_values(file)
    if not isinstance(values, dict):
        raise ValueError(f"{file}: expected lines of `key: value`, got {type(values).__name__}")
    return values


def finished(folder: Path) -> bool:
    """Return whether a run is done: metrics.jsonl has its last epoch, and best.safetensors exists.

    Raises ValueError for a damaged metrics.jsonl.
    """
    files = [folder / name for name in ("options.yaml", "metrics.jsonl", "best.safetensors")]
    if not all(file.is_file() for file in files):
        return False
    epochs = read_options(files[0]).epochs
    *_, last = [b"", *read_bytes(files[1]).split(b"\n")[:-1]]  # a last line without newline was cut off
    try:
        return bool(int(json.loads(last)["epoch"]) + 1 >= epochs) if last else False
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise ValueError(f"{files[1]}: its last line is not a line of metrics: {last[:60]!r}") from None


def write_status(folder: Path, status: int) -> None:
    """Write the exit status with which the process of a run has ended."""
    with replacing(folder / STATUS) as temporary:
        temporary.write_text(f"{status}\n", encoding="utf-8")


def read_status(folder: Path) -> int | None:
    """Return the exit status of the last process of a run; None if none has ended, or one is running."""
    file = folder / STATUS
    with reading(file, "an exit status"):
        return int(read_bytes(file, 100)) if file.is_file() else None


def _lists(value: Any) -> Any:
    """Return nested values with lists instead of tuples, which YAML does not have."""
    if isinstance(value, dict):
        return {key: _lists(part) for key, part in value.items()}
    return [_lists(part) for part in value] if isinstance(value, (list, tuple)) else value
