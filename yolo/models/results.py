"""Detections in images, videos and cameras, source by source, with the time that each image took."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from itertools import chain, groupby
from typing import NamedTuple

from yolo.images.inputs import Given
from yolo.images.sources import Shot, Source, shots
from yolo.models.found import Found
from yolo.models.in_order import batches_of, in_order


class Spent(NamedTuple):
    """Milliseconds that one image took, of a batch its share: reading and resizing; the network; decoding and NMS.

    Other images that were computed at once took the same time.
    """

    load: float
    network: float
    postprocess: float


Search = Callable[[Sequence[Given]], tuple[list[Found], Spent]]
"""Detects in a batch of images."""


class Result(NamedTuple):
    """What is found in an image or a frame; `found` is None if the source could not be read: `shot.error`."""

    source: Source
    shot: Shot
    found: Found | None
    spent: Spent


def results(
    sources: Iterable[Source], channels: int, search: Search, *, workers: int = 1, batch_size: int = 1
) -> Generator[Result, None, None]:
    """Yield a result for each image and frame of the sources, in their order.

    Up to `workers` batches are computed at once, each in a thread that reads its images too. The frames of a video are
    read ahead in the calling thread. A camera and a live stream give the newest frame when a result is asked for, one
    at a time, so that nothing is delayed. Close the generator to end the threads and free the camera early.
    """
    for live, part in groupby(sources, key=lambda source: source.live):
        batches = batches_of(_inputs(part, channels), 1 if live else batch_size)
        found = in_order(batches, lambda batch: _found(batch, channels, search), 1 if live else workers)
        with closing(found):
            yield from chain.from_iterable(found)


class _Input(NamedTuple):
    """An image that is not read yet, or a frame with the milliseconds that reading it took."""

    source: Source
    shot: Shot | None = None
    milliseconds: float = 0.0

    def read(self, channels: int) -> _Input:
        """Return the image after reading it; a frame as it is."""
        if self.shot is not None:
            return self
        start = time.perf_counter()
        (shot,) = shots(self.source, channels)
        return _Input(self.source, shot, (time.perf_counter() - start) * 1e3)


def _inputs(sources: Iterable[Source], channels: int) -> Generator[_Input, None, None]:
    """Yield all images, not yet read, and all frames, of which a live source gives the newest."""
    for source in sources:
        if not source.moving:
            yield _Input(source)
            continue
        with closing(shots(source, channels, newest=True)) as frames:
            start = time.perf_counter()
            for shot in frames:
                yield _Input(source, shot, (time.perf_counter() - start) * 1e3)
                start = time.perf_counter()  # the caller has taken time since


def _found(batch: Sequence[_Input], channels: int, search: Search) -> list[Result]:
    """Return the results of a batch. What cannot be read is left out of the batch that is detected in."""
    inputs = [one.read(channels) for one in batch]
    given = [
        Given(one.shot.pixels, one.shot.name, one.shot.path)
        for one in inputs
        if one.shot is not None and one.shot.pixels is not None
    ]
    found, spent = search(given) if given else ([], Spent(0.0, 0.0, 0.0))
    left = iter(found)
    made = []
    for source, shot, milliseconds in inputs:
        assert shot is not None
        own = spent._replace(load=spent.load + milliseconds)
        made.append(Result(source, shot, None if shot.pixels is None else next(left), own))
    return made
