"""Checks of the labels, from the arrays of the index alone: units, sizes, classes, splits.

What cannot be read is an error before: damaged images, boxes that are not finite or whose corners are swapped. The
reader also notes boxes that end outside their image.

Letters: `G` objects of a split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from yolo.data.datasets import ImageDataset
from yolo.data.statistics import network_sizes
from yolo.doctor.labels import repeated
from yolo.doctor.opened import Part
from yolo.models.detector import Detector
from yolo.names import is_background
from yolo.preflight.line import Line
from yolo.preflight.subject import Subject
from yolo.size import Size
from yolo.training.sets import place_of

FRACTION, MOST, CORNER = 1.5, 0.99, 2.0
"""Boxes are fractions if MOST of their coordinates are at most FRACTION pixels, or all of them end within CORNER."""

AREA = 1e-5, 1.5
"""Shares of an image between which the median area of the boxes is expected."""

THIN, STEP, LARGEST = 1.0, 32, 1280
"""Pixels of the input: a thinner box cannot be learned. The size that is advised is a multiple of STEP to LARGEST."""

COMPARED = 2_000
"""The first images of a split, whose boxes are compared with each other; this takes a tenth of a second."""

SHOWN = 10
"""Names in a sentence."""


class Split(NamedTuple):
    """A split as the detector will see it."""

    name: str
    data: ImageDataset
    objects: np.ndarray
    """The objects that are learned, int64: no crowds, and no boxes without area."""
    sides: np.ndarray
    """The smaller side of each of them in pixels of the network input, float64."""


def data(subject: Subject) -> Iterator[Line]:
    """Yield what is wrong with the labels of both splits, and at last a line with their numbers."""
    parts, detector = subject.parts, subject.parts.detector
    doctor = f"python -m yolo doctor {place_of(parts.options)}"
    splits = [_split("train", parts.data, detector)]
    if parts.held_out is not parts.data:
        splits.append(_split("val", parts.held_out, detector))
    for split in splits:
        yield from _faults(split, detector, doctor)
    if background := [name for name in detector.names if is_background(name)]:
        remedy = "delete the class with its labels: what is not labelled is background"
        what = f"a class is called {background[0]!r}; it is learned like any object"
        yield Line("WARN", "background", what, remedy)
    yield from _classes(splits)
    yield from _leaks(subject, doctor)
    sides = np.concatenate([split.sides for split in splits])
    shown = f"; the thinnest box has {sides.min():.1f} pixels at {detector.size}" if len(sides) else ""
    yield Line("PASS", "data", f"{'; '.join(map(_numbers, splits))}; {len(detector.names)} classes{shown}")


def _split(name: str, own: ImageDataset, detector: Detector) -> Split:
    """Return a split with what is learned from it."""
    sizes = network_sizes(own.index, detector.size, letterbox=detector.letterbox).min(axis=1, initial=np.inf)
    objects = np.flatnonzero((sizes > 0) & ~own.index.crowd)
    return Split(name, own, objects, sizes[objects])


def _numbers(split: Split) -> str:
    """Return the numbers of images and objects."""
    empty, objects = np.mean(np.diff(split.data.index.offsets) == 0), len(split.data.index.labels)
    return f"{split.name}: {len(split.data):,} images, {empty:.0%} of them without objects, {objects:,} objects"


def _faults(split: Split, detector: Detector, doctor: str) -> Iterator[Line]:
    """Yield what is wrong with labels and boxes; after a FAIL the rest would only repeat it."""
    name, own, objects, sides = split
    index, classes = own.index, len(detector.names)
    if wrong := sorted(set(index.labels.tolist()).difference(range(classes))):
        what = f"{name}: labels {_some(wrong)}, but the model has {classes} classes"
        yield Line("FAIL", "labels", what, f"expected 0 to {classes - 1}: correct the list of classes")
        return
    boxes = index.boxes[objects]
    if not len(boxes):
        return
    if (boxes <= FRACTION).mean() >= MOST or boxes.max() <= CORNER:
        what = f"{name}: the boxes are in the first {boxes.max():.3g} pixels of their images, as fractions"
        yield Line("FAIL", "box units", what, "boxes are due in pixels: multiply x by the width, y by the height")
        return
    median = np.median((index.read[:, 2:].prod(axis=1) / index.sizes[index.image].prod(axis=1))[objects])
    if not AREA[0] <= median <= AREA[1]:
        what = f"{name}: the median box covers {median:.1g} of its image"
        yield Line("WARN", "box area", what, f"were they made for images of another size? Look at them: {doctor}")
    if (thin := sides < THIN).any():
        place = Part(name, own).place(int(objects[sides.argmin()]))
        size = Size(*(int(np.ceil(side * THIN / sides.min() / STEP)) * STEP for side in detector.size))
        what = f"{name}: {thin.sum():,} boxes ({thin.mean():.1%}) are thinner than a pixel at {detector.size}: {place}"
        advice = f"--size {size} shows them" if max(size) <= LARGEST else "parts of the images would show them"
        yield Line("WARN", "thin boxes", what, f"{advice}; delete them if they are clicks by mistake: {doctor}")
    first = ImageDataset(index.with_images(range(min(len(own), COMPARED))))
    if twice := [one for one in repeated(Part(name, first)) if one.kind == "repeated box"]:
        what = f"{name}: {len(twice):,} boxes are there twice ({twice[0].places[0]}: {twice[0].sentence})"
        yield Line("WARN", "repeated boxes", what, f"only one of the two can be found; delete one: {doctor}")


def _classes(splits: Sequence[Split]) -> Iterator[Line]:
    """Yield the classes that cannot be learned because no training image has an object of them."""
    have = [{one.data.names[k] for k in np.unique(one.data.index.labels[one.objects])} for one in splits]
    if have[0] and (missing := [name for name in splits[0].data.names if name not in have[0]]):
        measured = [name for name in missing if name in have[-1]]
        what = f"train has no object of {_some(missing)}" + (f"; val has {_some(measured)}" if measured else "")
        yield Line("WARN", "classes", what, "these are never learned: add images of them, or leave the classes out")


def _leaks(subject: Subject, doctor: str) -> Iterator[Line]:
    """Yield the files that are in both splits, by their bytes."""
    record = subject.parts.verdict.record
    if record is not None and record.val is not None:
        known = {(line.size, line.crc): line.name for line in record.train.images}
        both = [line for line in record.val.images if (line.size, line.crc) in known]
        if both:
            same = f"{both[0].name} is {known[both[0].size, both[0].crc]}"
            what = f"{len(both):,} of {len(record.val.images):,} images of val are in train too: {same}"
            yield Line("WARN", "leaks", what, f"the metrics will be too good; keep each image in one split ({doctor})")


def _some(values: Sequence[object]) -> str:
    """Return the first values as text."""
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(map(str, values[:SHOWN])) + more
