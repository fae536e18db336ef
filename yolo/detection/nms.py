"""Greedy non-maximum suppression (NMS), vectorised.

Letters: `K` candidates, `D` kept ones. Boxes are cxcywh.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from yolo.boxes import diou, iou
from yolo.darknet.heads import Head
from yolo.options.detection import Filter

_PORTION = 1024  # candidates that are sorted first; each further portion is four times as large

_BLOCK = 256  # candidates that are compared at once with the boxes kept so far, then among themselves

_KEPT = 8192  # kept boxes that are compared at once, which bounds the memory


class Suppression(NamedTuple):
    """When a kept box suppresses another one: if their overlap exceeds the threshold.

    `kind` and `beta`: the overlap is `"iou"`, or `"diou"` with its exponent (see `yolo.boxes.diou`), which depends on
    the unit of the boxes. `agnostic`: boxes of different classes suppress each other, too.
    """

    threshold: float
    kind: str = "iou"
    beta: float = 1.0
    agnostic: bool = False

    @classmethod
    def of(cls, head: Head, options: Filter) -> Suppression:
        """Return what the last head of a network and the options ask for."""
        return cls(options.nms, head.nms_kind, head.nms_beta, options.agnostic or head.classes == 1)

    def overlap(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the overlap of boxes `[..., 4]` that broadcast to each other, `[...]`."""
        return iou(a, b) if self.kind == "iou" else diou(a, b, self.beta)

    def table(self, boxes: Tensor, labels: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return whether box `first[p]`, if it is kept, suppresses box `second[q]`: bool `[p, q]`.

        `boxes` `[K, 4]` float64 and `labels` `[K]` are those of all candidates, `first` and `second` indices of some.
        """
        if self.agnostic:
            return self.overlap(boxes[first, None], boxes[second]) > self.threshold
        # With many classes few of all pairs have the same one: only these are compared.
        pairs = labels[first, None] == labels[second]
        p, q = pairs.nonzero(as_tuple=True)
        pairs[p, q] = self.overlap(boxes[first[p]], boxes[second[q]]) > self.threshold
        return pairs


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, rule: Suppression, limit: int | None = None) -> Tensor:
    """Return the indices of the kept boxes by descending score, int64 `[D]`.

    Args:
        boxes: `[K, 4]` cxcywh, compared in float64.
        scores, labels: `[K]`. Equal scores keep their order.
        rule: a candidate is dropped if a kept one with a higher score suppresses it.
        limit: the largest number of boxes to keep.

    Candidates are processed in the order of their scores, and the search stops when `limit` boxes are kept. Later
    candidates could not displace these, so the result is that of the full search.
    """
    suppresses = partial(rule.table, boxes.double(), labels)
    kept = labels.new_empty(0)
    for order in _descending(scores, limit):
        for block in order.split(_BLOCK):
            # First drop what the boxes kept so far suppress, then run the greedy pass within the block.
            for start in range(0, len(kept), _KEPT):
                block = block[~suppresses(kept[start : start + _KEPT], block).any(0)]
            kept = torch.cat((kept, block[_survivors(suppresses(block, block).triu(1))]))
            if limit is not None and len(kept) >= limit:
                return kept[:limit]
    return kept


def suppressors(boxes: Tensor, labels: Tensor, kept: Tensor, rule: Suppression) -> tuple[Tensor, Tensor]:
    """Return which kept box suppressed each box, int64 `[K]`, and their overlap, float64 `[K]`; -1 and 0 if kept.

    Args:
        boxes, labels, rule: those of `nms`.
        kept: its result without a limit, `[D]`.

    Of several it is the one with the highest score: the first in `kept`. A kept box with a lower score than the
    dropped one may overlap it as well, but comes later in `kept` than the one that suppressed it.
    """
    boxes = boxes.double()
    by, overlap = labels.new_full((len(labels),), -1), boxes.new_zeros(len(boxes))
    dropped = torch.ones_like(labels, dtype=torch.bool).index_fill(0, kept, False).nonzero().squeeze(1)
    for start in range(0, len(dropped), _BLOCK):
        block = dropped[start : start + _BLOCK]
        by[block] = kept[rule.table(boxes, labels, kept, block).int().argmax(0)]
    overlap[dropped] = rule.overlap(boxes[by[dropped]], boxes[dropped])
    return by, overlap


def _descending(scores: Tensor, limit: int | None) -> Iterator[Tensor]:
    """Yield indices by descending score, equal scores in their order; with a limit in growing portions, the best first.

    A portion ends between two different scores, so that equal ones are sorted together. An early stop saves time
    because it sorts only about a thousand candidates out of, for example, 26,000.
    """
    portion = _PORTION if limit is not None else len(scores)
    above = scores.new_tensor(torch.inf)
    while portion < len(scores):
        least = scores.topk(portion, sorted=False).values.min()
        best = ((scores >= least) & (scores < above)).nonzero().squeeze(1)
        yield best[scores[best].sort(descending=True, stable=True).indices]
        above, portion = least, 4 * portion
    rest = (scores < above).nonzero().squeeze(1)
    yield rest[scores[rest].sort(descending=True, stable=True).indices]


def _survivors(suppresses: Tensor) -> Tensor:
    """Return which boxes a greedy pass keeps, bool `[n]`, if box p suppresses q > p where `suppresses[p, q]`.

    A box survives if no surviving box suppresses it. Applying that to all boxes at once settles the first box in the
    first round and at least one more in each further round; in practice almost all are settled after a few.
    """
    table = suppresses.float()
    alive = table.new_ones(len(table))
    while True:
        settled = (alive @ table == 0).float()  # the number of surviving suppressors; much faster than `any`
        if settled.equal(alive):
            return alive.bool()
        alive = settled
