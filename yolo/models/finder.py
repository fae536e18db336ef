"""Detection as a caller of Python sees it: images in, detections out.

Letters: `B` images of a batch, `D` detections of an image, `h, w` height and width in pixels.
"""

from __future__ import annotations

import dataclasses
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from typing import Any, ClassVar, Unpack, overload

import numpy as np
import torch
from torch import Tensor

from yolo.boxes import Detections
from yolo.images.inputs import Given, ImageLike, images_in, pixels_of
from yolo.images.placement import Placement
from yolo.images.resize import place
from yolo.images.sources import Source, find_sources
from yolo.models.found import Found
from yolo.models.in_order import batches_of, in_order, workers_for
from yolo.models.results import Search, Spent, results
from yolo.names import chosen
from yolo.options.detection import Filter, FilterWords, filter_of
from yolo.size import Size


class Finder(ABC):
    """What finds objects in images. `Detector` is one that can be trained, evaluated and saved too."""

    names: list[str]
    size: Size
    letterbox: bool = True
    exact: bool = False
    """Whether detections are another program's to the last digit, so that boxes are not clipped to the image."""
    channels: int = 3
    """Channels of an image: 3 for RGB, 1 for grey."""
    parallel: ClassVar[bool] = False
    """Whether several images at once, each in a thread of its own, are allowed, and faster than one after the other."""

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return torch.device("cpu")

    @property
    def workers(self) -> int:
        """How many of many images are detected in at once, each in a thread of its own."""
        return workers_for(self.device) if self.parallel else 1

    @abstractmethod
    def predict(self, images: Tensor) -> Any:
        """Return the network's predictions for prepared images `[B, channels, h, w]`, on its device."""

    @abstractmethod
    def select(self, predictions: Any, placements: Sequence[Placement], options: Filter) -> list[Detections]:
        """Turn the predictions for B images into detections, boxes in original pixels, on the device."""

    def prepare(self, image: ImageLike) -> tuple[Tensor, Placement]:
        """Return an image as network input `[channels, h, w]`, uint8, and its place in it. Does not use the network.

        Raises FileNotFoundError or ValueError with the name of a file that is not an image, and ValueError for pixels
        of another shape or type.
        """
        pixels = self.pixels_of(image)
        placement = Placement.of(Size.of(pixels), self.size, letterbox=self.letterbox)
        return torch.from_numpy(place(pixels, placement)).permute(2, 0, 1), placement

    def pixels_of(self, image: ImageLike) -> np.ndarray:
        """Return the pixels of an image, uint8 `[h, w, channels]`. Raises as `prepare`."""
        return pixels_of(image, self.channels)

    def detect_batch(
        self, images: Tensor, placements: Sequence[Placement], options: Filter | None = None
    ) -> list[Detections]:
        """Return the detections in prepared images `[B, channels, h, w]`, boxes in original pixels.

        Raises ValueError for another number of placements than images.
        """
        if len(images) != len(placements):
            raise ValueError(f"got {len(images)} images and {len(placements)} placements; expected one for each image")
        return self.select(self.predict(images), placements, options or Filter())

    def select_classes(
        self, predictions: Any, placements: Sequence[Placement], options: Filter, wanted: Sequence[int] | None
    ) -> list[Detections]:
        """Return what `select` does, of the `wanted` class indices only; None are all.

        `max_detections` counts after the classes are selected, so it is the number that the user sees.
        """
        if wanted is None:
            return self.select(predictions, placements, options)
        found = self.select(predictions, placements, dataclasses.replace(options, max_detections=None))
        return [one.of_classes(wanted, options.max_detections) for one in found]

    @overload
    def detect(  # type: ignore[overload-overlap]  # types cannot tell that a folder's path gives a list
        self, images: ImageLike, options: Filter | None = None, *, batch_size: int = ..., **words: Unpack[FilterWords]
    ) -> Found: ...
    @overload
    def detect(
        self,
        images: Iterable[ImageLike],
        options: Filter | None = None,
        *,
        batch_size: int = ...,
        **words: Unpack[FilterWords],
    ) -> list[Found]: ...
    def detect(
        self,
        images: ImageLike | Iterable[ImageLike],
        options: Filter | None = None,
        *,
        confidence: float | None = None,
        nms: float | None = None,
        max_detections: int | None = None,
        agnostic: bool | None = None,
        classes: str | Iterable[str | int] | None = None,
        batch_size: int | None = None,
        **others: Any,
    ) -> Found | list[Found]:
        """Find the objects in one image, or in many.

            found = model.detect("dog.jpg", confidence=0.5, classes="dog, cat")
            for name, label, score, box in found:
                print(name, score, box)
            found.save("drawn.png")

        One image gives a `Found`. A folder, a glob, a batch, and a list or iterator of images give a list of them, in
        their order. A `Found` has `boxes` `[D, 4]` xyxy in pixels of the original image, `scores` `[D]` and `labels`
        `[D]` as tensors on the model's device, by descending score, and `names`, `draw`, `save`, `to_coco`,
        `to_supervision`. Boxes are clipped to the image, unless the model is `exact`. Threads may share a model, each
        with its own arguments.

        Args:
            images: the path of an image file; of a folder, or a glob such as `photos/**/*.jpg`: all its images, while
                videos are left out with a warning; RGB pixels as a numpy array, uint8 `[h, w, 3]`; a PIL image; a uint8
                tensor `[3, h, w]`, or a batch `[B, 3, h, w]`, on any device. Or a list or iterator of any of these.
                `cv2.imread` and `cv2.VideoCapture` give BGR: `image[..., ::-1]` is RGB. A network with one input
                channel takes `[h, w, 1]` and `[1, h, w]`. Videos and cameras are for `stream`.
            options: the thresholds as a `Filter`, by default `Filter()`. A keyword that is given replaces its value.
            confidence: keep objects whose score exceeds this, 0 to 1; by default 0.25.
            nms: drop a box if it overlaps a better one of its class by more than this IoU, 0 to 1; by default 0.45.
            max_detections: keep at most this number of detections per image, the best ones; by default all. It counts
                after `classes` are selected.
            agnostic: compare boxes of all classes in NMS, which leaves one box per object; by default False.
            classes: keep these only: comma-separated names, or a list of names and indices; by default all.
            batch_size: how many images the network sees at once. It changes speed and memory, and perhaps the last
                digits of scores and boxes, since sums may be added in another order. By default 16; 1 on a CPU, where a
                YOLO detects in several images at once, each in a thread of its own. Light networks are faster in
                batches there, too.

        Raises FileNotFoundError or ValueError with the name of a file that is not an image; ValueError for anything
        else that is not an image, with what it is and what to give instead, for a value out of range and an unknown
        class; TypeError for another keyword, with ours if it is that of another program.
        """
        words = FilterWords(
            confidence=confidence, nms=nms, max_detections=max_detections, agnostic=agnostic, classes=classes
        )
        search = self._searching(options, words, others)
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: expected at least 1")
        single, given = images_in(images, self.channels)
        size = batch_size or (1 if self.parallel and self.device.type == "cpu" else 16)
        batches = batches_of((one for one in given), size)
        found = [one for part, _ in in_order(batches, search, self.workers) for one in part]
        return found[0] if single else found

    def stream(
        self,
        source: str | os.PathLike[str] | int,
        options: Filter | None = None,
        *,
        confidence: float | None = None,
        nms: float | None = None,
        max_detections: int | None = None,
        agnostic: bool | None = None,
        classes: str | Iterable[str | int] | None = None,
        **others: Any,
    ) -> Generator[Found, None, None]:
        """Find the objects in a video, a camera or a stream, frame by frame.

            for found in model.stream("clip.mp4", confidence=0.5):
                print(found.name, len(found))  # clip.mp4#0 3

        Files give all their frames; several are computed at once, ahead of the loop. A camera and a live stream give
        their newest frame each time, so a slow model does not fall behind; the numbers in the names show which frames
        were skipped.
        `found.image()` are the pixels. The camera is released at the end of the loop, also at an early one, and by
        `close()` of the iterator.

        Args:
            source: the path of a video or an image, a folder or a glob of both, the number of a camera such as 0, or
                the URL of a stream.
            options, confidence, nms, max_detections, agnostic, classes: as in `detect`.

        Raises as `detect`; also ValueError for a source that cannot be read, or not to its end, after the frames before
        that were yielded.
        """
        words = FilterWords(
            confidence=confidence, nms=nms, max_detections=max_detections, agnostic=agnostic, classes=classes
        )
        search = self._searching(options, words, others)
        if not isinstance(source, (str, os.PathLike, int)):
            got = type(source).__name__
            raise ValueError(
                f"stream: got {got}; expected a path, a URL or the number of a camera; detect takes images"
            )
        camera = isinstance(source, int)  # a file may be called 0 as well
        sources = [Source(f"camera {source}", capture=source)] if camera else find_sources([str(source)])  # type: ignore[arg-type]
        return self._streamed(sources, search)

    def _streamed(self, sources: Sequence[Source], search: Search) -> Generator[Found, None, None]:
        """Yield what is found in each image or frame. Raises ValueError for a source that cannot be read."""
        with closing(results(sources, self.channels, search, workers=self.workers)) as found:
            for result in found:
                if result.found is None:
                    raise ValueError(result.shot.error)
                yield result.found

    def _searching(self, options: Filter | None, words: FilterWords, others: dict[str, Any]) -> Search:
        """Return a function that detects in a batch with these thresholds. Raises as `detect` for wrong ones."""
        classes = words["classes"]
        wanted = None if classes is None else chosen(classes, self.names)
        return partial(self.find, options=filter_of(options, words, others), wanted=wanted)

    def find(
        self, batch: Sequence[Given], options: Filter, wanted: Sequence[int] | None = None
    ) -> tuple[list[Found], Spent]:
        """Return what is found in a batch of images, of the `wanted` class indices only, and the time of each image.

        None are all classes. Raises as `prepare`.
        """
        times = [time.perf_counter()]
        prepared, placements = zip(*(self.prepare(given.image) for given in batch), strict=True)
        times.append(time.perf_counter())
        predictions = self.predict(torch.stack(prepared) if len(prepared) > 1 else prepared[0][None])
        if self.device.type == "cuda":
            # The time is the network's. It costs nothing: `select_classes` waits for the predictions in any case.
            torch.cuda.current_stream(self.device).synchronize()
        times.append(time.perf_counter())
        answers = self.select_classes(predictions, placements, options, wanted)
        found = []
        for given, placement, one in zip(batch, placements, answers, strict=True):
            own = one if self.exact else one.clipped(placement.image)
            pixels = given.image if isinstance(given.image, np.ndarray) else None
            image = (placement.image, given.name, given.path, pixels)
            found.append(Found(own.boxes, own.scores, own.labels, self.names, *image))
        times.append(time.perf_counter())
        return found, Spent(*(float(step) * 1e3 / len(batch) for step in np.diff(times)))
