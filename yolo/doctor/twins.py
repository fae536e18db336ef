"""What copies of images mean: leaks between splits, copies within one, labels that contradict each other.

Letters: `G` objects of one image.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from yolo.doctor.copies import UNCHANGED, VIEWS, Copy, aligned_boxes, find_copies, groups
from yolo.doctor.finding import Finding, Shown
from yolo.doctor.opened import Part

Labels = tuple[np.ndarray, np.ndarray, list[str]]
"""Objects of an image, their boxes `[G, 4]` and class names."""

EXPORTED = re.compile(r"\.rf\.\w+$")
"""The end of the stem of an augmented copy that Roboflow wrote. Such copies within a split are on purpose."""

SAME_FRAME = 0.05
"""Largest shift or change of scale of a copy whose labels are compared, as a fraction: a crop may have lost objects."""

OVERLAP, SMALLEST = 0.5, 0.03
"""IoU from which two boxes are one label; boxes with a smaller side (fraction of the image) are not compared."""


def copy_findings(parts: Sequence[Part]) -> list[Finding]:
    """Return a finding for each group of copies, and one for each pair with other labels."""
    starts = list(accumulate((len(part.data) for part in parts), initial=0))

    def home(k: int) -> tuple[Part, int]:
        p = bisect_right(starts, k) - 1
        return parts[p], k - starts[p]

    def boxes(k: int) -> np.ndarray:
        part, image = home(k)
        index = part.data.index
        return index.boxes[index.offsets[image] : index.offsets[image + 1]] / np.tile(index.sizes[image], 2)

    paths = [str(part.data.path(k)) for part in parts for k in range(len(part.data))]
    found: list[Finding] = []
    for group in groups(find_copies(paths, boxes)):
        for copy in group:
            found += _contradiction(copy, home(copy.first), home(copy.second))
        found += _repeated(group, [home(k) for k in dict.fromkeys(k for copy in group for k in copy[:2])])
    return found


def _repeated(group: Sequence[Copy], images: Sequence[tuple[Part, int]]) -> Iterator[Finding]:
    """Yield what a group of copies is: a leak, a copy within a split, or nothing where it is on purpose."""
    places = list(dict.fromkeys((part.name, str(part.data.path(k))) for part, k in images))
    splits = list(dict.fromkeys(split for split, _ in places))
    sources = {(split, EXPORTED.sub("", Path(path).stem)) for split, path in places}
    if len(splits) == 1 and len(sources) == 1:
        return
    agreement = min(copy.agreement for copy in group)
    same = all(copy.agreement == 1 and copy.warp is UNCHANGED for copy in group)
    views = dict.fromkeys(VIEWS[copy.view] for copy in group)
    how = "the same bytes" if same else ", ".join(filter(None, [*views, f"{agreement:.0%} of its structure"]))
    what = " and ".join(f"{path} ({split})" for split, path in places[:4])
    more = f" and {len(places) - 4} more" if len(places) > 4 else ""
    yield Finding(
        kind="leak" if len(splits) > 1 else "copy",
        sentence=f"{what}{more}: {how}",
        places=tuple(path for _, path in places),
        shown=tuple(Shown(part.name, k) for part, k in images[:2]),
        score=agreement,
    )


def _contradiction(copy: Copy, first: tuple[Part, int], second: tuple[Part, int]) -> Iterator[Finding]:
    """Yield a finding, with the labels that only one of the two images has, if there are any."""
    shift = np.abs(copy.warp - UNCHANGED).max()
    if shift > SAME_FRAME or first[0].data.path(first[1]) == second[0].data.path(second[1]):
        return
    sides = [_labels(*first), _labels(*second)]
    sides[1] = (sides[1][0], aligned_boxes(sides[1][1], copy), sides[1][2])
    alone = [_without_match(sides[k], sides[1 - k]) for k in (0, 1)]
    if not any(alone):
        return
    shown, places, words = [], [], []
    for (part, k), objects in zip((first, second), alone, strict=True):
        shown.append(Shown(part.name, k, tuple(objects)))
        places += [part.place(n) for n in objects] or [str(part.data.path(k))]
        names = ", ".join(dict.fromkeys(part.label(n) for n in objects))
        words.append(f"{part.data.path(k)} alone has {len(objects)} ({names})" if objects else "")
    yield Finding(
        kind="contradiction",
        sentence=f"{first[0].data.path(first[1])} and {second[0].data.path(second[1])} show the same, but "
        + "; ".join(filter(None, words)),
        places=tuple(places),
        shown=tuple(shown),
    )


def _labels(part: Part, k: int) -> Labels:
    """Return objects, their boxes as fractions of the image xyxy `[G, 4]`, and their class names; without crowds."""
    index = part.data.index
    objects = np.arange(index.offsets[k], index.offsets[k + 1])
    objects = objects[~index.crowd[objects]]
    return objects, index.boxes[objects] / np.tile(index.sizes[k], 2), [part.label(n) for n in objects]


def _without_match(own: Labels, other: Labels) -> list[int]:
    """Return the objects of one image for which the other image has no label of this class in this place."""
    table = overlaps(own[1], other[1])
    same = np.array(own[2], dtype=object)[:, None] == np.array(other[2], dtype=object)[None]
    large = (own[1][:, 2:] - own[1][:, :2]).min(axis=1, initial=1) >= SMALLEST
    return own[0][large & ~((table >= OVERLAP) & same).any(axis=1)].tolist()


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the IoU of every box of `a` with every box of `b`, xyxy `[., 4]`; 0 for boxes without area."""
    inter = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    inter = inter.clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return inter / np.maximum(areas[0][:, None] + areas[1][None] - inter, 1e-12)
