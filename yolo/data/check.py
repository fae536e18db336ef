"""What every reader of a format gives, checked: images and objects become an `Index`. No torch.

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
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from yolo.data.index import Fault, Index, nth_place, summary
from yolo.data.turned import displayed, fault_of, image_size, misfits, remedy

LARGEST = 1e9
"""Pixels on either side of 0: sums and areas of such numbers are finite, in float32 too. Others are no coordinates."""

LONGEST = 4096
"""Characters of a path at most: a longer one cannot be opened. All paths of an index take as much as the longest."""

NOTED = 0.01  # pixels; a box that sticks out by less is clipped without a note: rounding, not a defect


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
    notes: list[str] = field(default_factory=list)
    """What is odd but usable, one per line."""
    fractions: bool = False
    """Boxes are fractions of the image in the files, so that they do not tell which way it is turned."""


@dataclass
class Rows:
    """Images and objects that a reader of text files collects one by one."""

    fractions: bool = False
    """As in `UncheckedIndex`."""
    paths: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    objects: list[tuple[str, int, int, tuple[float, float, float, float], bool]] = field(default_factory=list)
    """Place in the user's files, index of the image, label, box xyxy in pixels, crowd."""
    areas: list[float] = field(default_factory=list)
    """Areas of all objects in square pixels, or none: they are those of the boxes then."""
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
        with np.errstate(over="ignore", invalid="ignore"):  # `check` finds such boxes
            sides = boxes[:, 2:] - boxes[:, :2]
        unchecked = UncheckedIndex(
            source=source,
            names=names,
            paths=self.paths,
            image_ids=_image_ids(self.paths),
            sizes=np.array(self.sizes, dtype=np.int64).reshape(-1, 2),
            image=np.array(image, dtype=np.int64),
            labels=np.array(labels, dtype=np.int64),
            boxes=boxes,
            read=np.concatenate((boxes[:, :2], sides), axis=1),
            area=np.array(self.areas, dtype=np.float64) if self.areas else None,
            crowd=np.array(crowd, dtype=bool),
            where=places.__getitem__,
            faults=self.faults,
            fractions=self.fractions,
        )
        return check(unchecked, skip_faults=skip_faults)


def check(unchecked: UncheckedIndex, *, skip_faults: bool) -> Index:
    """Return the index of what a reader found, sorted by image, boxes clipped.

    Raises ValueError with the first ten faults unless they are to be skipped, where no image is usable, and for class
    names that are not there or cannot be written.
    """
    image, sizes = unchecked.image, unchecked.sizes.copy()
    boxes, endless = _finite(unchecked)
    usable = _check_images(unchecked, sizes)  # fills in sizes
    turned = _check_orientation(unchecked, sizes, usable)  # corrects sizes
    # A box is a fault if most of it lies outside its image, or all of it where it has no area.
    limits = np.tile(sizes[image], 2)
    clipped = np.minimum(np.maximum(boxes, 0), limits)
    w, h = (boxes[:, 2:] - boxes[:, :2]).T
    inside = (clipped[:, 2:] - clipped[:, :2]).prod(axis=1)
    outside = usable[image] & (np.abs(clipped - boxes).max(axis=1, initial=0) > 0) & (2 * inside < w * h)
    outside |= usable[image] & ((boxes[:, :2] > limits[:, :2]) | (boxes[:, 2:] < 0)).any(axis=1)
    for k in np.flatnonzero(outside | endless).tolist():
        box, size = "({:g}, {:g}) to ({:g}, {:g})".format(*unchecked.boxes[k]), _size(limits[k])
        text = f"{unchecked.where(k)}: the box {box} lies outside its image, {size}"
        text += "; its numbers must be fractions of the image, from 0 to 1" if unchecked.fractions else ""
        unchecked.faults.append(Fault(text, int(image[k])))
    _check_names(unchecked)
    faults = [fault.text for fault in unchecked.faults]
    if faults and not skip_faults:
        raise ValueError(f"{summary(faults, 'fault')}\n{remedy(turned)}")
    usable[[fault.image for fault in unchecked.faults if fault.image is not None]] = False
    # Sorted by image; within an image the objects keep their order.
    kept = np.flatnonzero(usable[image])
    kept = kept[np.argsort(image[kept], kind="stable")]
    counts = np.bincount(image[kept], minlength=len(usable))
    index = Index(
        names=unchecked.names,
        paths=np.array([_bytes(path) for path in unchecked.paths], dtype=bytes),
        image_ids=unchecked.image_ids,
        sizes=sizes,
        offsets=np.concatenate(([0], np.cumsum(counts))),
        labels=unchecked.labels[kept],
        boxes=clipped[kept],
        read=unchecked.read[kept],
        area=(inside if unchecked.area is None else unchecked.area)[kept],
        crowd=unchecked.crowd[kept],
        faults=faults,
        turned=turned,
        left_out=int((~usable).sum()),
        notes=unchecked.notes + _notes(unchecked, clipped, kept),
        place=partial(nth_place, unchecked.where, kept),
    )
    if not usable.any():
        problems = [f"{unchecked.source}: no usable images; expected at least one", *faults[:3]]
        raise ValueError("\n".join(problems))
    return index if usable.all() else index.with_images(np.flatnonzero(usable))


def _finite(unchecked: UncheckedIndex) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes, float64 `[G, 4]`, 0 for those with numbers beyond `LARGEST`, and which ones, bool `[G]`."""
    endless = ~(np.abs(np.concatenate((unchecked.boxes, unchecked.read), axis=1)) <= LARGEST).all(axis=1)
    return np.where(endless[:, None], 0, unchecked.boxes), endless


def _check_names(unchecked: UncheckedIndex) -> None:
    """Raise ValueError for data without classes, and for a name that is not text."""
    if not unchecked.names and not unchecked.faults:
        raise ValueError(
            f"{unchecked.source}: no object in any file, so there are no class names; give --names as well"
        )
    for name in unchecked.names:
        if "\0" in name or name.encode(errors="ignore").decode() != name:
            raise ValueError(f"{unchecked.source}: the class {name!r}: not text; write its name anew")


def _check_orientation(unchecked: UncheckedIndex, sizes: np.ndarray, usable: np.ndarray) -> list[str]:
    """Find images whose boxes stick out, but would fit if width and height were swapped.

    If the EXIF orientation has swapped them, the boxes lie on the stored pixels: a fault. Returns these files. If only
    the annotations have, `sizes` is corrected.
    """
    turned: list[str] = []
    corrected: list[str] = []
    for k in misfits(sizes, unchecked.image, unchecked.boxes) if not unchecked.fractions else []:
        try:
            size, sideways = displayed(unchecked.paths[k]) if usable[k] else ((0, 0), False)
        except ValueError:  # a damaged file is found when it is decoded
            continue
        if sideways and size == tuple(sizes[k]):
            usable[k] = False
            turned.append(unchecked.paths[k])
            unchecked.faults.append(Fault(fault_of(turned[-1], size), k))
        elif size == tuple(sizes[k, ::-1]):
            sizes[k] = size
            corrected.append(unchecked.paths[k])
    if corrected:
        unchecked.notes.append(
            f"{unchecked.source}: the annotations of {len(corrected)} images, such as {corrected[0]}, have width and "
            f"height swapped; only the size of the file holds their boxes, and is used"
        )
    return turned


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
            fault = f"{unchecked.source}: no such image: {os.fsdecode(_bytes(path))}"
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


def _bytes(path: str) -> bytes:
    """Return a path as the system has it. One that no file can have has another form: it is only shown."""
    try:
        return os.fsencode(path[:LONGEST])
    except UnicodeEncodeError:
        return path[:LONGEST].encode(errors="backslashreplace")


def _size(limits: np.ndarray) -> str:
    return f"{limits[0]} x {limits[1]} pixels"
