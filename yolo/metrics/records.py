"""All objects and detections of a data set as flat tensors, in the order in which the metrics read them.

Letters: `I` images, `G` objects, `D` detections, `C` classes. Boxes are COCO's float64 left, top, width, height.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor


class Truths(NamedTuple):
    """The objects (ground truths).

    `image` int64 `[G]` image index, `label` int64 `[G]`, `boxes` float64 `[G, 4]`, `area` float64 `[G]` in square
    pixels (of the mask, where there is one), `crowd` bool `[G]`.
    """

    image: Tensor
    label: Tensor
    boxes: Tensor
    area: Tensor
    crowd: Tensor


class Found(NamedTuple):
    """The detections.

    `image` int64 `[D]` image index, `label` int64 `[D]`, `boxes` float64 `[D, 4]`, `scores` float64 `[D]`.
    """

    image: Tensor
    label: Tensor
    boxes: Tensor
    scores: Tensor

    def within(self, low: Tensor | float, high: Tensor | float) -> Tensor:
        """Return which boxes have an area from `low` to `high` square pixels, both included, bool `[..., D]`."""
        area = self.boxes[:, 2] * self.boxes[:, 3]
        return (area >= low) & (area <= high)


Table = TypeVar("Table", Truths, Found)


class Records(NamedTuple):
    """A data set with its detections, sorted.

    `truths` are sorted by class, then by image, then as given. `found` is sorted by class, then by descending score;
    equal scores by image, then as given. `rank` int64 `[D]` is the place of a detection among those of its class and
    image, from 0. `image_ids` int64 `[I]` ascends: the image of index k has the id `image_ids[k]`.
    """

    truths: Truths
    found: Found
    rank: Tensor
    image_ids: Tensor
    classes: int

    @property
    def images(self) -> int:
        """The number of images, including those without objects and detections."""
        return len(self.image_ids)

    def top(self, limit: int) -> Records:
        """Return the records with the best `limit` detections per class and image."""
        keep = (self.rank < limit).nonzero().squeeze(1)
        if len(keep) == len(self.rank):
            return self
        return self._replace(found=select(self.found, keep), rank=self.rank[keep])

    def of_class(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return where in `truths` the objects of these images and classes start and end (excluded), int64 `[n]`."""
        return runs(self.truths.label * self.images + self.truths.image, label * self.images + image)


def make_records(image_ids: Tensor, truths: Truths, found: Found, classes: int) -> Records:
    """Sort what was collected.

    Args:
        image_ids: int64 `[n]`, an id for each evaluated image. An image that comes twice (a sampler pads its last
            batch) counts once: its later objects and detections are left out.
        truths: objects in any order; `image` is a place in `image_ids`.
        found: detections in any order, likewise.
        classes: number of classes.
    """
    ids, index = torch.unique(image_ids, return_inverse=True)
    # Keep what belongs to the first place of each id.
    places = torch.arange(len(image_ids), device=image_ids.device)
    first = torch.full_like(ids, len(image_ids)).scatter_reduce(0, index, places, "amin")
    if len(ids) < len(image_ids):
        keep = first[index] == places
        truths = select(truths, keep[truths.image].nonzero().squeeze(1))
        found = select(found, keep[found.image].nonzero().squeeze(1))
    # From places in `image_ids` to indices of the ascending ids, then sort.
    truths = truths._replace(image=index[truths.image])
    found = found._replace(image=index[found.image])
    truths = select(truths, lexsort(truths.label, truths.image))
    found = select(found, lexsort(found.label, -found.scores, found.image))
    return Records(truths, found, rank_in_groups(found.label * len(ids) + found.image), ids, classes)


def select(table: Table, index: Tensor) -> Table:
    """Return the rows `index` int64 `[n]` of every field."""
    return type(table)._make(field.index_select(0, index) for field in table)


def lexsort(*keys: Tensor) -> Tensor:
    """Return the order, int64 `[n]`, that sorts by the first key, where that is equal by the second, and so on.

    The keys are `[n]` each. The sort is stable.
    """
    *rest, last = keys
    order = torch.argsort(last, stable=True)
    for key in reversed(rest):
        order = order[torch.argsort(key[order], stable=True)]
    return order


def begins(values: Tensor) -> Tensor:
    """Return where a run of equal values begins, bool `[n]`."""
    first = torch.ones_like(values, dtype=torch.bool)
    first[1:] = values[1:] != values[:-1]
    return first


def rank_in_groups(group: Tensor) -> Tensor:
    """Return the number of earlier elements in the same group, int64 `[n]`."""
    grouped, order = torch.sort(group, stable=True)
    places = torch.arange(len(group), device=group.device)
    first = begins(grouped)
    ranks = places - places[first][first.cumsum(0) - 1]
    return torch.empty_like(ranks).index_copy_(0, order, ranks)


def runs(ascending: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return start and end (excluded) of the run of each wanted value `[n]` in an ascending tensor."""
    return torch.searchsorted(ascending, wanted), torch.searchsorted(ascending, wanted, right=True)
