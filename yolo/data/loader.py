"""Batches: worker processes or threads make the samples, the main process keeps the position in the epoch.

Letters: `B` images of a batch, `h, w` height and width of the network input in pixels.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from yolo.data.order import Draw
from yolo.data.sample import Sample, Target, make_target
from yolo.data.sampler import Batches
from yolo.images.opencv import cv2
from yolo.signals import ENDING
from yolo.size import Size

PER_OBJECT = ("boxes", "labels", "iscrowd", "area")  # fields of a target with one row per object


class Batch(NamedTuple):
    """The samples of a batch."""

    images: Tensor
    """uint8 `[B, 3, h, w]` in channels_last memory. Other samples keep their shape, after B, and their dtype."""
    targets: list[Target]
    """B targets with boxes in pixels of these images; with other samples, of an image of their own `size`."""


class Drawn(Protocol):
    """Yields the sample of a draw, as `Augmented` does: an image, or any tensor that a model takes, and its target."""

    def __getitem__(self, draw: Draw, /) -> tuple[Tensor, Target]: ...


class Loader:
    """Iterates over the remaining batches of the present epoch, then moves to the next epoch.

    Args:
        data: yields the sample of a `Draw` (`Augmented`).
        batches: which draws make a batch.
        workers: number of processes that make samples; 0 makes them in this one. Batches do not depend on it.
        threads: with 0 workers, the number of threads that share the samples of a batch while the network waits for it.
            More than one only for data that may be read by several threads (`Augmented.shared`).
        pin: put batches into page-locked memory, from which a GPU copies while it computes.

    `epoch` counts from 0. `position` counts the batches that were handed out, not those that workers have made ahead.
    `state_dict` holds both, so a loader that loads it continues with the next batch.
    """

    def __init__(self, data: Drawn, batches: Batches, *, workers: int = 0, pin: bool = False, threads: int = 1) -> None:
        self.data, self.batches, self.workers, self.pin, self.threads = data, batches, workers, pin, threads
        self.epoch, self.position = 0, 0

    def __len__(self) -> int:
        """Return the number of batches of the present epoch."""
        return self.batches.count(self.epoch)

    def state_dict(self) -> dict[str, int | str]:
        """Return what a resumed run needs, and what it must have in common with this one."""
        return {"epoch": self.epoch, "position": self.position, **self.batches.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken. Raises ValueError if the rest of its epoch would hold other batches."""
        # The orders of `shuffle` have no name in a checkpoint.
        saved = {"order": "of shuffle"} | state
        here = {"order": "of shuffle"} | self.batches.state_dict()
        other = [f"{key} {saved.get(key)}, here {value}" for key, value in here.items() if saved.get(key) != value]
        if not 0 <= state["position"] <= len(self):
            other.append(f"batch {state['position']} of {len(self)}")
        if other:
            raise ValueError(
                f"the run was saved with {', '.join(other)}; expected the same, or the rest of its epoch would hold "
                f"other images"
            )
        self.epoch, self.position = state["epoch"], state["position"]

    def __iter__(self) -> Iterator[Batch]:
        draws = self.batches.epoch(self.epoch)[self.position :]
        for batch in self._of_workers(draws) if self.workers else self._of_threads(draws):
            self.position += 1
            yield batch
        self.epoch, self.position = self.epoch + 1, 0

    def _of_threads(self, batches: Sequence[Sequence[Draw]]) -> Iterator[Batch]:
        """Yield the batches that threads make, this one among them, each when it is due."""

        def made(draws: Sequence[Draw]) -> list[tuple[Tensor, Target]]:
            return [self.data[draw] for draw in draws]

        # Not ahead of time: on two cores a thread that worked beside the network gained nothing.
        with ThreadPoolExecutor(self.threads) as pool:
            for draws in batches:
                shares = [draws[k :: self.threads] for k in range(self.threads)]
                others = [pool.submit(made, share) for share in shares[1:] if share]
                parts = [made(shares[0]), *(other.result() for other in others)]
                batch = collate([parts[k % self.threads][k // self.threads] for k in range(len(draws))])
                yield batch._replace(images=batch.images.pin_memory()) if self.pin else batch

    def _of_workers(self, draws: list[list[Draw]]) -> Iterator[Batch]:
        """Yield the batches that worker processes make."""
        # The DataLoader draws a number that nothing depends on; with a generator of its own, torch's are left alone.
        ahead: DataLoader[Any] = DataLoader(
            cast("Dataset[Sample]", _Carrying(self.data)),
            batch_sampler=draws,
            collate_fn=_packed,
            worker_init_fn=_as_worker,
            num_workers=self.workers,
            pin_memory=self.pin,
            generator=torch.Generator().manual_seed(self.epoch),
        )
        with _opencv_without_threads(), _signals_held():
            made = iter(ahead)
        for batch in made:
            if isinstance(batch, Exception):
                raise batch
            yield _unpacked(batch)


def collate(samples: Sequence[tuple[Tensor, Target]]) -> Batch:
    """Return samples of one shape and dtype as a batch, with one copy of their numbers.

    Images and feature maps `[C, h, w]` become `[B, C, h, w]` in channels_last memory, other shapes are stacked.
    """
    first, targets = samples[0][0], [target for _, target in samples]
    if first.ndim != 3:
        return Batch(torch.stack([image for image, _ in samples]), targets)
    pixels = torch.empty((len(samples), *first.shape[1:], first.shape[0]), dtype=first.dtype)
    for row, (image, _) in zip(pixels.numpy(), samples, strict=True):  # torch would start threads for each of them
        np.copyto(row, image.permute(1, 2, 0).numpy())
    return Batch(pixels.permute(0, 3, 1, 2), targets)


class _Packed(NamedTuple):
    """A batch on its way from a worker.

    A tensor that travels costs an open file, so four tensors per image would soon be too many. Instead the objects of
    all images travel as bytes, in one array for each key of the targets.
    """

    images: Tensor
    sizes: list[Size]
    image_ids: list[int]
    counts: list[int]
    objects: dict[str, np.ndarray]


class _Carrying:
    """Samples in a worker; an error that names a file is given in place of a sample, and raised in the main process.

    The DataLoader would make a text of it with the traceback of the worker.
    """

    def __init__(self, data: Drawn) -> None:
        self.data = data

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Target] | Exception:
        try:
            return self.data[draw]
        except (ValueError, OSError) as problem:
            return problem


def _packed(samples: Sequence[tuple[Tensor, Target] | Exception]) -> _Packed | Exception:
    """Return the batch of these samples, ready to travel; an error in place of a sample is that of the batch."""
    whole = [one for one in samples if not isinstance(one, Exception)]
    if len(whole) < len(samples):
        return next(one for one in samples if isinstance(one, Exception))
    images, targets = collate(whole)
    objects = {key: torch.cat([target[key] for target in targets]).numpy() for key in PER_OBJECT}  # type: ignore[literal-required]
    sizes = [target["size"] for target in targets]
    return _Packed(images, sizes, [t["image_id"] for t in targets], [len(t["labels"]) for t in targets], objects)


def _unpacked(packed: _Packed) -> Batch:
    """Return the batch that has travelled."""
    whole = {key: torch.from_numpy(values) for key, values in packed.objects.items()}
    boxes, labels, crowds, areas = (whole[key].split(packed.counts) for key in PER_OBJECT)
    parts = zip(boxes, labels, packed.image_ids, crowds, areas, packed.sizes, strict=True)
    return Batch(packed.images, [make_target(*fields) for fields in parts])


def _as_worker(_worker: int) -> None:
    """Make this process a worker: it computes on one core and outlives signals that are meant for the whole run.

    A worker that was not forked has OpenCV's threads. Ctrl-C and job schedulers send their signals to every process;
    the main process decides what they mean, and then ends its workers.
    """
    cv2.setNumThreads(0)
    for number in {signal.SIGINT, *ENDING} - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # on other systems SIGTERM ends a worker, whoever sent it
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, daemon=True).start()


def _obey_parent() -> None:
    """End this worker at a SIGTERM from the main process: Python sends it to its daemons when it ends by an error."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back SIGINT, SIGTERM and SIGHUP until the end of the block.

    Processes that start in the block inherit this, so no worker is ended before `_as_worker` has run in it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *ENDING})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _opencv_without_threads() -> Iterator[None]:
    """Take OpenCV's threads away during the block.

    A fork does not copy threads: a worker that is forked in the block would otherwise wait for them forever.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
