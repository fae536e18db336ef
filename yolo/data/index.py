"""What every reader of a format gives: images and objects as flat arrays, checked. No torch.

Arrays, not Python objects: worker processes never write to their pages and go on sharing them, so memory does not grow
with workers or epochs.

Letters: `I` images, `G` objects of all images, `w, h` width and height in pixels.

What is wrong with the data is a *fault* or a *note*. A fault stops the reading or, on request, is listed and its image
is left out: without the bad label it would be trained as background. A note is logged and changes nothing. The
user's files are never changed.

| | what |
|---|---|
| fault | of a label, whose image is left out: not a number, negative size, unknown class, mostly outside its image |
| fault | of an image: twice, not there, damaged, not of the size that its annotations are for |
| fault | of the set, for which nothing is left out: labels without an image, a folder that is not there |
| note | a box that sticks out by less (clipped in the sample), a box without area (kept, the loss must leave it out) |
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from PIL import ExifTags, Image

from yolo.size import Size

SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height

NOTED = 0.01  # pixels; a box that sticks out by less is clipped without a note: rounding, not a defect


def summary(faults: Sequence[str], what: str, limit: int = 10) -> str:
    """Return the first `limit` faults, one per line, and the number of those that are not shown."""
    more = f"\n... and {len(faults) - limit} more {what}s" if len(faults) > limit else ""
    return "\n".join(faults[:limit]) + more


class Fault(NamedTuple):
    """What is wrong, with the place in the user's files."""

    text: str
    image: int | None = None
    """Index of the image that is left out because of it; None if it concerns no image of the index."""


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
    """float64 `[G, 4]` left, top, w, h as in the file, every digit: for evaluation."""
    area: np.ndarray
    """float64 `[G]` square pixels."""
    crowd: np.ndarray
    """bool `[G]`."""
    faults: list[str] = field(default_factory=list)
    """Why images were left out, one per line."""
    left_out: int = 0
    """Number of images that were left out because of faults."""
    notes: list[str] = field(default_factory=list)
    """What is odd but usable, one per line."""

    def __len__(self) -> int:
        return len(self.image_ids)

    def path(self, k: int) -> Path:
        """Return the file of image `k`."""
        return Path(os.fsdecode(self.paths[k]))

    def size(self, k: int) -> Size:
        """Return height and width of image `k` in pixels."""
        w, h = self.sizes[k].tolist()
        return Size(h, w)

    @property
    def omission(self) -> str:
        """How many images were left out, and how many faults are the cause."""
        return f"{self.left_out:,} images left out because of {len(self.faults):,} faults"

    @property
    def image(self) -> np.ndarray:
        """The index of every object's image, int64 `[G]`."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def with_images(self, chosen: Sequence[int] | np.ndarray) -> Self:
        """Return the index of these images, in this order, with their objects."""
        chosen = np.asarray(chosen, dtype=np.int64)
        starts, counts = self.offsets[chosen], np.diff(self.offsets)[chosen]
        offsets = np.concatenate(([0], np.cumsum(counts)))
        # Object n of the new index is as far from the start of its image as it was in the old one.
        objects = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
        return replace(
            self._with_objects(objects, offsets),
            paths=self.paths[chosen],
            image_ids=self.image_ids[chosen],
            sizes=self.sizes[chosen],
        )

    def with_classes(self, chosen: Sequence[int]) -> Self:
        """Return the index with these classes only, in this order. All images are kept, some without objects."""
        table = np.full(len(self.names), -1)  # old label -> new label
        table[list(chosen)] = np.arange(len(chosen))
        kept = np.flatnonzero(table[self.labels] >= 0)
        counts = np.bincount(self.image[kept], minlength=len(self))
        found = self._with_objects(kept, np.concatenate(([0], np.cumsum(counts))))
        return replace(found, labels=table[found.labels], names=[self.names[k] for k in chosen])

    def _with_objects(self, chosen: np.ndarray, offsets: np.ndarray) -> Self:
        flat = {key: getattr(self, key)[chosen] for key in ("labels", "boxes", "read", "area", "crowd")}
        return replace(self, offsets=offsets, **flat)


@dataclass(frozen=True, kw_only=True)
class UncheckedIndex:
    """Images and objects as a reader found them, boxes not yet compared with images. Objects in any order."""

    source: Path
    """The annotation file or folder, for messages."""
    names: list[str]
    paths: list[str]
    image_ids: np.ndarray
    """int64 `[I]`."""
    sizes: np.ndarray
    """int64 `[I, 2]` w, h; 0 where no file says it: it is read from the image then."""
    image: np.ndarray
    """int64 `[G]` the index of every object's image."""
    labels: np.ndarray
    boxes: np.ndarray
    """float64 `[G, 4]` xyxy in pixels, finite, x1 <= x2 and y1 <= y2."""
    read: np.ndarray
    """float64 `[G, 4]` left, top, w, h, every digit of the file where it has them."""
    area: np.ndarray | None = None
    """float64 `[G]` square pixels; by default that of the box inside its image."""
    crowd: np.ndarray
    where: Callable[[int], str]
    """Returns the place of an object in the user's files, for messages."""
    faults: list[Fault]


@dataclass
class Rows:
    """Images and objects that a reader of text files collects one by one."""

    paths: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    objects: list[tuple[str, int, int, tuple[float, float, float, float], bool]] = field(default_factory=list)
    """Place in the user's files, index of the image, label, box xyxy in pixels, crowd."""
    faults: list[Fault] = field(default_factory=list)

    def add_image(self, path: str, size: tuple[int, int] = (0, 0)) -> None:
        """Add an image; `size` is (w, h) where a file says it."""
        self.paths.append(path)
        self.sizes.append(size)

    def add_fault(self, text: str) -> None:
        """Add a fault of the last image, which is left out with it."""
        self.faults.append(Fault(text, len(self.paths) - 1))

    def add_object(self, place: str, label: int, box: tuple[float, float, float, float], crowd: bool = False) -> None:
        """Add an object of the last image: its place in the user's files, class index, box xyxy in pixels."""
        self.objects.append((place, len(self.paths) - 1, label, box, crowd))

    def index(self, source: Path, names: list[str], *, skip_faults: bool) -> Index:
        """Return the index of everything. Raises ValueError as `check`."""
        places, image, labels, corners, crowd = zip(*self.objects, strict=True) if self.objects else [()] * 5
        boxes = np.array(corners, dtype=np.float64).reshape(-1, 4)
        unchecked = UncheckedIndex(
            source=source,
            names=names,
            paths=self.paths,
            image_ids=_image_ids(self.paths),
            sizes=np.array(self.sizes, dtype=np.int64).reshape(-1, 2),
            image=np.array(image, dtype=np.int64),
            labels=np.array(labels, dtype=np.int64),
            boxes=boxes,
            read=np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1),
            crowd=np.array(crowd, dtype=bool),
            where=places.__getitem__,
            faults=self.faults,
        )
        return check(unchecked, skip_faults=skip_faults)


def check(unchecked: UncheckedIndex, *, skip_faults: bool) -> Index:
    """Return the index of what a reader found, sorted by image, boxes clipped.

    Raises ValueError with the first ten faults unless they are to be skipped, and where no image is usable.
    """
    image, boxes, sizes = unchecked.image, unchecked.boxes, unchecked.sizes.copy()
    usable = _check_images(unchecked, sizes)  # fills in sizes
    # A box is a fault if most of it lies outside its image, or all of it where it has no area.
    limits = np.tile(sizes[image], 2)
    clipped = np.minimum(np.maximum(boxes, 0), limits)
    w, h = (boxes[:, 2:] - boxes[:, :2]).T
    inside = (clipped[:, 2:] - clipped[:, :2]).prod(axis=1)
    outside = usable[image] & (np.abs(clipped - boxes).max(axis=1, initial=0) > 0) & (2 * inside < w * h)
    outside |= usable[image] & ((boxes[:, :2] > limits[:, :2]) | (boxes[:, 2:] < 0)).any(axis=1)
    for k in np.flatnonzero(outside).tolist():
        box, size = "({:g}, {:g}) to ({:g}, {:g})".format(*boxes[k]), _size(limits[k])
        text = f"{unchecked.where(k)}: the box {box} lies outside its image, {size}"
        unchecked.faults.append(Fault(text, int(image[k])))
    faults = [fault.text for fault in unchecked.faults]
    if faults and not skip_faults:
        raise ValueError(summary(faults, "fault") + "\nCorrect the files, or have their images left out: --bad skip")
    usable[[fault.image for fault in unchecked.faults if fault.image is not None]] = False
    # Sorted by image; within an image the objects keep their order.
    kept = np.flatnonzero(usable[image])
    kept = kept[np.argsort(image[kept], kind="stable")]
    counts = np.bincount(image[kept], minlength=len(usable))
    index = Index(
        names=unchecked.names,
        paths=np.array([os.fsencode(path) for path in unchecked.paths], dtype=bytes),
        image_ids=unchecked.image_ids,
        sizes=sizes,
        offsets=np.concatenate(([0], np.cumsum(counts))),
        labels=unchecked.labels[kept],
        boxes=clipped[kept],
        read=unchecked.read[kept],
        area=(inside if unchecked.area is None else unchecked.area)[kept],
        crowd=unchecked.crowd[kept],
        faults=faults,
        left_out=int((~usable).sum()),
        notes=_notes(unchecked, clipped, kept),
    )
    if not usable.any():
        problems = [f"{unchecked.source}: no usable images; expected at least one", *faults[:3]]
        raise ValueError("\n".join(problems))
    return index if usable.all() else index.with_images(np.flatnonzero(usable))


def image_size(path: str) -> tuple[int, int]:
    """Return width and height of an image file as it is displayed, from its header.

    Raises ValueError for what is not an image.
    """
    try:
        with Image.open(path) as image:
            w, h = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise ValueError(f"{path}: not an image, or a damaged one: {problem}") from problem
    return (h, w) if turned else (w, h)


def _check_images(unchecked: UncheckedIndex, sizes: np.ndarray) -> np.ndarray:
    """Return which images are usable, bool `[I]`; the others become faults.

    Sizes that no file says are read from the images into `sizes`, int64 `[I, 2]`.
    """
    usable = np.ones(len(unchecked.paths), dtype=bool)
    usable[[fault.image for fault in unchecked.faults if fault.image is not None]] = False
    seen: set[str] = set()
    for k, path in enumerate(unchecked.paths):
        if not usable[k]:  # one fault is enough
            continue
        # Each path counts once, its file must exist, its size must be known or readable.
        fault = ""
        if path in seen:
            fault = f"{unchecked.source}: {path} is listed more than once"
        elif not os.path.isfile(path):
            fault = f"{unchecked.source}: no such image: {path}"
        elif (sizes[k] < 0).any():
            fault = f"{unchecked.source}: {path}: the size {_size(sizes[k])} is negative"
        elif not sizes[k].all():
            try:
                sizes[k] = image_size(path)
            except ValueError as problem:
                fault = str(problem)
        seen.add(path)
        if fault:
            usable[k] = False
            unchecked.faults.append(Fault(fault, k))
    return usable


def _notes(unchecked: UncheckedIndex, clipped: np.ndarray, kept: np.ndarray) -> list[str]:
    """Return a line for each kind of oddity of the `kept` objects: how many there are, and one of them."""
    notes = []
    # Boxes that stick out of their image, by more than rounding explains.
    beyond = np.abs(unchecked.boxes - clipped).max(axis=1, initial=0)[kept]
    if (beyond > NOTED).any():
        worst = int(kept[beyond.argmax()])
        notes.append(
            f"{unchecked.source}: {(beyond > NOTED).sum()} boxes stick out of their image, by {beyond.max():.2f} "
            f"pixels at most, {unchecked.where(worst)}; clipped in the samples"
        )
    # Boxes that are too thin to be learned.
    sides = (clipped[kept, 2:] - clipped[kept, :2]).min(axis=1, initial=np.inf)
    kinds = {"without area; the loss ignores them": sides <= 0, "a pixel thin": (sides > 0) & (sides <= 1)}
    for what, which in kinds.items():
        if which.any():
            first = unchecked.where(int(kept[which.argmax()]))
            notes.append(f"{unchecked.source}: {which.sum()} boxes {what}, such as {first}")
    return notes


def _image_ids(paths: Sequence[str]) -> np.ndarray:
    """Return int64 `[I]`: the digits of the file names, if all of them are digits and differ, else 1, 2, ..."""
    stems = [Path(path).stem for path in paths]
    numbers = [int(stem) for stem in stems if stem.isascii() and stem.isdigit() and len(stem) < 19]
    unique = len(set(numbers)) == len(stems)
    return np.array(numbers if unique else range(1, len(stems) + 1), dtype=np.int64)


def _size(limits: np.ndarray) -> str:
    return f"{limits[0]} x {limits[1]} pixels"
