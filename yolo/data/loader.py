"""Batches: worker processes or threads make the samples, the main process keeps the position in the epoch.

Letters: `B` images of a batch, `h, w` height and width of the network input in pixels.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from yolo.data.order import Draw
from yolo.data.sample import Target, make_target
from yolo.data.sampler import Batches
from yolo.data.workers import WorkerError, Workers
from yolo.images.opencv import cv2
from yolo.process.signals import ENDING
from yolo.size import Size

log = logging.getLogger("yolo")

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
    `failure` says how a worker ended that should not have ended; it is empty as long as none has.
    """

    def __init__(self, data: Drawn, batches: Batches, *, workers: int = 0, pin: bool = False, threads: int = 1) -> None:
        self.data, self.batches, self.workers, self.pin, self.threads = data, batches, workers, pin, threads
        self.epoch, self.position, self.failure = 0, 0, ""

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

    def _of_workers(self, draws: Sequence[Sequence[Draw]]) -> Iterator[Batch]:
        """Yield the batches that worker processes make. If one ends, `failure` says so and a new one makes the rest."""
        done = 0
        try:
            for batch in self._made(draws, 1 if self.failure else self.workers):
                yield batch
                done += 1
        except WorkerError as problem:
            if self.failure:
                raise WorkerError(f"{self.failure}; the one in its place as well: {problem}") from None
            self.failure = str(problem)
            yield from self._of_workers(draws[done:])

    def _made(self, draws: Sequence[Sequence[Draw]], count: int) -> Iterator[Batch]:
        """Yield the batches that `count` workers make; with `pin`, a thread puts them into page-locked memory."""
        try:
            with _opencv_without_threads(), _signals_held():
                workers = Workers(partial(_packed, self.data), count, _as_worker, seed=self.epoch * 1000)
        except OSError as problem:  # no more processes, or no memory for them
            log.warning("no worker process can be started (%s): this process makes the batches itself", problem)
            yield from self._of_threads(draws)
            return
        with workers:
            made = map(_unpacked, workers.answers(draws))
            yield from _pinned(made) if self.pin else made


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
    """A batch on its way from a worker: as few arrays as possible, since each has a price.

    The objects of all images travel in one array for each key of the targets.
    """

    pixels: np.ndarray
    """The bytes of the images, in the order in which they are in memory."""
    dtype: torch.dtype
    sizes: list[Size]
    image_ids: list[int]
    counts: list[int]
    objects: dict[str, np.ndarray]


def _packed(data: Drawn, draws: Sequence[Draw]) -> _Packed:
    """Return the batch of these draws, ready to travel."""
    images, targets = collate([data[draw] for draw in draws])
    pixels = images.permute(0, 2, 3, 1) if images.ndim == 4 else images
    objects = {key: torch.cat([target[key] for target in targets]).numpy() for key in PER_OBJECT}  # type: ignore[literal-required]
    return _Packed(
        pixels.contiguous().view(torch.uint8).numpy(),
        images.dtype,
        [target["size"] for target in targets],
        [target["image_id"] for target in targets],
        [len(target["labels"]) for target in targets],
        objects,
    )


def _unpacked(packed: _Packed) -> Batch:
    """Return the batch that has travelled."""
    pixels = torch.from_numpy(packed.pixels).view(packed.dtype)
    whole = {key: torch.from_numpy(values) for key, values in packed.objects.items()}
    boxes, labels, crowds, areas = (whole[key].split(packed.counts) for key in PER_OBJECT)
    parts = zip(boxes, labels, packed.image_ids, crowds, areas, packed.sizes, strict=True)
    images = pixels.permute(0, 3, 1, 2) if pixels.ndim == 4 else pixels
    return Batch(images, [make_target(*fields) for fields in parts])


def _pinned(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the batches in page-locked memory, where a thread copies them, one ahead."""

    def following() -> Batch | None:
        batch = next(batches, None)
        return batch and batch._replace(images=batch.images.pin_memory())

    # A new thread would use GPU 0, whichever this one uses.
    device = torch.cuda.current_device() if torch.cuda.is_available() else -1  # -1: it stays as it is
    with ThreadPoolExecutor(1, "pin", torch.cuda.set_device, (device,)) as thread:
        due = thread.submit(following)
        while (batch := due.result()) is not None:
            due = thread.submit(following)
            yield batch


def _as_worker(_worker: int) -> None:
    """Make this process a worker: it computes on one core and outlives signals that are meant for the whole run.

    A worker that was not forked has OpenCV's threads. Ctrl-C and job schedulers send their signals to every process;
    the main process decides what they mean, and then ends its workers.
    """
    cv2.setNumThreads(0)
    for number in {signal.SIGINT, *ENDING} - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):  # on other systems SIGTERM ends a worker, whoever sent it
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, daemon=True).start()


def _obey_parent() -> None:
    """End this worker at a SIGTERM from the main process, and within a second after that is gone.

    Python sends it to its daemons when it ends by an error.
    """
    parent = os.getppid()
    while os.getppid() == parent:
        if (sent := signal.sigtimedwait({signal.SIGTERM}, 1)) and sent.si_pid == parent:
            break
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
