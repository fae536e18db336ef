"""What the labels alone give away, without looking at an image.

Letters: `G` objects of a split, `w, h` width and height in pixels.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from yolo.data.formats.coco_json import read_annotations
from yolo.doctor.finding import Finding, Shown
from yolo.doctor.opened import VALIDATION, Part
from yolo.doctor.twins import overlaps

REPEATED, NEARLY, TWO_CLASSES = 0.99, 0.9, 0.95
"""IoU from which two boxes of one class are the same, are nearly the same, and boxes of two classes are one box."""

EDGE = 1.0
"""Pixels: a box that ends so near at the edges fills the image or is cut off; one that is no wider has no object."""

COMMON = 0.25
"""Share of boxes of the whole image from which they are the way the set is labelled, and none is odd."""

ODD, ENOUGH, SPREAD = 8.0, 20, 0.15
"""Deviations from the median of a class, in the logarithm, that are odd; with at least so many objects of the class;
the smallest deviation, so that drawings of one size are not odd by a pixel."""

UNLABELLED = 0.3
"""Share of images without objects from which they are suspicious although they are listed."""


def label_findings(parts: Sequence[Part]) -> list[Finding]:
    """Return what is odd about the labels of the splits."""
    found = [finding for check in (repeated, _whole, _thin, _unlabelled) for part in parts for finding in check(part)]
    return [*found, *_odd(parts), *_similar_names(parts), *_other_names(parts), *_other_ids(parts), *_lacking(parts)]


def repeated(part: Part) -> Iterator[Finding]:
    """Yield boxes that are there twice, in one class or in two. Crowds may overlap."""
    index = part.data.index
    for start, end in zip(index.offsets[:-1].tolist(), index.offsets[1:].tolist(), strict=True):
        if end - start < 2:
            continue
        table = np.triu(overlaps(index.boxes[start:end], index.boxes[start:end]), 1)
        for a, b in np.argwhere(table >= min(REPEATED, NEARLY, TWO_CLASSES)).tolist():
            overlap, pair = float(table[a, b]), (start + a, start + b)
            if index.crowd[list(pair)].any():
                continue
            names = [part.label(n) for n in pair]
            if names[0] != names[1] and overlap >= TWO_CLASSES:
                yield part.about("two classes", f"{names[0]} and {names[1]}, IoU {overlap:.2f}", *pair, score=overlap)
            elif names[0] == names[1]:
                kind = "repeated box" if overlap >= REPEATED else "nearly repeated"
                yield part.about(kind, f"{names[0]} twice, IoU {overlap:.2f}", *pair, score=overlap)


def _whole(part: Part) -> Iterator[Finding]:
    """Yield boxes that fill their image, unless that is how the set is labelled."""
    index, (near, _) = part.data.index, _edges(part)
    whole = near.all(axis=1) & ~index.crowd
    if whole.sum() == 1 or (whole.any() and whole.mean() < COMMON):
        for n in np.flatnonzero(whole).tolist():
            yield part.about("whole image", f"{part.label(n)}: the box is the whole image", n)


def _thin(part: Part) -> Iterator[Finding]:
    """Yield boxes that are no wider or higher than a pixel."""
    sides = part.data.index.boxes[:, 2:] - part.data.index.boxes[:, :2]
    for n in np.flatnonzero(sides.min(axis=1, initial=np.inf) <= EDGE).tolist():
        w, h = sides[n]
        yield part.about("thin box", f"{part.label(n)}: {w:.3g} x {h:.3g} pixels", n)


def _edges(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Return at which edges of its image every box ends, bool `[G, 4]`, and the sizes of the images, `[G, 2]`."""
    index = part.data.index
    sizes = index.sizes[index.image].astype(float)
    return np.concatenate((index.boxes[:, :2], sizes - index.boxes[:, 2:]), axis=1) <= EDGE, sizes


def _odd(parts: Sequence[Part]) -> Iterator[Finding]:
    """Yield boxes whose size or shape is far from that of the others of their class, over all splits."""
    # Of all objects: split, number, class name, and the logarithms of size and shape where both can be judged.
    rows: dict[str, list[tuple[Part, int]]] = defaultdict(list)
    values: dict[str, list[np.ndarray]] = defaultdict(list)
    for part in parts:
        index, (near, sizes) = part.data.index, _edges(part)
        w, h = np.maximum(index.boxes[:, 2:] - index.boxes[:, :2], 1e-9).T
        both = np.stack((np.log(np.sqrt(w * h / sizes.prod(axis=1))), np.log(w / h)), axis=1)
        usable = ~index.crowd & (np.minimum(w, h) > EDGE) & ~near.all(axis=1)
        both[near.any(axis=1), 1] = np.nan  # what is cut off has another shape
        for n in np.flatnonzero(usable).tolist():
            rows[part.label(n)].append((part, n))
            values[part.label(n)].append(both[n])
    for name, objects in rows.items():
        table = np.stack(values[name])
        for column, (kind, more, less) in enumerate(
            (("odd size", "larger", "smaller"), ("odd shape", "wider for its height", "higher for its width"))
        ):
            value = table[:, column]
            known = ~np.isnan(value)
            if known.sum() < ENOUGH:
                continue
            middle = np.median(value[known])
            spread = max(1.4826 * float(np.median(np.abs(value[known] - middle))), SPREAD)
            for k in np.flatnonzero(known & (np.abs(value - middle) > ODD * spread)).tolist():
                part, n = objects[k]
                times = float(np.exp(abs(value[k] - middle)))
                w, h = (part.data.index.boxes[n, 2:] - part.data.index.boxes[n, :2]).tolist()
                yield part.about(
                    kind,
                    f"{name}: {w:.0f} x {h:.0f} pixels, {times:.1f} times {more if value[k] > middle else less} than "
                    f"the median of its class",
                    n,
                    score=abs(value[k] - middle) / spread,
                )


def _unlabelled(part: Part) -> Iterator[Finding]:
    """Yield the images without objects: those that lack the text file that others have, or many."""
    index = part.data.index
    empty = np.flatnonzero(np.diff(index.offsets) == 0).tolist()
    if not empty or len(empty) == len(index):
        return
    lacking = empty
    if re.search(r"\.txt:\d+$", part.place(0)):
        lacking = [k for k in empty if not any(file.is_file() for file in _text_files(part.data.path(k)))]
    if (len(empty) <= UNLABELLED * len(index) and lacking is empty) or not lacking:
        return
    names = ", ".join(part.data.path(k).name for k in lacking[:3]) + (", ..." if len(lacking) > 3 else "")
    what = "have no label file" if lacking is not empty else "have no label"
    yield Finding(
        kind="unlabelled",
        sentence=f"{part.name}: {len(lacking):,} of {len(index):,} images {what}: {names}",
        places=tuple(str(part.data.path(k)) for k in lacking),
        shown=tuple(Shown(part.name, k) for k in lacking[:6]),
    )


def _text_files(image: Path) -> list[Path]:
    """Return where the labels of an image may be: beside it, or in a folder `labels` for one called `images`."""
    parts = image.with_suffix(".txt").parts
    swapped = [(*parts[:k], "labels", *parts[k + 1 :]) for k in range(len(parts) - 1)]
    return [Path(*parts), *(Path(*words) for words in swapped)]


def _similar_names(parts: Sequence[Part]) -> Iterator[Finding]:
    """Yield classes of one split whose names differ in case, blanks, - or _ only."""
    for names in dict.fromkeys(tuple(part.names) for part in parts):
        spelled: dict[str, list[str]] = defaultdict(list)
        for name in names:
            spelled[_plain(name)].append(name)
        for same in spelled.values():
            if len(same) > 1:
                yield Finding(kind="similar names", sentence=f"{' and '.join(map(repr, same))}: {_counts(parts, same)}")


def _plain(name: str) -> str:
    """Return a name in the spelling that names are compared in. Letters of one sign differ in case on purpose."""
    return re.sub(r"[\s_-]+", "", name).casefold() if len(name.strip()) > 1 else name


def _counts(parts: Sequence[Part], names: Sequence[str]) -> str:
    """Return how many objects of each of these classes the splits have."""
    return ", ".join(f"{int(_objects(part, name))} objects {name!r} in {part.name}" for part in parts for name in names)


def _objects(part: Part, name: str) -> int:
    return int((part.data.index.labels == part.names.index(name)).sum()) if name in part.names else 0


def _other_names(parts: Sequence[Part]) -> Iterator[Finding]:
    """Yield differences of the class lists between splits, and of text lists beside the labels of a split."""
    lists = {part.name: list(part.names) for part in parts}
    if not lists:
        return
    first, names = next(iter(lists.items()))
    for split, other in lists.items():
        if other != names:
            yield _difference(first, names, split, other)
    # labelImg writes a list into every folder, in the order in which classes were first used.
    for part in parts:
        if len(part.data.index.labels) and (found := re.match(r"(.+\.txt):\d+$", part.place(0))):
            listing = Path(found[1]).with_name("classes.txt")
            if listing.is_file():
                own = listing.read_text(encoding="utf-8", errors="replace").split("\n")
                own = [line.strip() for line in own if line.strip()]
                if own != part.names and sorted(own) == sorted(part.names):
                    yield _difference(part.name, part.names, str(listing), own)


def _other_ids(parts: Sequence[Part]) -> Iterator[Finding]:
    """Yield a category id that means another class in another split. This reader goes by name, others by id."""
    known: dict[int, tuple[str, str]] = {}
    for part in parts:
        place = part.place(0) if len(part.data.index.labels) else ""
        if found := re.match(r"(.+\.json): ", place):
            given = read_annotations(found[1], skip_faults=True)
            for number, name in zip(given.category_ids, given.names, strict=True):
                split, other = known.setdefault(int(number), (part.name, name))
                if other != name:
                    what = f"the category id {number} is {other!r} in {split}, {name!r} in {part.name}"
                    yield Finding(kind="class order", sentence=what, places=(found[1],))
                    break


def _difference(first: str, names: Sequence[str], second: str, other: Sequence[str]) -> Finding:
    """Return the finding for two lists of classes that differ."""
    if sorted(names) == sorted(other):
        k = next(k for k, (a, b) in enumerate(zip(names, other, strict=True)) if a != b)
        what = f"the same classes in another order: class {k} is {names[k]!r} in {first}, {other[k]!r} in {second}"
    else:
        sides = {first: [n for n in names if n not in other], second: [n for n in other if n not in names]}
        what = "; ".join(f"only {split} has {', '.join(map(repr, own))}" for split, own in sides.items() if own)
    return Finding(kind="class order", sentence=what, places=(first, second))


def _lacking(parts: Sequence[Part]) -> Iterator[Finding]:
    """Yield the classes that are in the training split only, or in the validation split only."""
    train = [part for part in parts if part.name.lower().startswith("train")]
    val = [part for part in parts if part.name.lower().startswith(VALIDATION)]
    if not train or not val:
        return
    have = [{part.label(n) for part in side for n in _first_of_classes(part)} for side in (train, val)]
    for own, other, name in ((have[0], have[1], val[0].name), (have[1], have[0], train[0].name)):
        if lacking := sorted(own - other):
            some = ", ".join(lacking[:10]) + (f" and {len(lacking) - 10} more" if len(lacking) > 10 else "")
            yield Finding(kind="class lacks objects", sentence=f"{name} has no object of {some}", places=(name,))


def _first_of_classes(part: Part) -> list[int]:
    """Return the first object of each class."""
    return np.unique(part.data.index.labels, return_index=True)[1].tolist()
