"""The data sets of a run: images to train on, and others to evaluate on, as its options say."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolo.data.datasets import ImageDataset, open_data, splits
from yolo.data.learnable import check_learnable
from yolo.data.shapes.scenes import make_shapes
from yolo.data.split_names import kind, meant
from yolo.options.presets import read_options
from yolo.options.registry import find_model, resolve
from yolo.options.training import Training
from yolo.process.distributed import print_once, rank_0_first
from yolo.training.kept import DATA, check_there, in_order, part
from yolo.training.record import changes, read_record
from yolo.training.run_folder import OPTIONS

log = logging.getLogger("yolo")

SHAPES = Path("data/shapes")
"""Folder of the embedded data set, below the working directory of the command; it is made on first use."""


def place_of(options: Training) -> Path:
    """Return where the data of a run is; the embedded set is drawn if it is not there yet."""
    return make_shapes(SHAPES) if options.data == "shapes" else Path(options.data)


@rank_0_first()
def open_sets(options: Training) -> tuple[ImageDataset, ImageDataset]:
    """Return the data sets for training and for evaluation. Both have the classes of the training images."""
    data = _open_train(options)
    return data, data if options.eval_on == "train" else _open_val(options, data.names, said=data.index.notes)


def viewed(sets: tuple[ImageDataset, ...], options: Training) -> tuple[ImageDataset, ...]:
    """Return the part of each data set that the model is about; the same set twice stays the same one."""
    view = find_model(options.model).view
    if view is None:
        return sets
    found = {}
    for one in dict.fromkeys(sets):
        index = resolve(view)(one.index, options, one.part.split if one.part else "")
        found[id(one)] = ImageDataset(index, one.part, one.whole)
    return tuple(found[id(one)] for one in sets)


def check_sets(options: Training, data: ImageDataset, held_out: ImageDataset, *, allow_empty: bool) -> None:
    """Raise ValueError if there is nothing to learn or to evaluate on, unless `allow_empty`; warn of what is odd."""
    check_learnable(data.index, f"{options.data}, split {options.split}", allow_empty=allow_empty)
    if held_out is not data:
        check_learnable(held_out.index, f"{options.data}, split {options.val_split}", allow_empty=allow_empty)


def validation_of(folder: Path) -> ImageDataset:
    """Return the images on which a run was evaluated, opened as then. What changed in them is logged.

    Raises ValueError or OSError as `open_sets`, and for a folder without options of a run.
    """
    options = read_options(folder / OPTIONS)
    check_there(folder, options)
    before = read_record(folder / DATA)
    if before is None:
        return viewed(open_sets(options), options)[1]
    # The training images are needed only if they are the ones: the record has the classes.
    opened = _open_val(options, before.train.listed) if before.val else _open_train(options)
    (held_out,) = in_order(viewed((opened,), options), before.train.names)
    now = part("val" if before.val else "train", options, held_out, opened.names, place_of(options))
    for change in changes(before.val or before.train, now):
        log.warning("%s: changed since it was trained: %s", folder, change)
    return held_out


def training_of(folder: Path) -> ImageDataset:
    """Return the images that a run was trained on, as they are now. Raises as `validation_of`."""
    options = read_options(folder / OPTIONS)
    check_there(folder, options)
    return viewed((_open_train(options),), options)[0]


def _open_train(options: Training) -> ImageDataset:
    path = place_of(options)
    data = open_data(path, split=options.split, limit=options.limit, **_conditions(options))
    if not len(data):
        raise ValueError(f"{path}: the split {options.split!r} has no images to train on")
    return data


def _open_val(options: Training, names: Sequence[str], said: Sequence[str] = ()) -> ImageDataset:
    """Return the images to evaluate on, with these classes. `said`: notes that are not repeated.

    Raises ValueError if the data has none.
    """
    path, conditions = place_of(options), _conditions(options)
    found = splits(path, val=options.val, holdout=conditions["holdout"])
    if not meant(found, options.val_split):
        raise ValueError(
            f"{path}: no split begins with {options.val_split!r} to evaluate on; it has {', '.join(found)}: "
            f"give --val-split NAME, --val PATH, --holdout 0.2, or --eval-on train to evaluate on the training images"
        )
    held_out = open_data(path, split=options.val_split, names=names, said=said, **conditions)
    if held_out.part and held_out.part.holdout:
        print_once(
            f"no validation split: {len(held_out):,} of {held_out.whole:,} images are held out for evaluation, by a "
            f"hash of their names (--holdout {conditions['holdout']:g}); --val PATH gives others"
        )
    return held_out


def _conditions(options: Training) -> dict[str, Any]:
    """Return the arguments of `open_data` that both sets share."""
    # Only where evaluation asks for a validation split is a set without one divided.
    divided = options.eval_on == "val" and kind(options.val_split) == "val"
    return {
        "bad": options.bad,
        "decode": True,
        "val": options.val,
        "holdout": options.holdout if divided else 0.0,
        "allow_empty": options.allow_empty,
    }
