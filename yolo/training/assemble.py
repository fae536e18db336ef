"""Options -> a whole run."""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from yolo.darknet.safetensors_file import save_safetensors
from yolo.data.cache import Cached
from yolo.data.datasets import ImageDataset, open_data, splits
from yolo.data.loader import Loader
from yolo.data.order import Draw
from yolo.data.sample import DataSet, Sample
from yolo.data.sampler import Batches
from yolo.data.shapes.scenes import make_shapes
from yolo.data.sheet import contact_sheet
from yolo.data.transforms import Augmented
from yolo.distributed import rank, say, wait_for_all, world_size
from yolo.images.files import write_image
from yolo.metrics.coco import evaluate
from yolo.metrics.collect import Collector
from yolo.models.build import build_detector
from yolo.models.detector import Detector
from yolo.models.yolo import YoloDetector
from yolo.options.train import Train
from yolo.options.yaml_file import yaml_text
from yolo.size import Size
from yolo.training.allocator import keep_large_blocks
from yolo.training.engine import Memory, Trainer
from yolo.training.glance import Glance
from yolo.training.optimizer import freeze, make_optimizer
from yolo.training.precision import autocast, training_precision
from yolo.training.probe import probe
from yolo.training.run_folder import BEST, Run, next_folder
from yolo.training.schedule import make_schedule
from yolo.training.validation import Validation

SHAPES = Path("data/shapes")
"""Where the embedded set is drawn, under the folder that the command runs in."""


def assemble(options: Train, device: torch.device, state: dict[str, Any] | None = None) -> Trainer:
    """The whole run, new, or with the `state` of a checkpoint where it stood in the folder `options.out`."""
    torch.manual_seed(options.seed)
    np.random.seed(options.seed % 2**32)  # nothing here draws from it, or from Python's; a user's transform may
    random.seed(options.seed)
    data, held_out = open_sets(options)
    _check_metric(options.early_metric, data.names)
    detector = build_detector(options, data.names, device, options.weights if state is None else None)
    _wrap(detector, options)
    precision = training_precision(options.precision, device)
    seen, batches = _batches(options, data, detector.size)
    workers = loader_workers(options.workers)
    loader = Loader(seen, batches, workers=workers, pin=device.type == "cuda")
    steps = options.epochs * -(-len(loader) // options.accumulate)
    schedule = make_schedule(options.schedule, steps)
    optimizer = make_optimizer(
        detector.network, options.optimizer, options.schedule.lr, options.momentum, options.weight_decay
    )
    if device.type == "cpu":
        keep_large_blocks()
    run = _folder(options, state)
    arithmetic = partial(autocast, device, precision)
    validation = Validation(held_out, detector.size, arithmetic=arithmetic, workers=workers)
    trainer = Trainer(
        detector,
        loader,
        optimizer,
        schedule,
        evaluate=partial(_evaluate, validation, run, options.probe),
        keep=partial(_keep, run.folder / BEST),
        run=run,
        options=options,
        precision=precision,
        watcher=Glance(detector, options.glance, arithmetic) if options.glance else None,
    )
    if state is None:
        _first_batch(seen, batches, run)
    else:
        trainer.load_state_dict(state["trainer"])
    say(
        f"{run.folder}: {len(data):,} images, {len(data.names)} classes, input {detector.size}, "
        f"{options.epochs} epochs, {steps:,} steps, {str(precision).removeprefix('torch.')} on {device}"
    )
    return trainer


def open_sets(options: Train) -> tuple[ImageDataset, ImageDataset]:
    """What is trained on, and what is evaluated on. The classes of both are those of the training images."""
    path = Path(options.data)
    if options.data == "shapes":
        path = make_shapes(SHAPES) if rank() == 0 else SHAPES
        wait_for_all()
    data = open_data(path, split=options.split, limit=options.limit, bad=options.bad)
    if not len(data):
        raise ValueError(f"{path}: no images in the split {options.split!r}; nothing to train on")
    if options.eval_on == "train":
        return data, data
    found = splits(path)
    if not any(name.startswith(options.val_split) for name in found):
        raise ValueError(
            f"{path}: no split begins with {options.val_split!r} to evaluate on; there is {', '.join(found)}: "
            f"give --val-split NAME, or --eval-on train for the training images"
        )
    return data, open_data(path, split=options.val_split, bad=options.bad, names=data.names)


def _check_metric(name: str, names: list[str]) -> None:
    """ValueError now, and not behind the first epoch, if no metric has this name."""
    of_nothing = evaluate(Collector(names, torch.device("cpu")).records(), names)
    losses = [f"{part}/{term}" for part in ("val", "train") for term in ("loss", "box", "obj", "cls")]
    known = [*of_nothing.numbers(), *losses]
    if name not in known:
        raise ValueError(f"early_metric={name!r}: expected one of {', '.join(known)}")


def _wrap(detector: YoloDetector, options: Train) -> None:
    """Freezes, compiles, and distributes the network."""
    for name in ("probe", "glance"):
        if getattr(options, name) and world_size() > 1:
            raise ValueError(f"{name}={getattr(options, name)}: it sees the images of one process; leave it out")
    if options.sync_bn and world_size() > 1:
        detector.network = nn.SyncBatchNorm.convert_sync_batchnorm(detector.network)
    if options.freeze:
        frozen = freeze(detector.network, options.freeze)
        say(f"frozen: {len(frozen)} parameters, {frozen[0]} to {frozen[-1]}")
    trained: nn.Module = detector.network
    if options.compile:
        trained = cast(nn.Module, torch.compile(trained))
    if world_size() > 1:
        trained = nn.parallel.DistributedDataParallel(trained)
    detector.wrapped = None if trained is detector.network else trained


def _batches(options: Train, data: ImageDataset, size: Size) -> tuple[Augmented, Batches]:
    """The images as training sees them, and which of them make a batch of this process."""
    share, rest = divmod(options.batch_size, world_size())
    if rest or not share:
        raise ValueError(f"batch_size={options.batch_size} over {world_size()} processes: expected a multiple of them")
    images: DataSet = data
    if options.cache != "none":
        images = Cached(data, size, options.cache, Path("runs/cache"))
    seen = Augmented(images, options.augmentation, seed=options.seed, epochs=options.epochs)
    batches = Batches(
        len(data),
        share,
        size,
        seed=options.seed,
        shuffle=options.shuffle,
        options=options.augmentation,
        epochs=options.epochs,
        rank=rank(),
        world=world_size(),
    )
    return seen, batches


def loader_workers(asked: int | None) -> int:
    """The worker processes of one training process: those that were asked for, or one for each core beyond two."""
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(0, cores // world_size() - 2))


def _folder(options: Train, state: dict[str, Any] | None) -> Run:
    """The run's folder, new, or where the state left it."""
    if state is not None:
        assert options.out is not None
        return Run.open(options.out, state["trainer"]["loader"]["epoch"], state["trainer"]["step"])
    return Run.create(options.out or next_folder(), yaml_text(options))


def _evaluate(
    validation: Validation, run: Run, probed: bool, detector: Detector, step: int, memory: Memory
) -> dict[str, float]:
    """The numbers; and a sheet of objects beside detections, which replaces the one before in the folder."""
    numbers = validation(detector)
    if probed:
        assert isinstance(detector, YoloDetector)
        found, memory["answers"] = probe(detector, validation.loader, validation.arithmetic, memory.get("answers"))
        numbers |= found
    if rank() == 0:
        sheet = validation.sheet(detector)
        write_image(run.folder / "detections.png", sheet)
        run.image(step, "objects and detections", sheet)
    return numbers


def _keep(path: Path, detector: YoloDetector) -> None:
    save_safetensors(detector.network, path, detector.names, size=detector.size, letterbox=detector.letterbox)


def _first_batch(seen: Augmented, batches: Batches, run: Run) -> None:
    """A sheet of the very first batch as the network gets it, boxes drawn: what is wrong with the data shows here."""
    if rank() > 0:
        return
    draws = batches.epoch(0)[0][:16]
    sheet = contact_sheet(_Batch(seen, draws), range(len(draws)), draws[0].size, "the first batch, as training sees it")
    write_image(run.folder / "first_batch.png", sheet)
    run.image(0, "first batch", sheet)


class _Batch:
    """The samples of a batch by plain index."""

    def __init__(self, seen: Augmented, draws: list[Draw]) -> None:
        self.seen, self.draws, self.names = seen, draws, seen.names

    def __len__(self) -> int:
        return len(self.draws)

    def path(self, k: int) -> Path:
        return self.seen.path(self.draws[k].image)

    def __getitem__(self, k: int) -> Sample:
        return self.seen[self.draws[k]]
