"""The batches of a run: augmented images and their order, as the options say, or a recipe of the detector."""

from __future__ import annotations

import os
from pathlib import Path

from yolo.data.cache import Cached
from yolo.data.datasets import ImageDataset
from yolo.data.loader import Drawn
from yolo.data.sample import DataSet
from yolo.data.sampler import Batches
from yolo.data.transforms import Augmented, Transform
from yolo.models.detector import Detector
from yolo.options.training import Training
from yolo.process.distributed import rank, world_size
from yolo.recipe.augment import DarknetAugment

FEW = 256 << 20
"""Bytes of pixels: a data set with at most these, in all processes together, is decoded once if no worker does it."""


def make_batches(
    options: Training, data: ImageDataset, detector: Detector, transform: Transform | None = None
) -> tuple[Augmented, Batches]:
    """Return the augmented images, and the batches of this process as indices of images.

    A recipe of the detector decides order, input and augmentation in place of the options. Raises ValueError for a
    batch that the processes cannot share.
    """
    share, rest = divmod(options.batch_size, world_size())
    if rest or not share:
        raise ValueError(f"batch_size={options.batch_size} over {world_size()} processes: expected a multiple of them")
    # The cache comes before augmentation: it holds decoded images, which are the same in every epoch.
    images: DataSet = data
    if options.cache != "none":
        images = Cached(data, detector.size, options.cache, Path("runs/cache"), letterbox=detector.letterbox)
    recipe = detector.recipe
    seen = Augmented(
        images,
        options.augmentation,
        seed=options.seed,
        epochs=options.epochs,
        transform=transform,
        letterbox=detector.letterbox,
        change=DarknetAugment(recipe.cfg) if recipe else None,
        keep=kept_bytes(options, data),
    )
    batches = Batches(
        len(data),
        share,
        detector.size,
        order=recipe.order(len(data)) if recipe else detector.order(data, options),
        seed=options.seed,
        shuffle=options.shuffle,
        options=options.augmentation,
        epochs=options.epochs,
        sizes=recipe.size_of if recipe else None,
        total=recipe.total * recipe.cfg.net.subdivisions if recipe else None,
        rank=rank(),
        world=world_size(),
    )
    return seen, batches


def kept_bytes(options: Training, data: ImageDataset) -> int:
    """Return the bytes of all decoded images if they are few enough to be kept, else 0.

    Not with worker processes: each would keep its own, and forget them after the epoch.
    """
    if options.cache != "none" or loader_workers(options.workers):
        return 0
    pixels = 3 * int(data.index.sizes.prod(axis=1).sum())
    return pixels if pixels * world_size() <= FEW else 0


def loader_workers(workers: int | None) -> int:
    """Return the number of workers of one training process. By default its share of the cores minus 2, at most 8."""
    return workers if workers is not None else min(8, max(0, _cores() - 2))


def loader_threads(samples: Drawn, workers: int) -> int:
    """Return the number of threads that make samples where no worker does: the share of the cores, at most 4."""
    alone = workers or not isinstance(samples, Augmented) or not samples.shared
    return 1 if alone else max(1, min(4, _cores()))


def _cores() -> int:
    """Return the share of this training process in the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores // world_size()
