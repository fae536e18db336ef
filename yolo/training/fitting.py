"""Whether a checkpoint has every part that a resume needs, of the right kind and shape, before anything is changed.

A file may be whole and still not fit: another program wrote it, somebody edited it, or a disk lost a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolo.options.aliases import renamed
from yolo.process.distributed import world_size
from yolo.training.run_folder import BEST

NEEDED = {"network": {}, "optimizer": {}, "loader": {"epoch": 0, "position": 0}, "step": 0}
"""What is read of a trainer's state before there is a trainer to compare with, as examples."""


class MisfitError(Exception):
    """The place in a checkpoint that does not fit, and what was expected there."""


@contextmanager
def loading(file: Path) -> Iterator[None]:
    """Turn whatever the parts of a run raise for the state in `file` into a ValueError: the file, why, what to do.

    ValueErrors that say what to do, about options that do not go with the run, only get the name of the file.
    """
    try:
        yield
    except (OSError, ImportError):
        raise
    except Exception as problem:
        why = " ".join(str(problem).split())[:1000]
        if not isinstance(problem, (ValueError, MisfitError)):
            why = f"{type(problem).__name__}: {why}"
        if not isinstance(problem, ValueError) or ";" not in why:
            remedy = f"put a copy back, or start a new run from the weights with --weights {file.with_name(BEST)}"
            why += f"; the checkpoint is damaged or was changed: {remedy}"
        raise ValueError(why if str(file) in str(problem) else f"{file}: {why}") from problem


def check_parts(state: Mapping[str, Any]) -> None:
    """Raise MisfitError for a checkpoint without the parts that are read before the run is built."""
    check(state, {"trainer": {}, "options": ""}, "")
    trainer = renamed(state["trainer"])
    check({**trainer, "loader": renamed(trainer["loader"])} if _is(trainer, "loader") else trainer, NEEDED, "trainer")
    check(state.get("origin", [0, 0]), [0, 0], "origin")
    counts = (trainer["step"], trainer["loader"]["epoch"], trainer["loader"]["position"], *state.get("origin", ()))
    if min(counts) < 0:
        raise MisfitError(f"trainer: {min(counts)} steps, epochs or batches, expected at least 0")
    for name in ("transform", "rounding"):
        if not isinstance(state.get(name), str | None):
            raise MisfitError(f"{name}: {_kind(state[name])}, expected text or None")


def check_fits(
    state: Mapping[str, Any],
    own: Mapping[str, Any],
    terms: Sequence[str],
    optimizer: torch.optim.Optimizer,
    needed: bool,
) -> None:
    """Raise MisfitError for a trainer's state that is not of this trainer.

    Args:
        state: what was loaded, with today's keys.
        own: the state of the trainer at its beginning.
        terms: the names of its loss terms.
        optimizer: its optimizer.
        needed: whether every trained parameter has a state of the optimizer after the first step.
    """
    example = {name: value for name, value in own.items() if name not in ("optimizer", "loader", "watchers", "ratios")}
    example |= {"sums": {}, "counts": {}}  # those of an epoch, which has just begun
    example["random"] = {name: value for name, value in own["random"].items() if name != "cuda"}
    check(state, example, "trainer")
    for name, watcher in own["watchers"].items():
        check(state.get("watchers", {}).get(name), watcher, f"trainer.watchers.{name}", grows=True)
    for name in ("sums", "counts", "ratios"):
        for term, values in state.get(name, {}).items():
            if not isinstance(values, Tensor) or values.shape[:1] != (world_size(),):
                raise MisfitError(f"trainer.{name}.{term}: {_kind(values)}, expected a tensor of {world_size()} rows")
    if state["sums"] and state["sums"].keys() != set(terms):
        raise MisfitError(f"trainer.sums: of {', '.join(map(str, state['sums']))}, expected {', '.join(terms)}")
    _check_optimizer(state["optimizer"], optimizer, needed and state["step"] > 0)


def check(found: Any, example: Any, place: str, *, grows: bool = False) -> None:
    """Raise MisfitError, with the place, where a value differs in kind or shape from an example; None fits anything.

    Dictionaries may have more keys than the example. With `grows` the first dimension of tensors may differ.
    """
    if example is None:
        return
    if isinstance(example, Tensor):
        skip = int(grows)
        fits = isinstance(found, Tensor) and (found.dtype, found.ndim) == (example.dtype, example.ndim)
        if not fits or found.shape[skip:] != example.shape[skip:]:
            raise MisfitError(f"{place}: {_kind(found)}, expected {_kind(example)}")
        if found.is_floating_point() and found.isnan().any():
            raise MisfitError(f"{place}: {int(found.isnan().sum()):,} of {found.numel():,} values are not numbers")
    elif isinstance(example, Mapping):
        if not isinstance(found, Mapping):
            raise MisfitError(f"{place or 'it'}: {_kind(found)}, expected a dictionary")
        if lacking := [str(name) for name in example if name not in found]:
            more = f" and {len(lacking) - 1:,} others are" if len(lacking) > 1 else " is"
            raise MisfitError(f"{place}{place and '.'}{lacking[0]}{more} missing")
        for name, value in example.items():
            check(found[name], value, f"{place}{place and '.'}{name}", grows=grows)
    elif isinstance(example, Sequence) and not isinstance(example, str):
        if not isinstance(found, Sequence) or isinstance(found, str) or len(found) != len(example):
            raise MisfitError(f"{place}: {_kind(found)}, expected a list of {len(example):,}")
        for number, value in enumerate(example):
            check(found[number], value, f"{place}[{number}]", grows=grows)
    elif isinstance(found, bool) != isinstance(example, bool) or not isinstance(
        found, int | float if isinstance(example, float) else type(example)
    ):
        raise MisfitError(f"{place}: {_kind(found)}, expected {type(example).__name__}")


def _check_optimizer(state: Mapping[str, Any], optimizer: torch.optim.Optimizer, needed: bool) -> None:
    """Raise MisfitError for the state of another optimizer, and for parameters without or with a wrong state."""
    place, own = "trainer.optimizer", optimizer.state_dict()
    check(state, {"state": {}, "param_groups": [{} for _ in own["param_groups"]]}, place)
    owners: dict[int, Tensor] = {}
    for found, group, live in zip(state["param_groups"], own["param_groups"], optimizer.param_groups, strict=True):
        known = {name: value for name, value in group.items() if name in found or name == "params"}  # of any PyTorch
        check(found, known, f"{place}.param_groups")
        owners |= zip(found["params"], live["params"], strict=True)
    names = {name for entry in state["state"].values() if isinstance(entry, Mapping) for name in entry}
    for key, parameter in owners.items():
        entry = state["state"].get(key)
        if entry is None and not (needed and parameter.requires_grad):
            continue
        if not isinstance(entry, Mapping) or entry.keys() != names:
            raise MisfitError(f"{place}.state.{key}: {_kind(entry)}, expected {', '.join(sorted(map(str, names)))}")
        for name, value in entry.items():
            if value is not None:
                one = isinstance(value, Tensor) and value.ndim == 0  # such as the number of steps
                check(value, value if one else parameter.detach(), f"{place}.state.{key}.{name}")


def _is(state: Mapping[str, Any], name: str) -> bool:
    return isinstance(state.get(name), Mapping)


def _kind(value: Any) -> str:
    """Return a value in a few words: a tensor by dtype and shape, others by their type."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
