"""What all readers give: images and objects as flat arrays, checked. No torch.

Arrays, not objects: worker processes share their pages for good, so memory stays flat over workers and epochs.

Letters: `I` images, `G` objects of all images, `w, h` width and height in pixels.

What is wrong is either a *fault*, which stops the reading or, on request, is left out and listed, or a *note*, which is
said and changes nothing in the user's files:

| | what |
|---|---|
| fault | not a number, negative size, unknown class, less than half inside its image; an image twice, or not there |
| note | a box that sticks out by less (clipped in the sample), a box without area (stays, the loss must leave it out) |
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
from PIL import ExifTags, Image

from yolo.size import Size


def summary(faults: Sequence[str], what: str, limit: int = 10) -> str:
    """The first `limit` faults, a line each, and how many more there are."""
    more = f"\n... and {len(faults) - limit} more {what}s" if len(faults) > limit else ""
    return "\n".join(faults[:limit]) + more


SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height

SAID = 0.01  # pixels; a box that sticks out by less is clipped without a word: rounding, not a defect


@dataclass(frozen=True, kw_only=True)
class Index:
    """Images in the order of the annotation file, each with a slice of the objects."""

    names: list[str]
    """Class names; a label is an index into them."""
    paths: np.ndarray
    """bytes `[I]`, for `os.fsdecode`."""
    image_ids: np.ndarray
    """int64 `[I]`."""
    sizes: np.ndarray
    """int64 `[I, 2]` w, h in pixels."""
    offsets: np.ndarray
    """int64 `[I + 1]`: the objects of image k are `offsets[k]` to `offsets[k + 1] - 1`."""
    labels: np.ndarray
    """int64 `[G]`."""
    boxes: np.ndarray
    """float64 `[G, 4]` xyxy in pixels, inside the image: for training."""
    read: np.ndarray
    """float64 `[G, 4]` left, top, w, h as they were read, every digit: for evaluation."""
    area: np.ndarray
    """float64 `[G]` square pixels."""
    crowd: np.ndarray
    """bool `[G]`."""
    faults: list[str] = field(default_factory=list)
    """What was left out, a line each."""
    notes: list[str] = field(default_factory=list)
    """What is odd but usable, a line each."""

    def __len__(self) -> int:
        return len(self.image_ids)

    def path(self, k: int) -> Path:
        """The file of image `k`."""
        return Path(os.fsdecode(self.paths[k]))

    def size(self, k: int) -> Size:
        """Return height and width of image `k` in pixels."""
        w, h = self.sizes[k].tolist()
        return Size(h, w)

    @property
    def image(self) -> np.ndarray:
        """int64 `[G]` the image of every object."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def with_images(self, chosen: Sequence[int] | np.ndarray) -> Self:
        """The same with these images only, by index, and their objects."""
        chosen = np.asarray(chosen, dtype=np.int64)
        starts, counts = self.offsets[chosen], np.diff(self.offsets)[chosen]
        offsets = np.concatenate(([0], np.cumsum(counts)))
        objects = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
        return replace(
            self._with_objects(objects, offsets),
            paths=self.paths[chosen],
            image_ids=self.image_ids[chosen],
            sizes=self.sizes[chosen],
        )

    def with_classes(self, chosen: Sequence[int]) -> Self:
        """The same with these classes only, in this order. All images stay, some without objects."""
        table = np.full(len(self.names), -1)
        table[list(chosen)] = np.arange(len(chosen))
        kept = np.flatnonzero(table[self.labels] >= 0)
        counts = np.bincount(self.image[kept], minlength=len(self))
        found = self._with_objects(kept, np.concatenate(([0], np.cumsum(counts))))
        return replace(found, labels=table[found.labels], names=[self.names[k] for k in chosen])

    def _with_objects(self, chosen: np.ndarray, offsets: np.ndarray) -> Self:
        flat = {key: getattr(self, key)[chosen] for key in ("labels", "boxes", "read", "area", "crowd")}
        return replace(self, offsets=offsets, **flat)


@dataclass(frozen=True, kw_only=True)
class ReadObjects:
    """What a reader found, before images and boxes are compared. Objects in any order."""

    source: Path
    names: list[str]
    paths: list[str]
    image_ids: np.ndarray | None = None
    """By default the digits of the file names, if they all are digits and differ, else 1, 2, ..."""
    sizes: np.ndarray
    """int64 `[I, 2]` w, h; 0 where nothing says it: it is taken from the image then."""
    image: np.ndarray
    """int64 `[G]` the image of every object."""
    labels: np.ndarray
    boxes: np.ndarray
    """float64 `[G, 4]` xyxy in pixels, finite, not inside out."""
    read: np.ndarray | None = None
    """float64 `[G, 4]` left, top, w, h, where the files have that; by default from `boxes`."""
    area: np.ndarray | None = None
    """By default that of the box."""
    crowd: np.ndarray
    where: Callable[[int], str]
    """Object number to its place in the user's files, for messages."""
    faults: list[str]


@dataclass
class Rows:
    """What a reader of text files collects, line by line."""

    paths: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    image: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add_image(self, path: str, size: tuple[int, int] = (0, 0)) -> None:
        """The next image; `size` is (w, h) where a file says it."""
        self.paths.append(path)
        self.sizes.append(size)

    def add_object(self, place: str, label: int, box: tuple[float, float, float, float], crowd: bool = False) -> None:
        """An object of the last image: its place in the user's files, class index, box xyxy in pixels."""
        self.places.append(place)
        self.image.append(len(self.paths) - 1)
        self.labels.append(label)
        self.boxes.append(box)
        self.crowd.append(crowd)

    def index(self, source: Path, names: list[str], *, skip_faults: bool) -> Index:
        """Everything, checked. Raises ValueError as `check`."""
        found = ReadObjects(
            source=source,
            names=names,
            paths=self.paths,
            sizes=np.array(self.sizes, dtype=np.int64).reshape(-1, 2),
            image=np.array(self.image, dtype=np.int64),
            labels=np.array(self.labels, dtype=np.int64),
            boxes=np.array(self.boxes, dtype=np.float64).reshape(-1, 4),
            crowd=np.array(self.crowd, dtype=bool),
            where=self.places.__getitem__,
            faults=self.faults,
        )
        return check(found, skip_faults=skip_faults)


def check(found: ReadObjects, *, skip_faults: bool) -> Index:
    """The index of what a reader found. Raises ValueError with the first ten faults, unless they are to be skipped."""
    image, given, sizes = found.image, found.boxes, found.sizes.copy()
    there = _check_images(found, sizes)
    limits = np.tile(sizes[image], 2)
    boxes = np.minimum(np.maximum(given, 0), limits)
    w, h = (given[:, 2:] - given[:, :2]).T
    inside = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    outside = there[image] & (np.abs(boxes - given).max(axis=1, initial=0) > 0) & (2 * inside < w * h)
    outside |= there[image] & ((given[:, :2] > limits[:, :2]) | (given[:, 2:] < 0)).any(axis=1)
    for k in np.flatnonzero(outside).tolist():
        found.faults.append(f"{found.where(k)}: the box {_text(given[k])} lies outside its image, {_size(limits[k])}")
    if found.faults and not skip_faults:
        raise ValueError(summary(found.faults, "fault") + "\nCorrect the files, or have these left out: bad=skip")
    kept = np.flatnonzero(there[image] & ~outside)
    kept = kept[np.argsort(image[kept], kind="stable")]
    counts = np.bincount(image[kept], minlength=len(there))
    area = inside if found.area is None else found.area
    index = Index(
        names=found.names,
        paths=np.array([os.fsencode(path) for path in found.paths], dtype=bytes),
        image_ids=_image_ids(found),
        sizes=sizes,
        offsets=np.concatenate(([0], np.cumsum(counts))),
        labels=found.labels[kept],
        boxes=boxes[kept],
        read=(np.concatenate((given[:, :2], given[:, 2:] - given[:, :2]), 1) if found.read is None else found.read)[
            kept
        ],
        area=area[kept],
        crowd=found.crowd[kept],
        faults=found.faults,
        notes=_notes(found, given, boxes, kept),
    )
    if not there.any():
        raise ValueError("\n".join([f"{found.source}: no usable images; expected at least one", *found.faults[:3]]))
    return index if there.all() else index.with_images(np.flatnonzero(there))


def image_size(path: str) -> tuple[int, int]:
    """Width and height of an image file as it is shown, from its header. ValueError where there is none."""
    try:
        with Image.open(path) as image:
            w, h = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise ValueError(f"{path}: not an image, or a damaged one: {problem}") from problem
    return (h, w) if turned else (w, h)


def _check_images(found: ReadObjects, sizes: np.ndarray) -> np.ndarray:
    """bool `[I]`: the image can be used. The others become faults; sizes that nothing says are filled in."""
    there = np.ones(len(found.paths), dtype=bool)
    seen: set[str] = set()
    for k, path in enumerate(found.paths):
        fault = ""
        if path in seen:
            fault = f"{found.source}: {path} is listed more than once"
        elif not os.path.isfile(path):
            fault = f"{found.source}: no such image: {path}"
        elif (sizes[k] < 0).any():
            fault = f"{found.source}: {path}: the size {_size(sizes[k])} is negative"
        elif not sizes[k].all():
            try:
                sizes[k] = image_size(path)
            except ValueError as problem:
                fault = str(problem)
        seen.add(path)
        if fault:
            there[k] = False
            found.faults.append(fault)
    return there


def _notes(found: ReadObjects, given: np.ndarray, boxes: np.ndarray, kept: np.ndarray) -> list[str]:
    """A line for each kind of oddity: how many, and the first one."""
    notes = []
    beyond = np.abs(given - boxes).max(axis=1, initial=0)[kept]
    if (beyond > SAID).any():
        worst = int(kept[beyond.argmax()])
        count, most = int((beyond > SAID).sum()), beyond.max()
        notes.append(
            f"{found.source}: {count} boxes stick out of their image, by {most:.2f} pixels at most, "
            f"{found.where(worst)}; clipped in the samples"
        )
    sides = (boxes[kept, 2:] - boxes[kept, :2]).min(axis=1, initial=np.inf)
    for what, which in (
        ("without area; no loss counts them", sides <= 0),
        ("a pixel thin", (sides > 0) & (sides <= 1)),
    ):
        if which.any():
            first = found.where(int(kept[which.argmax()]))
            notes.append(f"{found.source}: {int(which.sum())} boxes {what}, such as {first}")
    return notes


def _image_ids(found: ReadObjects) -> np.ndarray:
    if found.image_ids is not None:
        return found.image_ids
    stems = [Path(path).stem for path in found.paths]
    numbers = [int(stem) for stem in stems if stem.isascii() and stem.isdigit() and len(stem) < 19]
    unique = len(set(numbers)) == len(stems)
    return np.array(numbers if unique else range(1, len(stems) + 1), dtype=np.int64)


def _text(box: np.ndarray) -> str:
    return "({:g}, {:g}) to ({:g}, {:g})".format(*box)


def _size(limits: np.ndarray) -> str:
    return f"{limits[0]} x {limits[1]} pixels"
