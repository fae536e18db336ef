"""What a run trusts and does not own, its cfg and its data: kept in its folder, compared when it is resumed.

`network.cfg` is the cfg with the classes of the data. A resumed run is built from it, so the file that `--cfg` named
may be gone. `data.json` describes the data (`record.py`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
import yaml

from yolo.darknet.cfg import read_cfg, with_classes
from yolo.data.datasets import ImageDataset
from yolo.data.decoded import checked
from yolo.data.sampler import Batches
from yolo.files.text import read_text
from yolo.models.detector import Detector
from yolo.options.aliases import renamed
from yolo.options.training import Training
from yolo.process.distributed import from_rank_0, print_once, rank
from yolo.training.record import Part, Record, cfg_changes, changes, part_of, same_images, text_of
from yolo.training.totals import Totals

DATA, CFG = "data.json", "network.cfg"

OPENED = {"train": ("split", "limit"), "val": ("val_split", "val")}
"""The options under which each part of the data is opened; further ones belong to both."""

T = TypeVar("T", bound=Training)


class Verdict(NamedTuple):
    """What comparing gave: the record to keep, None in other processes than 0; whether the epoch has to begin anew."""

    record: Record | None
    anew: bool

    def files(self, detector: Detector) -> dict[str, str]:
        """Return the files that keep the data and the cfg, their texts by name."""
        cfg = detector.metadata().get("cfg")
        return ({DATA: text_of(self.record)} if self.record else {}) | ({CFG: cfg} if cfg else {})


def in_order(sets: Sequence[ImageDataset], names: Sequence[str] | None) -> list[ImageDataset]:
    """Return data sets with their classes in the order of `names`, if these are the same classes, else as they are."""
    return [
        one
        if names is None or one.names == names or sorted(one.names) != sorted(names)
        else ImageDataset(one.index.with_classes([one.names.index(name) for name in names]), one.part, one.whole)
        for one in sets
    ]


def settled(
    options: Training, sets: tuple[ImageDataset, ImageDataset], listed: list[str], path: Path, before: Record | None,
    state: dict[str, Any] | None, *, accept: bool,
) -> Verdict:  # fmt: skip
    """Return the record of the data to keep, and how a resumed run continues. A collective call.

    Args:
        options: those of the run.
        sets: the images to train on and to evaluate on, the same object twice for one set.
        listed: the class names in the data's own order.
        path: where the data is.
        before: what a resumed run has kept, if anything.
        state: the checkpoint of a resumed run, None for a new one.
        accept: continue a run whose data or cfg changed.

    Raises ValueError with what changed, unless it is accepted and the network still fits.
    """
    # Only process 0 reads the files and writes the record; the others get the same verdict and the same error.
    verdict, error = Verdict(None, anew=False), ""
    if rank() == 0:
        try:
            now = _record(options, sets, listed, path)
            verdict = Verdict(now, False) if state is None else _compared(options, before, now, state, accept=accept)
        except (ValueError, OSError) as problem:
            error = str(problem)
    error, anew = json.loads(from_rank_0(json.dumps([error, verdict.anew])))
    if error:
        raise ValueError(error)
    return verdict._replace(anew=anew)


def _record(options: Training, sets: tuple[ImageDataset, ImageDataset], listed: list[str], path: Path) -> Record:
    """Return the record of the data of a run; see `settled`."""
    data, held_out = sets
    val = None if held_out is data else part("val", options, held_out, listed, path)
    return Record(part("train", options, data, listed, path), val, [])


def part(kind: str, options: Training, data: ImageDataset, listed: list[str], path: Path) -> Part:
    """Return the record of one data set, "train" or "val"; the other arguments are those of `settled`."""
    files = [(file.size_bytes, file.crc) for file in checked(list(map(os.fsdecode, data.index.paths.tolist())))]
    if kind == "val" and options.val is not None:
        path = options.val
    given = {name: getattr(options, name) for name in (*OPENED[kind], "bad", "allow_empty")}
    found = {} if data.part is None else {"layout": data.part.layout, "holdout": data.part.holdout}
    about = {"path": options.data, "place": os.path.abspath(path), **given, **found}
    return part_of(data.index, path, listed, files, json.loads(json.dumps(about, default=str)))


def _compared(options: Training, before: Record | None, now: Record, state: dict[str, Any], *, accept: bool) -> Verdict:
    """Return what comparing cfg and data of a resumed run with what they were gives.

    Raises ValueError with what changed, unless the changes are accepted and the network still fits.
    """
    assert options.out is not None
    folder = options.out
    found = _cfg_changes(folder, options, len((before or now).train.names))
    if before is None:
        if yaml.safe_load(state["options"])["data"] != options.data:
            found.append(f"the data is {options.data}, and the run has no {DATA} to compare it with")
        elif not found:
            print_once(f"{folder}: it has no {DATA}, as runs of older versions; its data is as it is now from here on")
    else:
        found = [change for change in found if not any(change in entry["changes"] for entry in before.accepted)]
        found += _data_changes(before, now)
        was, is_ = (len(record.train.names) for record in (before, now))
        if was != is_:
            raise ValueError(
                f"{folder}: the network has {was} classes, the data now {is_}: {'; '.join(found)}. Put the data back, "
                f"or start a new run from the weights: --weights {folder}"
            )
    accepted = before.accepted if before else []
    if found:
        lines = "\n".join(f"  {line}" for line in found)
        if not accept:
            raise ValueError(
                f"{folder}: changed since the run began, so the rest would be another run:\n{lines}\n"
                f"Put it back, continue nevertheless with --accept-changes, or start a new run with --weights {folder}"
            )
        print_once(f"{folder}: changed, and accepted from here on:\n{lines}")
        place = {"epoch": state["trainer"]["loader"]["epoch"], "step": state["trainer"]["step"]}
        accepted = [*accepted, {**place, "changes": found}]
    elif before and before.train.conditions.get("path") != options.data:
        print_once(f"{folder}: the data is at {options.data} now, with the same images and labels")
    return Verdict(now._replace(accepted=accepted), before is not None and not same_images(before.train, now.train))


def check_there(folder: Path, options: Training) -> None:
    """Raise FileNotFoundError if the data of the run in this folder is not where its options say."""
    for name, path in (("data", options.data), ("val", options.val)):
        if path not in (None, "shapes") and not Path(path).exists():
            raise FileNotFoundError(f"{path}: the data of {folder} is not there; if it moved, add --{name} PATH")


def _data_changes(before: Record, now: Record) -> list[str]:
    """Return what changed in the data of a run, as sentences."""
    found = changes(before.train, now.train)
    if before.val is None or now.val is None:
        return found
    return found + [f"to evaluate on: {change}" for change in changes(before.val, now.val) if change not in found]


def kept_cfg(options: T) -> T:
    """Return the options with which the network of a resumed run is built: its own cfg, no weights to start from."""
    assert options.out is not None
    kept = options.out / CFG
    own: dict[str, Any] = {"cfg": kept} if hasattr(options, "cfg") and kept.is_file() else {}
    return replace(options.without_weights(), **own)


def epoch_anew(state: dict[str, Any], batches: Batches) -> dict[str, Any]:
    """Return the state of a trainer at the beginning of its epoch, with `batches` of the images as they are now."""
    now = batches.state_dict()
    loader = {key: value for key, value in renamed(state["loader"]).items() if key not in ("images", "order")}
    loader |= {"position": 0} | {key: now[key] for key in ("images", "order") if key in now}
    return {**state, "loader": loader, **Totals(torch.device("cpu")).state_dict()}


def _cfg_changes(folder: Path, options: Training, classes: int) -> list[str]:
    """Return how the cfg that the options name differs from the one that the run keeps; [] if one of them is gone."""
    file, kept = getattr(options, "cfg", None), folder / CFG
    if file is None or not kept.is_file():
        return []
    try:
        now = with_classes(read_cfg(file), classes).to_text()
    except FileNotFoundError:
        print_once(f"{file}: no such file; the run continues with its own copy, {kept}")
        return []
    return [f"{change} (the run keeps its own, {kept})" for change in cfg_changes(read_text(kept), now)]
