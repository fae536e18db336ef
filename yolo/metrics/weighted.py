"""AP of images that count as often as a resample drew them.

Letters: `B` resamples, `I` images, `C` classes, `T` IoU thresholds, `P` places, `L` lanes.

Weights change counts, not matches, and precision is needed at the hits alone. Hits of a class between which no other
detection counts are one *place*: of those the last has the best precision. At a place the weights of its hits, and
those of all that counts since the place before, are sums of rows of a table `[rows, B]`. Detections that match at no
threshold are summed once for all thresholds.

Running sums and maxima take few large steps. The places of a class are cut into lanes of `_STEPS` places, and a tensor
is `[_STEPS, L, B]`: one operation takes the next step in all lanes at once. Afterwards each lane gets what the lanes
before it have, which is little work.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from yolo.metrics.coco import CocoResult
from yolo.metrics.precision import COCO_POINTS, EPS

_STEPS = 16

_ELEMENTS = 1 << 20  # numbers of one intermediate tensor, which bounds the memory

_EXACT = 1 << 24  # float32 has all integers up to here


class Bags(NamedTuple):
    """Rows of a table that are summed: bag `k` has `rows[ends[k] : ends[k + 1]]`; both are int64."""

    rows: Tensor
    ends: Tensor

    @classmethod
    def of(cls, start: Tensor, count: Tensor) -> Self:
        """Return bags of `count` consecutive rows from `start` on, int64 `[bags]` each."""
        ends = F.pad(count.cumsum(0), (1, 0))
        rows = torch.repeat_interleave(start - ends[:-1], count)
        return cls(rows + torch.arange(len(rows), device=rows.device), ends)

    def sums(self, table: Tensor) -> Tensor:
        """Return the sum of each bag, `[bags, B]`, from a table `[rows, B]`."""
        if len(self.ends) == 1:
            return table[:0]
        return F.embedding_bag(self.rows, table, self.ends, mode="sum", include_last_offset=True)


class _Curve(NamedTuple):
    """The places of one threshold. A bag for each step of each lane, `_STEPS` times L; those beyond the last place of
    a class are empty. `label`, `first` int64 `[L]`: the class of a lane and the first lane of that class."""

    hits: Bags
    counted: Bags
    label: Tensor
    first: Tensor
    lanes: Bags
    """Of each class."""


class Weighted:
    """AP of one result under weights of its images; what does not depend on the weights is prepared once."""

    def __init__(self, result: CocoResult) -> None:
        records, matches = result.records, result.matches
        found, truths, self._images, self._classes = records.found, records.truths, records.images, records.classes
        hit, skipped = matches.hits(0)
        # Detections that match at some threshold are marked; the others always count, if they have the right size.
        marked = (hit | skipped).any(0).nonzero().squeeze(1)
        hit, skipped, place = hit[:, marked], skipped[:, marked], matches.found[marked]
        label = found.label[place]
        inside = found.within(*next(iter(result.rules.areas.values())))
        others = inside.index_fill(0, place, False).nonzero().squeeze(1)
        # The others of its class between a marked detection and the one before. Rows are images.
        start = torch.searchsorted(others, torch.searchsorted(found.label, label))
        end = torch.searchsorted(others, place)
        start[1:] = torch.maximum(start[1:], end[:-1])
        between = Bags.of(start, end - start)
        self.between = between._replace(rows=found.image[others[between.rows]])
        counting = (~matches.ignored[0]).nonzero().squeeze(1)
        self._objects = Bags(truths.image[counting], _starts(truths.label[counting], self._classes))
        # The rows from here on are those of a table: the sums of `between`, the images, and zeros.
        row, nothing = len(place) + found.image[place], len(place) + self._images
        self._curves = []
        for h, counted in zip(hit, hit | (inside[place] & ~skipped), strict=True):
            false = (end > start) + (counted & ~h).long()
            rows = torch.stack((torch.arange(len(h), device=h.device), row.where(counted, nothing)), dim=1).flatten()
            self._curves.append(_curve(label, row, h, false.cumsum(0), rows, self._classes))
        # No sum of weights may exceed the integers of its type.
        most = max((int(torch.bincount(t.image).max()) for t in (found, truths) if len(t.image)), default=0)
        self._dtype = torch.float32 if most * self._images < _EXACT else torch.float64

    @property
    def portion(self) -> int:
        """The number of resamples to be computed at once."""
        return max(8, _ELEMENTS // max([1, *(_STEPS * len(curve.label) for curve in self._curves)]) // 8 * 8)

    def ap(self, weights: Tensor) -> Tensor:
        """Return AP at each threshold of each resample, float64 `[B, T]`; NaN where a resample has no objects.

        `weights` int64 `[B, I]`: how often each image was drawn, in the order of `records.image_ids`.
        """
        images = weights.t().to(self._dtype, memory_format=torch.contiguous_format)
        table = torch.cat((self.between.sums(images), images, torch.zeros_like(images[:1])))
        objects = self._objects.sums(images).double()
        # The intermediate results of all thresholds share their memory, which would take longer to get than to fill.
        most = max([0, *(len(curve.label) for curve in self._curves)])
        space = torch.empty((4, _STEPS * most * len(weights)), dtype=torch.float64, device=weights.device)
        aps = []
        for curve in self._curves:
            area = _area(curve, table, objects.clamp(min=1), space) / len(COCO_POINTS)
            aps.append(torch.where(objects > 0, area, torch.nan).nanmean(0))
        return torch.stack(aps, dim=1)


def _curve(label: Tensor, row: Tensor, hit: Tensor, false: Tensor, counted: Tensor, classes: int) -> _Curve:
    """Return the places of one threshold.

    Args:
        label: int64 `[n]` of the marked detections, ascending.
        row: int64 `[n]`, the row of their image.
        hit: bool `[n]`.
        false: int64 `[n]`, grows where another detection counts at or before a detection.
        counted: int64 `[2 n]`, the two rows of what counts from one marked detection to the next.
        classes: C.
    """
    # Places: hits with nothing false in between.
    hits = hit.nonzero().squeeze(1)
    last = torch.ones_like(hits, dtype=torch.bool)
    last[:-1] = (label[hits[1:]] != label[hits[:-1]]) | (false[hits[1:]] != false[hits[:-1]])
    end = last.nonzero().squeeze(1) + 1
    begin = F.pad(end[:-1], (1, 0)) if len(end) else end
    # The marked detections of a place: those after the place before, or from the first of the class on.
    seen_end, of = hits[end - 1] + 1, label[hits[end - 1]]
    seen = torch.maximum(F.pad(seen_end[:-1], (1, 0)) if len(end) else end, torch.searchsorted(label, of))
    # Lanes: place number n of a class is step n % _STEPS of its lane n // _STEPS.
    places = torch.bincount(of, minlength=classes)
    lanes = (places + _STEPS - 1) // _STEPS
    first, total = lanes.cumsum(0) - lanes, int(lanes.sum())
    number = torch.arange(len(of), device=of.device) - (places.cumsum(0) - places)[of]
    where = number % _STEPS * total + first[of] + number // _STEPS

    def bags(rows: Tensor, start: Tensor, count: Tensor) -> Bags:
        zeros = torch.zeros(_STEPS * total, dtype=torch.int64, device=of.device)
        chosen = Bags.of(zeros.index_copy(0, where, start), zeros.index_copy(0, where, count))
        return chosen._replace(rows=rows[chosen.rows])

    names = torch.repeat_interleave(torch.arange(classes, device=of.device), lanes)
    return _Curve(
        hits=bags(row[hits], begin, end - begin),
        counted=bags(counted, 2 * seen, 2 * (seen_end - seen)),
        label=names,
        first=first[names],
        lanes=Bags.of(first, lanes),
    )


def _area(curve: _Curve, table: Tensor, objects: Tensor, space: Tensor) -> Tensor:
    """Return the sum over COCO's recall points of the best precision at or beyond each, float64 `[C, B]`.

    `objects` float64 `[C, B]`, at least 1. `space` float64 `[4, n]` is overwritten. The steps are those of
    `_precision_recall` in coco.py.
    """
    shape = (_STEPS, len(curve.label), table.shape[1])
    count, best, reached, steps = (part[: shape[0] * shape[1] * shape[2]].view(shape) for part in space)
    count.copy_(_running(curve.hits.sums(table).view(shape), curve.first))
    best.copy_(_running(curve.counted.sums(table).view(shape), curve.first)).add_(EPS)
    _best_beyond(torch.div(count, best, out=best), curve)
    # The last point that a recall has. 1e-9 makes up for rounding, and the product is COCO's own k-th point.
    recall = count.div_(objects.index_select(0, curve.label))
    torch.mul(recall, 100, out=reached).add_(1e-9).floor_()
    reached.sub_(torch.mul(reached, COCO_POINTS[1], out=steps).gt_(recall))
    # How many points a place has that the place before lacks. The first place of a class has point 0 in addition.
    torch.sub(reached[1:], reached[:-1], out=steps[1:])
    before = reached[-1].roll(1, 0)
    before[curve.first] = -1
    torch.sub(reached[0], before, out=steps[0])
    return curve.lanes.sums(steps.mul_(best).sum(0))


def _running(values: Tensor, first: Tensor) -> Tensor:
    """Turn `values` `[_STEPS, L, B]` into running sums within each class, in place."""
    sums = values.sum(0)
    before = sums.cumsum(0).sub_(sums)
    values[0].add_(before.sub_(before.index_select(0, first)))
    for k in range(1, len(values)):
        values[k].add_(values[k - 1])
    return values


def _best_beyond(values: Tensor, curve: _Curve) -> None:
    """Turn `values` `[_STEPS, L, B]`, at least 0, into the largest at or after each place of its class, in place."""
    for k in reversed(range(len(values) - 1)):
        torch.maximum(values[k], values[k + 1], out=values[k])
    # The largest of each lane and the lanes after it, in steps of doubled reach.
    best, reach, longest = values[0].clone(), 1, int(curve.lanes.ends.diff().max())
    while reach < longest:
        best[:-reach] = torch.maximum(best[:-reach], best[reach:] * _same(curve.label, reach))
        reach *= 2
    torch.maximum(values[:, :-1], best[1:] * _same(curve.label, 1), out=values[:, :-1])


def _same(label: Tensor, reach: int) -> Tensor:
    """Return 1 where the lane `reach` further on has the same class, 0 elsewhere: float64 `[L - reach, 1]`."""
    return (label[reach:] == label[:-reach]).double().unsqueeze(1)


def _starts(label: Tensor, classes: int) -> Tensor:
    """Return where each class begins in ascending labels, and the end of the last, int64 `[C + 1]`."""
    return torch.searchsorted(label, torch.arange(classes + 1, device=label.device))
