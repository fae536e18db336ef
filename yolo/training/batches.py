"""The batches of a run: augmented images and their order, as the options say, or a recipe of the detector."""

from __future__ import annotations

import os
from pathlib import Path

from yolo.data.cache import Cached
from yolo.data.datasets import ImageDataset
from yolo.data.sample import DataSet
from yolo.data.sampler import Batches
from yolo.data.transforms import Augmented, Transform
from yolo.distributed import rank, world_size
from yolo.models.detector import Detector
from yolo.options.training import Training
from yolo.recipe.augment import DarknetAugment


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


def loader_workers(workers: int | None) -> int:
    """Return the number of workers of one training process. By default its share of the cores minus 2, at most 8."""
    if workers is not None:
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(0, cores // world_size() - 2))
