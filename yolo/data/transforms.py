"""Augmentation: an image and its boxes as training sees them.

Letters: `G` objects of a sample, `h, w` height and width of the network input in pixels.

    placement, scale, move, mirror   one warp into the input (`warp.py`); a mosaic has four, one per quarter
    rotation                         the end of that warp, about the middle of the image
    mixup                            the mean of two inputs, with the objects of both
    hue, saturation, brightness      one matrix on the colours of the whole input (`colour.py`)
    photometric                      torchvision's distortion of the colours of the whole input
    the user's own                   any torchvision v2 transform of the finished sample

All randomness comes from (seed, epoch, image). Without augmentation a sample is exactly what detection sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from yolo.data.colour import colour_matrix, recolour
from yolo.data.mosaic import KEPT, Recent, partners, quarters
from yolo.data.order import Draw, chance, torch_chance
from yolo.data.sample import DataSet, Sample, Target, View, as_tv, make_target
from yolo.data.warp import Turned, Warp, clipped
from yolo.images.placement import Placement
from yolo.images.resize import place
from yolo.options.augment import PLAIN, Augment
from yolo.size import Size

Transform = Callable[[Any, Any], tuple[Any, Any]]
"""Takes and returns an image and its target, as `as_tv` makes them."""

Change = Callable[[DataSet, Draw, int], Sample]
"""Returns the sample of a draw; the last argument is the seed of its random numbers."""


class Objects(NamedTuple):
    """`boxes` float64 `[G, 4]` xyxy in input pixels, `labels` int64, `crowd` bool, `area` float64 in input pixels."""

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    area: np.ndarray


class Augmented(View):
    """A data set as the network sees it in training.

    Args:
        data: images in their own size.
        options: what is changed; `PLAIN` changes nothing.
        seed: seed of all randomness.
        epochs: number of epochs of the run; needed for `options.last_plain`.
        transform: a torchvision v2 transform of `(image, target)`. It is applied to the finished sample, except in the
            last `last_plain` epochs. torch's random numbers are seeded for it; it has to seed any others itself.
        letterbox: keep the proportions of images; False stretches them as detection then does, in a mosaic as well.
        change: makes the samples in another way, in place of `options`.
        keep: bytes of decoded images that are kept in this process; for mosaic and mixup at least 96 MiB.

    `augmented[Draw(epoch, image, size)]` is a sample of that size. Its image is uint8 and has the memory layout
    `[h, w, 3]`.
    """

    def __init__(
        self,
        data: DataSet,
        options: Augment = PLAIN,
        *,
        seed: int = 0,
        epochs: int = 0,
        transform: Transform | None = None,
        letterbox: bool = True,
        change: Change | None = None,
        keep: int = 0,
    ) -> None:
        super().__init__(data)
        self.keep = keep
        most = max(keep, KEPT if options.mosaic or options.mixup else 0)
        self.images: DataSet = Recent(data, most) if most else data
        self.options, self.seed, self.epochs, self.transform = options, seed, epochs, transform
        self.letterbox, self.change = letterbox, change
        options.ends_plain(0, epochs)  # raises here what it would raise in an epoch

    @property
    def shared(self) -> bool:
        """Whether threads should share the samples of a batch.

        Not if torch's random numbers are drawn, which are those of all threads. Nor if images stay decoded: what is
        left to do is mostly Python's, one thread at a time.
        """
        return self.transform is None and not self.options.photometric and not self.keep

    def is_plain(self, epoch: int) -> bool:
        """Return whether nothing is changed in this epoch, counted from 0."""
        unchanged = self.options.plain and self.transform is None and self.change is None
        return unchanged or self.options.ends_plain(epoch, self.epochs)

    def __getitem__(self, draw: Draw) -> Sample:
        """Return the sample of a draw.

        Raises ValueError for a damaged image, and if the user's transform returns something that is not a sample.
        """
        still = self.is_plain(draw.epoch)
        if self.change is not None:
            sample = self.change(self.images, draw, self.seed)
        elif still or self.options.plain:
            sample = placed(self.images.sample(draw.image), draw.size, self.letterbox)
        else:
            sample = self._changed(draw)
        if still or self.transform is None:
            return sample
        with torch_chance(int(chance(self.seed, draw.epoch, draw.image, use=3).integers(2**63))):
            return checked(self.transform(*as_tv(sample)), draw.size)

    def _changed(self, draw: Draw) -> Sample:
        """Return the sample of a draw with everything that `options` ask for."""
        random, sample = chance(self.seed, draw.epoch, draw.image), self.images.sample(draw.image)
        canvas, objects = self._canvas(random, draw, sample)
        # Mixup: the mean of both inputs, rounded half up.
        if random.random() < self.options.mixup:
            (other,) = partners(random, draw, len(self), self.seed, count=1)
            second, more = self._canvas(random, draw._replace(image=other), self.images.sample(other))
            canvas = ((canvas.astype(np.uint16) + second + 1) >> 1).astype(np.uint8)
            objects = Objects(*(np.concatenate(pair) for pair in zip(objects, more, strict=True)))
        # Colours last, so that all parts of a mosaic change alike.
        matrix = colour_matrix(random, self.options)
        if matrix is not None:
            recolour(canvas, matrix)
        # With random numbers of its own: all others are the same with and without it.
        own = chance(self.seed, draw.epoch, draw.image, use=5) if self.options.photometric else None
        if own is not None and own.random() < self.options.photometric:
            from torchvision.transforms.v2 import RandomPhotometricDistort  # takes a second or two

            with torch_chance(int(own.integers(2**63))):
                distorted = RandomPhotometricDistort()(torch.from_numpy(canvas).permute(2, 0, 1))
            canvas[:] = distorted.permute(1, 2, 0).numpy()
        target = make_target(
            objects.boxes, objects.labels, sample[1]["image_id"], objects.crowd, objects.area, Size.of(canvas)
        )
        return torch.from_numpy(canvas).permute(2, 0, 1), target

    def _canvas(self, random: np.random.Generator, draw: Draw, sample: Sample) -> tuple[np.ndarray, Objects]:
        """Return the image of a draw, or a mosaic of it and three others, as uint8 `[h, w, 3]`, and its objects."""
        h, w = draw.size
        canvas, most = np.empty((h, w, 3), np.uint8), self.options.rotate
        # Random numbers of their own: the others are the same with and without rotation.
        own = chance(self.seed, draw.epoch, draw.image, use=4) if most else None
        angles = [0.0] * 4 if own is None else own.uniform(-most, most, 4).tolist()
        if random.random() >= self.options.mosaic:
            return canvas, self._draw_into(canvas, (0, 0, w, h), sample, random, angles[0], covering=False)
        samples = [sample, *(self.images.sample(k) for k in partners(random, draw, len(self), self.seed))]
        parts = [
            self._draw_into(canvas, window, part, random, angle, covering=True)
            for window, part, angle in zip(quarters(random, draw.size), samples, angles, strict=True)
        ]
        return canvas, Objects(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))

    def _draw_into(
        self,
        canvas: np.ndarray,
        window: tuple[int, int, int, int],
        sample: Sample,
        random: np.random.Generator,
        angle: float,
        *,
        covering: bool,
    ) -> Objects:
        """Draw an image into a window of the canvas and return its objects there.

        Args:
            canvas: uint8 `[h, w, 3]`.
            window: left, top, right, bottom.
            sample: image and target.
            random: random numbers of the draw.
            angle: rotation about the middle of the image, in degrees.
            covering: enlarge the image until it covers the window (a mosaic) instead of fitting it in.
        """
        image, target = sample
        pixels = image.permute(1, 2, 0).numpy()
        size = Size.of(pixels)
        left, top, right, bottom = window
        room, options = Size(bottom - top, right - left), self.options
        shape = size if self.letterbox else Size.of(canvas)  # stretched, every image has the proportions of the input
        # A whole image is scaled up or down. A part of a mosaic covers its window and is only scaled up.
        if covering:
            ratios = room.width / shape.width, room.height / shape.height
            zoom = max(ratios) / min(ratios) * options.scale ** random.random()
        else:
            zoom = options.scale ** random.uniform(-1, 1)
        x, y = (side * random.uniform(-1, 1) * options.translate for side in room.wh)
        mirrored = bool(random.random() < options.flip)
        straight = Warp.fit(size, room, shape=shape, zoom=zoom, move=(x, y), mirrored=mirrored)
        warp = Turned(straight, angle, size) if angle else straight
        warp.pixels(pixels, canvas[top:bottom, left:right])
        # Boxes move with the pixels, are clipped to the window, and dropped where too little of them is left.
        moved = warp.boxes(target["boxes"].numpy().astype(np.float64))
        moved += np.array([left, top, left, top])
        cut, keep = clipped(moved, window)
        # The area shrinks with the pixels, and with the part of the box that was cut off.
        shown = (cut[:, 2:] - cut[:, :2]).prod(1) / np.maximum((moved[:, 2:] - moved[:, :2]).prod(1), 1e-12)
        area = target["area"].numpy().astype(np.float64) * warp.scale[0] * warp.scale[1] * shown
        fields = (cut, target["labels"].numpy(), target["iscrowd"].numpy(), area)
        return Objects(*(field[keep] for field in fields))


class Preview:
    """The samples of some draws as a `DataSet` in the order of the draws, for contact sheets."""

    def __init__(self, augmented: Augmented, draws: Sequence[Draw]) -> None:
        self.augmented, self.draws, self.names = augmented, draws, augmented.names

    def __len__(self) -> int:
        return len(self.draws)

    def path(self, k: int) -> Path:
        """Return the file of the image of draw `k`."""
        return self.augmented.path(self.draws[k].image)

    def sample(self, k: int) -> Sample:
        """Return the sample of draw `k`."""
        return self.augmented[self.draws[k]]


def placed(sample: Sample, size: Size, letterbox: bool = True) -> Sample:
    """Return a sample letterboxed or stretched to `size`, with the pixels of detection (`images.resize.place`)."""
    image, target = sample
    pixels = image.permute(1, 2, 0).numpy()
    placement = Placement.of(Size.of(pixels), size, letterbox=letterbox)
    scale_x, scale_y = placement.scale
    # `placement.to_input` in float64: in float32, rounding could put the right edge of an image outside the input.
    exact = target["boxes"].numpy() * np.array([scale_x, scale_y] * 2)
    boxes, area = exact + np.array(placement.undo_offset * 2), target["area"] * (scale_x * scale_y)
    moved = make_target(boxes, target["labels"], target["image_id"], target["iscrowd"], area, size)
    return torch.from_numpy(place(pixels, placement)).permute(2, 0, 1), moved


def checked(result: tuple[Any, Any], size: Size) -> Sample:
    """Return what a user's transform returned. Raises ValueError, with the remedy, if it is not a sample of `size`."""
    image, target = result
    counts = {key: len(target[key]) for key in ("boxes", "labels", "iscrowd", "area")}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"after your own transform the numbers of boxes, labels, iscrowd and area differ: {counts}; give "
            f"SanitizeBoundingBoxes labels_getter=lambda sample: (sample[1]['labels'], sample[1]['iscrowd'], "
            f"sample[1]['area']), so that it drops from all of them"
        )
    if image.dtype != torch.uint8 or tuple(image.shape) != (3, *size):
        raise ValueError(
            f"your own transform returned an image {image.dtype} {list(image.shape)}; expected uint8 {[3, *size]}: "
            f"do not change type and size, the batch needs them"
        )
    boxes = target["boxes"].as_subclass(torch.Tensor)
    return image.as_subclass(torch.Tensor), cast(Target, {**target, "boxes": boxes, "size": size})
