"""Which detection finds which object: COCO's greedy matching, for all images, thresholds and area ranges at once.

Letters: `G` objects, `D` detections, `P` pairs of a detection with an object of its group (its image and class), `O`
detections that stand in a pair, `T` IoU thresholds, `A` area ranges.

The rule (pycocotools, `evaluateImg`): the detections of a group, by descending score, each take the object that they
overlap most among those that are free and reach the threshold; of equal overlaps the last; ignored objects (crowds, and
those outside the area range) only where no other is left. A crowd is never used up.

That looks sequential. But every object prefers the detection with the higher score, all by one list. Then letting each
detection ask its favourite, each object keep the better of those who ask, and those turned down ask their next one,
ends in the same matching (Gale and Shapley 1962: there is only one stable matching if one side has a common list). A
round is a few tensor operations over all images, and few rounds are needed.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from yolo.metrics.records import Records, begins

_PORTION = 1 << 21  # pairs compared at once, which bounds the memory


class Pairs(NamedTuple):
    """`found` int64 `[P]` index of the detection, ascending; `truth` int64 `[P]` index of the object; `iou` float64
    `[P]`. The pairs of a detection stand by descending IoU, of equal ones the last object first."""

    found: Tensor
    truth: Tensor
    iou: Tensor


class Matches(NamedTuple):
    """The objects that detections match.

    `found` int64 `[O]`, ascending: the detections that reach some object; all others match nothing. `truth` int64
    `[A, T, O]`: the object that each matches, -1 for none. `ignored` bool `[A, G]`: objects that do not count.
    """

    found: Tensor
    truth: Tensor
    ignored: Tensor

    def hits(self, a: int) -> tuple[Tensor, Tensor]:
        """Return the detections that match an object that counts in area range `a`, and those that match an ignored
        one, bool `[T, O]` each."""
        matched = self.truth[a] >= 0
        skipped = matched & self.ignored[a][self.truth[a]]  # at -1 `matched` is False
        return matched & ~skipped, skipped


class Claims(NamedTuple):
    """By VOC's rule, for each detection `[D]`: `truth` int64, the object of its class that it overlaps most, -1 if that
    is too little; `iou` float64 with it; `first` bool, no better detection has claimed the same object."""

    truth: Tensor
    iou: Tensor
    first: Tensor


def overlap(found: Tensor, truths: Tensor, crowd: Tensor | None = None) -> Tensor:
    """IoU of boxes left, top, width, height, `[..., 4]` each, row by row, in the arithmetic of pycocotools' `bbIou`.

    0 where the boxes do not meet. For a crowd (bool `[...]`) the union is the detection alone.
    """
    fx, fy, fw, fh = found.unbind(-1)
    tx, ty, tw, th = truths.unbind(-1)
    width = torch.minimum(fx + fw, tx + tw) - torch.maximum(fx, tx)
    height = torch.minimum(fy + fh, ty + th) - torch.maximum(fy, ty)
    inter = width.clamp(min=0) * height.clamp(min=0)
    union = fw * fh + tw * th - inter
    if crowd is not None:
        union = torch.where(crowd, fw * fh, union)
    return torch.where(inter > 0, inter / union, 0)


def class_pairs(records: Records, floor: float) -> Pairs:
    """The pairs of each detection with the objects of its image and class whose IoU is at least `floor`."""
    start, end = records.of_class(records.found.image, records.found.label)
    truths = records.truths
    return pairs(records.found.boxes, truths.boxes, start, end, floor, truths.crowd)


def pairs(
    found: Tensor, truths: Tensor, start: Tensor, end: Tensor, floor: float, crowd: Tensor | None = None
) -> Pairs:
    """Pairs of detections with a stretch of objects each, by IoU.

    Args:
        found: float64 `[D, 4]` boxes left, top, width, height.
        truths: float64 `[G, 4]`.
        start, end: int64 `[D]`, the stretch of objects that a detection is compared with, end excluded.
        floor: smallest IoU of a pair.
        crowd: bool `[G]`, objects whose union with a detection is the detection.

    A portion of the detections at a time, so the memory grows with what comes out.
    """
    ends = (end - start).cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    marks = torch.arange(1, total // _PORTION + 1, device=ends.device) * _PORTION
    cuts = [0, *torch.searchsorted(ends, marks, right=True).tolist(), len(ends)]
    parts = [_portion(found, truths, start[a:b], end[a:b], floor, crowd, a) for a, b in itertools.pairwise(cuts)]
    return Pairs(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def _portion(
    found: Tensor, truths: Tensor, start: Tensor, end: Tensor, floor: float, crowd: Tensor | None, first: int
) -> Pairs:
    """Pairs of the detections from `first` on."""
    count = end - start
    places = torch.arange(len(count), device=count.device)
    who = torch.repeat_interleave(places, count)
    within = torch.arange(len(who), device=count.device) - (count.cumsum(0) - count)[who]
    whom = start[who] + within
    who = who + first
    iou = overlap(found.index_select(0, who), truths.index_select(0, whom), None if crowd is None else crowd[whom])
    reached = (iou >= floor).nonzero().squeeze(1).flip(0)  # flipped: of equal overlaps the last object comes first
    who, whom, iou = who[reached], whom[reached], iou[reached]
    order = torch.argsort(-iou, stable=True)
    order = order[torch.argsort(who[order], stable=True)]
    return Pairs(who[order], whom[order], iou[order])


def match(records: Records, pairs: Pairs, thresholds: Tensor, ignored: Tensor) -> Matches:
    """The matching for each threshold and area range.

    Args:
        records: detections and objects.
        pairs: those of `class_pairs` with the smallest threshold as floor.
        thresholds: float64 `[T]`, smallest IoU of a match.
        ignored: bool `[A, G]`, the objects that do not count in an area range; crowds are ignored in all.
    """
    owners, owner = torch.unique_consecutive(pairs.found, return_inverse=True)
    crowd = records.truths.crowd[pairs.truth]
    plain = greedy(owner, pairs.truth, pairs.iou, crowd, thresholds, len(owners), len(records.truths.label))
    # Where no pair of a group ranks an ignored object above one that counts, overlaps alone decide, in every range.
    group, _ = records.of_class(records.found.image[owners], records.found.label[owners])
    group = group[owner]
    same_owner = owner[1:] == owner[:-1]
    matched = []
    for flags in ignored:
        flag = flags[pairs.truth]
        upset = torch.zeros(len(flags), dtype=torch.bool, device=flags.device)
        upset[group[1:][same_owner & flag[:-1] & ~flag[1:]]] = True
        again = upset[group].nonzero().squeeze(1)
        again = again[torch.argsort(owner[again] * 2 + flag[again], stable=True)]
        few, sub_owner = torch.unique_consecutive(owner[again], return_inverse=True)
        truth = plain.clone()
        truth[:, few] = greedy(
            sub_owner, pairs.truth[again], pairs.iou[again], crowd[again], thresholds, len(few), len(flags)
        )
        matched.append(truth)
    return Matches(owners, torch.stack(matched), ignored)


def greedy(
    owner: Tensor, truth: Tensor, iou: Tensor, crowd: Tensor, thresholds: Tensor, owners: int, truths: int
) -> Tensor:
    """The object that each of the `owners` takes at each threshold, int64 `[T, owners]`, -1 for none.

    Args:
        owner: int64 `[P]`, ascending: 0 chooses first.
        truth: int64 `[P]`, one of `truths`; the pairs of an owner stand by its preference.
        iou: float64 `[P]`; only pairs that reach the threshold count.
        crowd: bool `[P]`, the object is never used up.
        thresholds: float64 `[T]`.
    """
    reached, pair = (iou >= thresholds.unsqueeze(1)).nonzero(as_tuple=True)  # by threshold, owner, preference
    turn = torch.arange(len(pair), device=pair.device)  # among those who ask one object, the lower turn is the better
    asker = reached * owners + owner[pair]
    first = begins(asker)
    last = first.roll(-1)
    # Every object has a place at each threshold; a crowd has one for each who asks.
    place = torch.where(crowd[pair], len(thresholds) * truths + turn, reached * truths + truth[pair])
    nobody = len(pair)
    holder = torch.full((len(thresholds) * truths + len(pair),), nobody, device=pair.device)
    asking = turn[first]  # the favourite of each
    while len(asking):
        asked = place[asking]
        before = holder[asked]
        holder.scatter_reduce_(0, asked, asking, "amin")
        won = holder[asked] == asking
        replaced = before[won]
        refused = torch.cat((asking[~won], replaced[replaced < nobody]))
        asking = refused[~last[refused]] + 1
    kept = holder[holder < nobody]
    matched = torch.full((len(thresholds) * owners,), -1, device=pair.device)
    matched[asker[kept]] = truth[pair[kept]]
    return matched.view(len(thresholds), owners)


def claims(records: Records, threshold: float, *, strict: bool = False, inclusive: bool = False) -> Claims:
    """VOC's rule: each detection stands for the object of its image and class that it overlaps most, free or not.

    Of equal overlaps the first object. `strict`: the IoU must exceed the threshold, not just reach it. `inclusive`: box
    corners are pixels that belong to the box, so sides are right - left + 1.
    """
    grow = torch.tensor([0.0, 0, 1, 1] if inclusive else [0.0] * 4, dtype=torch.float64, device=records.rank.device)
    found, truths = records.found, records.truths
    start, end = records.of_class(found.image, found.label)
    who, whom, iou = pairs(found.boxes + grow, truths.boxes + grow, start, end, threshold)
    count = len(found.label)
    best = torch.zeros(count, dtype=torch.float64, device=who.device).scatter_reduce(0, who, iou, "amax")
    favourite = (iou == best[who]) & ((iou > threshold) if strict else (iou >= threshold))
    who, whom = who[favourite], whom[favourite]
    truth = torch.full((count,), len(truths.label), device=who.device).scatter_reduce(0, who, whom, "amin")
    claimed = truth < len(truths.label)
    who = claimed.nonzero().squeeze(1)
    leader = torch.full((len(truths.label),), count, device=who.device).scatter_reduce(0, truth[who], who, "amin")
    first = torch.zeros_like(claimed).index_copy(0, who, leader[truth[who]] == who)
    return Claims(torch.where(claimed, truth, -1), best, first)
