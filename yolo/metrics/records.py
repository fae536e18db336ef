"""All objects and detections of a data set as flat tensors, in the order in which metrics walk through them.

Letters: `I` images, `G` objects, `D` detections, `C` classes. Boxes are COCO's float64 left, top, width, height.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Truths(NamedTuple):
    """Objects: `image` int64 `[G]` index of the image, `label` int64 `[G]`, `boxes` float64 `[G, 4]`, `area` float64
    `[G]` in square pixels (of the mask, where there is one), `crowd` bool `[G]`."""

    image: Tensor
    label: Tensor
    boxes: Tensor
    area: Tensor
    crowd: Tensor


class Found(NamedTuple):
    """Detections: `image` int64 `[D]`, `label` int64 `[D]`, `boxes` float64 `[D, 4]`, `scores` float64 `[D]`."""

    image: Tensor
    label: Tensor
    boxes: Tensor
    scores: Tensor


class Records(NamedTuple):
    """A data set with its detections, sorted.

    `truths` stand class by class, then image by image, then as given. `found` stand class by class, then by
    descending score; equal scores by image, then as given. `rank` int64 `[D]` is the place of a detection among those
    of its class and image, from 0. `image_ids` int64 `[I]` ascend: the image of index k has the id `image_ids[k]`.
    """

    truths: Truths
    found: Found
    rank: Tensor
    image_ids: Tensor
    classes: int

    @property
    def images(self) -> int:
        """How many images, those without objects and detections included."""
        return len(self.image_ids)

    def top(self, limit: int) -> Records:
        """Without the detections behind the best `limit` of their class and image."""
        keep = (self.rank < limit).nonzero().squeeze(1)
        if len(keep) == len(self.rank):
            return self
        return self._replace(found=Found(*taken(self.found, keep)), rank=self.rank[keep])

    def of_class(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Where the objects of these images and classes stand in `truths`: start and end, int64, end excluded."""
        return runs(self.truths.label * self.images + self.truths.image, label * self.images + image)


def make_records(image_ids: Tensor, truths: Truths, found: Found, classes: int) -> Records:
    """Sorts what was collected.

    Args:
        image_ids: int64, an id for each image that was looked at. One that comes twice (a sampler pads its last
            batch) counts once: what belongs to its later places is left out.
        truths: objects in any order, `image` is the place in `image_ids`.
        found: detections in any order, likewise.
        classes: number of classes.
    """
    ids, index = torch.unique(image_ids, return_inverse=True)
    places = torch.arange(len(image_ids), device=image_ids.device)
    first = torch.full_like(ids, len(image_ids)).scatter_reduce(0, index, places, "amin")
    if len(ids) < len(image_ids):
        keep = first[index] == places
        truths = Truths(*taken(truths, keep[truths.image].nonzero().squeeze(1)))
        found = Found(*taken(found, keep[found.image].nonzero().squeeze(1)))
    truths = truths._replace(image=index[truths.image])
    found = found._replace(image=index[found.image])
    truths = Truths(*taken(truths, lexsort(truths.label, truths.image)))
    found = Found(*taken(found, lexsort(found.label, -found.scores, found.image)))
    return Records(truths, found, rank_in_groups(found.label * len(ids) + found.image), ids, classes)


def taken(fields: Iterable[Tensor], index: Tensor) -> Iterator[Tensor]:
    """Rows `index` of each field."""
    return (field.index_select(0, index) for field in fields)


def lexsort(*keys: Tensor) -> Tensor:
    """The order that sorts by the first key, where that is equal by the second, and so on; `[n]` each. Stable."""
    *rest, last = keys
    order = torch.argsort(last, stable=True)
    for key in reversed(rest):
        order = order[torch.argsort(key[order], stable=True)]
    return order


def begins(values: Tensor) -> Tensor:
    """Where a run of equal values begins, bool `[n]`."""
    first = torch.ones_like(values, dtype=torch.bool)
    first[1:] = values[1:] != values[:-1]
    return first


def rank_in_groups(group: Tensor) -> Tensor:
    """How many earlier elements have the same group, int64 `[n]`."""
    grouped, order = torch.sort(group, stable=True)
    places = torch.arange(len(group), device=group.device)
    first = begins(grouped)
    ranks = places - places[first][first.cumsum(0) - 1]
    return torch.empty_like(ranks).index_copy_(0, order, ranks)


def runs(ascending: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Start and end (excluded) of the run of each wanted value `[n]` in a tensor that ascends."""
    return torch.searchsorted(ascending, wanted), torch.searchsorted(ascending, wanted, right=True)
