"""Build a whole run from its options."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from yolo.data.cache import Cached
from yolo.data.datasets import ImageDataset, open_data, splits
from yolo.data.learnable import check_learnable
from yolo.data.loader import Loader
from yolo.data.sample import DataSet
from yolo.data.sampler import Batches
from yolo.data.shapes.scenes import make_shapes
from yolo.data.sheet import contact_sheet
from yolo.data.split_names import kind, meant
from yolo.data.transforms import Augmented, Preview
from yolo.distributed import print_once, rank, rank_0_first, world_size
from yolo.images.files import write_image
from yolo.metrics.coco import METRICS
from yolo.models.build import build_detector, names_of_weights
from yolo.models.detector import Detector
from yolo.options.presets import read_options
from yolo.options.training import Training
from yolo.options.yaml_file import yaml_text
from yolo.training.allocator import keep_large_blocks
from yolo.training.engine import Trainer
from yolo.training.kept import DATA, Verdict, check_there, epoch_anew, in_order, kept_cfg, part, settled
from yolo.training.optimizer import freeze, make_optimizer
from yolo.training.precision import autocast, training_precision
from yolo.training.record import changes, read_record
from yolo.training.run_folder import OPTIONS, Run, next_folder
from yolo.training.schedule import make_schedule, warmup_notes
from yolo.training.validation import Validation
from yolo.training.watch import watchers

log = logging.getLogger("yolo")

SHAPES = Path("data/shapes")
"""Folder of the embedded data set, below the working directory of the command; it is made on first use."""


def assemble(
    options: Training, device: torch.device, state: dict[str, Any] | None = None, *, accept: bool = False
) -> Trainer:
    """Return a new run, or with the `state` of a checkpoint the run of the folder `options.out`, as it was then.

    Raises ValueError if the data or the cfg of a resumed run changed, unless `accept`.
    """
    # This program does not use NumPy's and Python's random numbers, but a user's transform may.
    torch.manual_seed(options.seed)
    np.random.seed(options.seed % 2**32)
    random.seed(options.seed)
    data, held_out, verdict = _data(options, state, accept=accept)
    check_sets(options, data, held_out, allow_empty=options.allow_empty or state is not None)
    # The weights of a resumed run are in its checkpoint: the files that it started from may be gone.
    detector = build_detector(options if state is None else kept_cfg(options), data.names, device)
    _check_metric(options.early_metric, detector)
    detector, wrapped = _wrap(detector, options)
    precision = training_precision(options.precision, device)
    seen, batches = _batches(options, data, detector)
    workers = loader_workers(options.workers)
    loader = Loader(detector.samples(seen), batches, workers=workers, pin=device.type == "cuda")
    # Rounded up: the last step of an epoch may have fewer batches.
    epoch_steps = -(-len(loader) // options.accumulate)
    origin = _origin(state, anew=verdict.anew)
    total_steps = origin[1] + (options.epochs - origin[0]) * epoch_steps
    schedule = make_schedule(options.schedule, total_steps, epoch_steps)
    optimizer = make_optimizer(
        detector.network, options.optimizer, options.schedule.lr, options.momentum, options.weight_decay
    )
    # Before the first step: from then on blocks are mapped and unmapped.
    if device.type == "cpu":
        keep_large_blocks()
    arithmetic = partial(autocast, device, precision)
    validation = Validation(held_out, detector, arithmetic=arithmetic, workers=workers)
    watching = watchers(detector, options, validation, arithmetic)
    # The folder comes last: errors in the options are reported before anything is written.
    run = _folder(options, state, verdict.files(detector))
    trainer = Trainer(
        detector,
        loader,
        optimizer,
        schedule,
        evaluate=partial(_evaluate, validation, run),
        run=run,
        options=options,
        precision=precision,
        wrapped=wrapped,
        watchers=watching,
        origin=origin,
    )
    # Only a new run writes the sheet: a resumed one has it.
    if state is None:
        _first_batch(seen, batches, run)
    else:
        trainer.load_state_dict(epoch_anew(state["trainer"], batches) if verdict.anew else state["trainer"])
        if verdict.anew:  # before the record says so: a crash in between leaves a run that is refused again
            trainer.save()
        run.replace({**verdict.files(detector), OPTIONS: yaml_text(options)})
    summary = (
        f"{run.folder}: {len(data):,} images, {len(data.names)} classes, input {detector.size}, "
        f"{options.epochs} epochs, {total_steps:,} steps, {str(precision).removeprefix('torch.')} on {device}"
    )
    print_once("\n".join([summary, *warmup_notes(options.schedule, total_steps)]))
    return trainer


def _data(
    options: Training, state: dict[str, Any] | None, *, accept: bool
) -> tuple[ImageDataset, ImageDataset, Verdict]:
    """Return the data sets for training and for evaluation, and what comparing them with those of before gave.

    The classes are in the order of the run, or in that of the weights that a new run starts from.
    """
    opened = open_sets(options)
    before = None if state is None else read_record(Path(options.out or "") / DATA)
    names = before.train.names if before else names_of_weights(options) if state is None else None
    data, held_out = in_order(opened, names)
    sets, listed = (data, held_out), opened[0].names
    return data, held_out, settled(options, sets, listed, place_of(options), before, state, accept=accept)


def _origin(state: dict[str, Any] | None, *, anew: bool) -> tuple[int, int]:
    """Return the epoch and the step from which on every epoch has as many images as now: 0, 0 unless data changed."""
    if state is None:
        return 0, 0
    if anew:
        return state["trainer"]["loader"]["epoch"], state["trainer"]["step"]
    epoch, step = state.get("origin", (0, 0))
    return epoch, step


def validation_of(folder: Path) -> ImageDataset:
    """Return the images on which a run was evaluated, opened as then. What changed in them is logged.

    Raises ValueError or OSError as `open_sets`, and for a folder without options of a run.
    """
    options = read_options(folder / OPTIONS)
    check_there(folder, options)
    opened = open_sets(options)
    before = read_record(folder / DATA)
    if before is None:
        return opened[1]
    held_out = in_order(opened, before.train.names)[1]
    now = part("val" if before.val else "train", options, held_out, opened[0].names, place_of(options))
    for change in changes(before.val or before.train, now):
        log.warning("%s: changed since it was trained: %s", folder, change)
    return held_out


def place_of(options: Training) -> Path:
    """Return where the data of a run is."""
    return SHAPES if options.data == "shapes" else Path(options.data)


@rank_0_first()
def open_sets(options: Training) -> tuple[ImageDataset, ImageDataset]:
    """Return the data sets for training and for evaluation. Both have the classes of the training images."""
    path = Path(options.data)
    if options.data == "shapes":
        path = make_shapes(SHAPES)
    # Only where evaluation asks for a validation split is a set without one divided.
    holdout = options.holdout if options.eval_on == "val" and kind(options.val_split) == "val" else 0.0
    open_split = partial(
        open_data, path, bad=options.bad, decode=True, val=options.val, holdout=holdout, allow_empty=options.allow_empty
    )
    data = open_split(split=options.split, limit=options.limit)
    if not len(data):
        raise ValueError(f"{path}: the split {options.split!r} has no images to train on")
    if options.eval_on == "train":
        return data, data
    found = splits(path, val=options.val, holdout=holdout)
    if not meant(found, options.val_split):
        raise ValueError(
            f"{path}: no split begins with {options.val_split!r} to evaluate on; it has {', '.join(found)}: "
            f"give --val-split NAME, --val PATH, --holdout 0.2, or --eval-on train to evaluate on the training images"
        )
    held_out = open_split(split=options.val_split, names=data.names, said=data.index.notes)
    if held_out.part and held_out.part.holdout:
        print_once(
            f"no validation split: {len(held_out):,} of {held_out.whole:,} images are held out for evaluation, by a "
            f"hash of their names (--holdout {holdout:g}); --val PATH gives others"
        )
    return data, held_out


def check_sets(options: Training, data: ImageDataset, held_out: ImageDataset, *, allow_empty: bool) -> None:
    """Raise ValueError if there is nothing to learn or to evaluate on, unless `allow_empty`; warn of what is odd."""
    check_learnable(data.index, f"{options.data}, split {options.split}", allow_empty=allow_empty)
    if held_out is not data:
        check_learnable(held_out.index, f"{options.data}, split {options.val_split}", allow_empty=allow_empty)


def _check_metric(name: str, detector: Detector) -> None:
    """Raise ValueError if no metric has this name: before training, not after the first epoch."""
    losses = [f"{part}/{term}" for part in ("val", "train") for term in ("loss", *detector.terms)]
    known = [*METRICS, *detector.metrics, *losses]
    if name not in known:
        raise ValueError(f"early_metric={name!r}: expected one of {', '.join(known)}")


def _wrap(detector: Detector, options: Training) -> tuple[Detector, nn.Module | None]:
    """Freeze, compile and distribute the network. Returns the detector and the wrapped network, None if not wrapped."""
    # The order matters: frozen layers must be the converted ones, and DDP wraps the compiled network.
    if options.sync_bn and world_size() > 1:
        detector = detector.replace(network=nn.SyncBatchNorm.convert_sync_batchnorm(detector.network))
    if options.freeze:
        frozen = freeze(detector.network, options.freeze)
        print_once(f"frozen: {len(frozen)} parameters, {frozen[0]} to {frozen[-1]}")
    trained: nn.Module = detector.network
    if options.compile:
        trained = cast(nn.Module, torch.compile(trained))
    if world_size() > 1:
        trained = nn.parallel.DistributedDataParallel(trained)
    return detector, None if trained is detector.network else trained


def _batches(options: Training, data: ImageDataset, detector: Detector) -> tuple[Augmented, Batches]:
    """Return the augmented images, and the batches of this process as indices of images."""
    share, rest = divmod(options.batch_size, world_size())
    if rest or not share:
        raise ValueError(f"batch_size={options.batch_size} over {world_size()} processes: expected a multiple of them")
    # The cache comes before augmentation: it holds decoded images, which are the same in every epoch.
    images: DataSet = data
    if options.cache != "none":
        images = Cached(data, detector.size, options.cache, Path("runs/cache"))
    seen = Augmented(images, options.augmentation, seed=options.seed, epochs=options.epochs)
    batches = Batches(
        len(data),
        share,
        detector.size,
        order=detector.order(data, options),
        seed=options.seed,
        shuffle=options.shuffle,
        options=options.augmentation,
        epochs=options.epochs,
        rank=rank(),
        world=world_size(),
    )
    return seen, batches


def loader_workers(workers: int | None) -> int:
    """Return the number of workers of one training process. By default its share of the cores minus 2, at most 8."""
    if workers is not None:
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(0, cores // world_size() - 2))


def _folder(options: Training, state: dict[str, Any] | None, files: Mapping[str, str]) -> Run:
    """Return the folder of the run: a new one, or the existing one without what is newer than the checkpoint."""
    if state is not None:
        assert options.out is not None
        return Run.open(options.out, state["trainer"]["loader"]["epoch"], state["trainer"]["step"])
    return Run.create(options.out or next_folder(), yaml_text(options), files)


def _evaluate(validation: Validation, run: Run, detector: Detector, step: int) -> dict[str, float | None]:
    """Return the metrics, and write a sheet of objects and detections, which replaces the one before."""
    numbers = validation(detector)
    if rank() == 0:
        sheet = validation.sheet(detector)
        write_image(run.folder / "detections.png", sheet)
        run.image(step, "objects and detections", sheet)
    return numbers


def _first_batch(seen: Augmented, batches: Batches, run: Run) -> None:
    """Write a sheet of the first batch as the network gets it, with boxes: it shows errors in the data."""
    if rank() > 0:
        return
    draws = batches.epoch(0)[0][:16]
    sheet = contact_sheet(
        Preview(seen, draws), range(len(draws)), draws[0].size, "the first batch, as training sees it"
    )
    write_image(run.folder / "first_batch.png", sheet)
    run.image(0, "first batch", sheet)
