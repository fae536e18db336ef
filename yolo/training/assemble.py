"""Build a whole run from its options."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from yolo.data.datasets import ImageDataset
from yolo.data.loader import Loader
from yolo.data.sampler import Batches
from yolo.data.sheet import contact_sheet
from yolo.data.transforms import Augmented, Preview
from yolo.files.shown import one_line
from yolo.images.files import write_image
from yolo.metrics.coco import METRICS
from yolo.models.build import build_detector, names_of_weights
from yolo.models.detector import Detector
from yolo.options.aliases import renamed
from yolo.options.training import Training
from yolo.options.yaml_file import yaml_text
from yolo.process.distributed import print_once, rank, world_size
from yolo.training.allocator import keep_large_blocks
from yolo.training.batches import loader_threads, loader_workers, make_batches
from yolo.training.callback import EpochEnd
from yolo.training.checkpoint import rounding
from yolo.training.engine import Trainer
from yolo.training.fitting import check, loading
from yolo.training.full_batches import FullBatches, compiled, recorded
from yolo.training.kept import DATA, Verdict, epoch_anew, in_order, kept_cfg, settled
from yolo.training.optimizer import freeze, make_optimizer
from yolo.training.precision import Arithmetic, autocast, training_precision
from yolo.training.record import read_record
from yolo.training.room import check_room
from yolo.training.run_folder import LAST, OPTIONS, Run, next_folder
from yolo.training.schedule import make_schedule, warmup_notes
from yolo.training.sets import check_sets, open_sets, place_of, viewed
from yolo.training.transform import Named, with_name
from yolo.training.validation import Validation
from yolo.training.watch import watchers


@dataclass(frozen=True)
class Parts:
    """Everything of a run but its folder and its trainer; nothing has been written yet."""

    options: Training
    device: torch.device
    data: ImageDataset
    """The images to train on, as the model sees the data set."""
    held_out: ImageDataset
    """The images to evaluate on; the same object as `data` with `eval_on=train`."""
    detector: Detector
    """With the weights that training begins with."""
    wrapped: nn.Module | None
    """The network within DDP or torch.compile; None if it is not wrapped."""
    seen: Augmented
    """The training images as the network sees them."""
    batches: Batches
    loader: Loader
    schedule: Callable[[int], float]
    total_steps: int
    precision: torch.dtype
    verdict: Verdict
    origin: tuple[int, int]
    state: dict[str, Any] | None
    """The checkpoint of a resumed run."""
    transform: Named | None = None
    """The user's transform."""

    @property
    def arithmetic(self) -> Arithmetic:
        """The arithmetic in which training computes the network."""
        return partial(autocast, self.device, self.precision)

    def optimizer(self, detector: Detector) -> torch.optim.Optimizer:
        """Return a new optimizer of the detector's network, as the options say."""
        o = self.options
        return make_optimizer(
            detector.network, o.optimizer, o.schedule.lr, o.momentum, o.weight_decay, rate=detector.rate
        )


def gather(
    options: Training, device: torch.device, state: dict[str, Any] | None = None, *, accept: bool = False,
    transform: Named | None = None,
) -> Parts:  # fmt: skip
    """Return the parts of a new run, or with the `state` of a checkpoint those of the run in `options.out`.

    Raises ValueError or OSError for what is wrong, and if the data or the cfg of a resumed run changed, unless
    `accept`. The attribute `about` of an error is "data" or "targets" if it is about those.
    """
    # This program does not use NumPy's and Python's random numbers, but a user's transform may.
    torch.manual_seed(options.seed)
    np.random.seed(options.seed % 2**32)
    random.seed(options.seed)
    with _about("data"):
        data, held_out, verdict = _data(options, state, accept=accept)
    # The weights of a resumed run are in its checkpoint: the files that it started from may be gone.
    detector = build_detector(options if state is None else kept_cfg(options), data.names, device)
    if state is not None:  # at once, since the weights may decide what the samples are
        with loading((options.out or Path()) / LAST):
            saved = renamed(state["trainer"])["network"]
            check(saved, detector.network.state_dict(), "trainer.network")
            detector.network.load_state_dict(saved)
    _check_metric(options.early_metric, detector)
    detector, wrapped = _wrap(detector, options, len(data))
    seen, batches = make_batches(options, data, detector, transform.call if transform else None)
    samples = detector.samples(seen)
    workers = loader_workers(options.workers)
    threads = loader_threads(samples, workers)
    loader = Loader(samples, batches, workers=workers, pin=device.type == "cuda", threads=threads)
    if state is None:
        with _about("targets"):
            detector.fit_to(data, Loader(samples, batches))
    # Rounded up: the last step of an epoch may have fewer batches.
    epoch_steps = -(-len(loader) // options.accumulate)
    origin, recipe = _origin(state, anew=verdict.anew), detector.recipe
    total_steps = recipe.total if recipe else origin[1] + (options.epochs - origin[0]) * epoch_steps
    if recipe and (verdict.anew or options.epochs != recipe.epochs):
        raise ValueError(
            "with the recipe cfg a resumed run keeps its images and its iterations, which are max_batches of its cfg; "
            "for others start a new one: --weights FILE.weights of this run continues at the iteration of that file"
        )
    return Parts(
        options=options,
        device=device,
        data=data,
        held_out=held_out,
        detector=detector,
        wrapped=wrapped,
        seen=seen,
        batches=batches,
        loader=loader,
        schedule=recipe.rate if recipe else make_schedule(options.schedule, total_steps, epoch_steps),
        total_steps=total_steps,
        precision=training_precision(options.precision, device),
        verdict=verdict,
        origin=origin,
        state=state,
        transform=transform,
    )


def assemble(parts: Parts, on_epoch_end: EpochEnd | None = None) -> Trainer:
    """Return the trainer of these parts. Makes the folder of the run, or opens it as it was at the checkpoint."""
    options, detector, state, verdict = parts.options, parts.detector, parts.state, parts.verdict
    optimizer = parts.optimizer(detector)
    # Before the first step: from then on blocks are mapped and unmapped.
    if parts.device.type == "cpu":
        keep_large_blocks()
    validation = Validation(
        parts.held_out, detector, arithmetic=parts.arithmetic, workers=loader_workers(options.workers)
    )
    watching = watchers(detector, options, validation, parts.arithmetic)
    # The folder comes last: errors in the options are reported before anything is written.
    check_room(detector, options)
    text = with_name(yaml_text(options), parts.transform)
    run = _folder(options, state, text, verdict.files(detector))
    trainer = Trainer(
        detector,
        parts.loader,
        optimizer,
        parts.schedule,
        evaluate=partial(_evaluate, validation, run, parts.loader),
        run=run,
        options=options,
        precision=parts.precision,
        wrapped=parts.wrapped,
        watchers=watching,
        origin=parts.origin,
        transform=parts.transform and parts.transform.name,
        on_epoch_end=on_epoch_end,
    )
    # Only a new run writes the sheet: a resumed one has it.
    if state is None:
        if recipe := detector.recipe:  # the weights may be those of an earlier training
            trainer.step, (parts.loader.epoch, parts.loader.position) = recipe.first, recipe.start
        _first_batch(parts.seen, parts.batches, run, options.accumulate)
    else:
        with loading(run.folder / LAST):
            trainer.load_state_dict(epoch_anew(state["trainer"], parts.batches) if verdict.anew else state["trainer"])
        run.rewind(trainer.loader.epoch)  # nothing is written before the state is known to fit
        if verdict.anew:  # before the record says so: a crash in between leaves a run that is refused again
            trainer.save()
        run.replace({**verdict.files(detector), OPTIONS: text})
    summary = (
        f"{run.folder}: {len(parts.data):,} images, {len(parts.data.names)} classes, input {detector.size} "
        f"{options.placement}, {options.epochs} epoch{'s' * (options.epochs != 1)}, {parts.total_steps:,} steps, "
        f"{str(parts.precision).removeprefix('torch.')} on {parts.device}"
    )
    notes = [] if detector.recipe else warmup_notes(options.schedule, parts.total_steps)
    print_once("\n".join([summary, *notes, *_rounded_otherwise(state, parts.device)]))
    return trainer


def _rounded_otherwise(state: Mapping[str, Any] | None, device: torch.device) -> list[str]:
    """Return a line if the rest of a resumed run will not be bit for bit that of the uninterrupted one."""
    before, now = (state or {}).get("rounding"), rounding(device)  # not in checkpoints of version 0.1
    if before in (None, now):
        return []
    return [f"saved with {one_line(before)[:200]}, resumed with {now}: from here on sums round otherwise"]


@contextmanager
def _about(subject: str) -> Iterator[None]:
    """Give the errors of the block an attribute `about` that names what they are about."""
    try:
        yield
    except (ValueError, OSError) as problem:
        problem.about = subject  # type: ignore[union-attr]
        raise


def _data(
    options: Training, state: dict[str, Any] | None, *, accept: bool
) -> tuple[ImageDataset, ImageDataset, Verdict]:
    """Return the data sets for training and for evaluation, and what comparing them with those of before gave.

    The classes are in the order of the run, or in that of the weights that a new run starts from.
    """
    opened = open_sets(options)
    shown = viewed(opened, options)
    before = None if state is None else read_record(Path(options.out or "") / DATA)
    names = before.train.names if before else names_of_weights(options) if state is None else None
    data, held_out = in_order(shown, names)
    sets, listed = (data, held_out), opened[0].names
    check_sets(options, *opened, allow_empty=options.allow_empty or state is not None)
    return data, held_out, settled(options, sets, listed, place_of(options), before, state, accept=accept)


def _origin(state: dict[str, Any] | None, *, anew: bool) -> tuple[int, int]:
    """Return the epoch and the step from which on every epoch has as many images as now: 0, 0 unless data changed."""
    if state is None:
        return 0, 0
    if anew:
        return state["trainer"]["loader"]["epoch"], state["trainer"]["step"]
    epoch, step = state.get("origin", (0, 0))
    return epoch, step


def _check_metric(name: str, detector: Detector) -> None:
    """Raise ValueError if no metric has this name: before training, not after the first epoch."""
    losses = [f"{part}/{term}" for part in ("val", "train") for term in ("loss", *detector.terms)]
    known = [*METRICS, *detector.metrics, *losses]
    if name not in known:
        raise ValueError(f"early_metric={name!r}: expected one of {', '.join(known)}")


def _wrap(detector: Detector, options: Training, images: int) -> tuple[Detector, nn.Module | None]:
    """Freeze, compile and distribute the network. Returns the detector and the wrapped network, None if not wrapped.

    `images` is the number of images of the training set. Raises ValueError for CUDA graphs without a GPU of their own.
    """
    # The order matters: frozen layers must be the converted ones, and DDP wraps the compiled network.
    if options.sync_bn and world_size() > 1:
        detector = detector.replace(network=nn.SyncBatchNorm.convert_sync_batchnorm(detector.network))
    if options.freeze:
        frozen = freeze(detector.network, options.freeze)
        print_once(f"frozen: {len(frozen)} parameters, {frozen[0]} to {frozen[-1]}")
    trained: nn.Module = detector.network
    share = min(options.batch_size // world_size(), images)
    if options.compile:
        trained = FullBatches(trained, share, compiled(trained))
    if options.graphs:
        if detector.device.type != "cuda" or world_size() > 1:
            raise ValueError(f"graphs=True on {detector.device}, {world_size()} processes: it needs one GPU")
        trained = FullBatches(trained, share, recorded(trained))
    if world_size() > 1:
        # Looking for parameters without gradient takes time in each step. Batch statistics of process 0 are copied when
        # they are used, in evaluation, and not before each step. Gradients are exchanged where they are.
        trained = nn.parallel.DistributedDataParallel(
            trained,
            find_unused_parameters=detector.freezes,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )
    return detector, None if trained is detector.network else trained


def _folder(options: Training, state: dict[str, Any] | None, text: str, files: Mapping[str, str]) -> Run:
    """Return the folder of the run: a new one, or the existing one as it is.

    `text` is its options.yaml, `files` the texts of its other files by name.
    """
    if state is not None:
        assert options.out is not None
        return Run(options.out, first_step=state["trainer"]["step"] + 1)
    return Run.create(options.out or next_folder(), text, files)


def _evaluate(
    validation: Validation, run: Run, loader: Loader, detector: Detector, step: int
) -> dict[str, float | None]:
    """Return the metrics, and write a sheet of objects and detections, which replaces the one before.

    A worker of the evaluation that has ended stops training as one of its `loader` does.
    """
    numbers = validation(detector)
    loader.failure = loader.failure or validation.loader.failure
    if rank() == 0:
        run.check_there()
        sheet = validation.sheet(detector)
        write_image(run.folder / "detections.png", sheet)
        run.image(step, "objects and detections", sheet)
        for name, figure in validation.score.figures().items():
            write_image(run.folder / f"{name}.png", figure)
            run.image(step, name, figure)
    return numbers


def _first_batch(seen: Augmented, batches: Batches, run: Run, accumulate: int) -> None:
    """Write a sheet of the first step's images as the network gets them, with boxes: it shows errors in the data."""
    if rank() > 0:
        return
    step = [draw for batch in batches.epoch(0)[:accumulate] for draw in batch]
    draws = [draw for draw in step if draw.size == step[0].size][:16]
    sheet = contact_sheet(
        Preview(seen, draws), range(len(draws)), draws[0].size, "the first batch, as training sees it"
    )
    write_image(run.folder / "first_batch.png", sheet)
    run.image(0, "first batch", sheet)
