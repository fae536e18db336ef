"""Images and objects of a data set as flat arrays. No torch.

Arrays, not Python objects: worker processes never write to their pages and go on sharing them, so memory does not grow
with workers or epochs.

Letters: `I` images, `G` objects of all images, `w, h` width and height in pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from yolo.files.reading import LONGEST
from yolo.size import Size


def summary(faults: Sequence[str], what: str, limit: int = 10) -> str:
    """Return the first `limit` faults, one per line, and the number of those that are not shown."""
    more = f"\n... and {len(faults) - limit} more {what}s" if len(faults) > limit else ""
    return "\n".join(fault[:LONGEST] for fault in faults[:limit]) + more


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
    turned: list[str] = field(default_factory=list)
    """Files that were left out because their boxes do not fit the EXIF orientation; `turned.advice` has the remedy."""
    notes: list[str] = field(default_factory=list)
    """What is odd but usable, one per line."""
    place: Callable[[int], str] | None = None
    """Returns an object's place in the user's files. `open_data` keeps it on request, since it may hold much memory."""

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
        found = self.with_objects(np.flatnonzero(table[self.labels] >= 0))
        return replace(found, labels=table[found.labels], names=[self.names[k] for k in chosen])

    def with_objects(self, chosen: np.ndarray) -> Self:
        """Return the index with these objects only, int64 in ascending order. All images are kept."""
        counts = np.bincount(self.image[chosen], minlength=len(self))
        return self._with_objects(chosen, np.concatenate(([0], np.cumsum(counts))))

    def _with_objects(self, chosen: np.ndarray, offsets: np.ndarray) -> Self:
        flat = {key: getattr(self, key)[chosen] for key in ("labels", "boxes", "read", "area", "crowd")}
        place = self.place and partial(nth_place, self.place, chosen)
        return replace(self, offsets=offsets, place=place, **flat)


def nth_place(where: Callable[[int], str], chosen: np.ndarray, n: int) -> str:
    """Return the place of the object that is number `chosen[n]` for `where`."""
    return where(int(chosen[n]))
