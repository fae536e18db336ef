"""Greedy non-maximum suppression, vectorised."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from yolo.boxes import diou, iou

_PORTION = 1024  # candidates sorted at first, then four times as many

_BLOCK = 256  # candidates compared at once with the boxes kept so far, then among themselves

_KEPT = 8192  # kept boxes compared at once, which bounds the memory


def nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    threshold: float,
    kind: str = "iou",
    beta: float = 1.0,
    agnostic: bool = False,
    limit: int | None = None,
) -> Tensor:
    """Greedy non-maximum suppression per class; indices `[D]` of the kept boxes by descending score.

    Args:
        boxes: `[K, 4]` cxcywh. `kind="diou"` measures distances, so their unit matters.
        scores, labels: `[K]`. Equal scores keep their order.
        threshold: a box goes if its measure with a kept box of its class, with a higher score, exceeds this.
        kind, beta: `"iou"`, or `"diou"` with its exponent (see `yolo.boxes.diou`). In float64.
        agnostic: all boxes are of one class.
        limit: keep at most so many.

    Candidates are taken in score order and the work ends when `limit` are kept: what follows cannot displace
    them, so the result is that of the full search.
    """
    boxes = boxes.double()

    def suppresses(first: Tensor, second: Tensor) -> Tensor:
        """`[p, q]`: whether box `first[p]`, if kept, rules out box `second[q]`."""
        if agnostic:
            return _measure(boxes[first, None], boxes[second], kind, beta) > threshold
        pairs = labels[first, None] == labels[second]
        p, q = pairs.nonzero(as_tuple=True)  # few of all pairs, with many classes
        pairs[p, q] = _measure(boxes[first[p]], boxes[second[q]], kind, beta) > threshold
        return pairs

    kept = labels.new_empty(0)
    for order in _descending(scores, limit):
        for block in order.split(_BLOCK):
            for start in range(0, len(kept), _KEPT):
                block = block[~suppresses(kept[start : start + _KEPT], block).any(0)]
            kept = torch.cat((kept, block[_survivors(suppresses(block, block).triu(1))]))
            if limit is not None and len(kept) >= limit:
                return kept[:limit]
    return kept


def _descending(scores: Tensor, limit: int | None) -> Iterator[Tensor]:
    """Indices by descending score, equal scores in their order; with a limit in growing portions, the best first.

    A portion ends between two different scores, so that equal ones are sorted together. Sorting a thousand
    candidates out of 26,000 is what makes an early end pay.
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


def _measure(a: Tensor, b: Tensor, kind: str, beta: float) -> Tensor:
    return iou(a, b) if kind == "iou" else diou(a, b, beta)


def _survivors(suppresses: Tensor) -> Tensor:
    """Which boxes a greedy pass keeps, `[n]` bool, if box p rules out q > p where `suppresses[p, q]`.

    A box lives if no living box rules it out. Repeating that for all boxes at once settles the first box in the
    first round and at least one more in every other, in practice almost all in a few.
    """
    table = suppresses.float()
    alive = table.new_ones(len(table))
    while True:
        settled = (alive @ table == 0).float()  # how many living boxes rule it out; much faster than `any`
        if settled.equal(alive):
            return alive.bool()
        alive = settled
