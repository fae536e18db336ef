"""Which detection finds which object: COCO's greedy matching, for all images, thresholds and area ranges at once.

Letters: `G` objects, `D` detections, `P` pairs of a detection with an object of its group (its image and class), `O`
detections in at least one pair, `T` IoU thresholds, `A` area ranges.

The rule (pycocotools, `evaluateImg`): by descending score, each detection of a group takes the object that it overlaps
most, among those that are free and reach the threshold. Of equal overlaps it takes the last. It takes an ignored object
(a crowd, or one outside the area range) only if no other is left. A crowd stays free.

This looks sequential, but it is a stable matching: all objects prefer the detection with the higher score, so they rank
the detections by one common list. With a common list on one side there is only one stable matching, and deferred
acceptance (Gale and Shapley 1962) finds it. In each round, every detection without an object asks the next one on its
own list, and every object keeps the best of those that asked it. A round is a few tensor operations over all images,
and few rounds are needed.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from yolo.metrics.records import Records, begins

_PORTION = 1 << 21  # pairs compared at once, which bounds the memory


class Pairs(NamedTuple):
    """Detections with objects that they overlap.

    `found` int64 `[P]` index of the detection, ascending; `truth` int64 `[P]` index of the object; `iou` float64 `[P]`.
    The pairs of a detection are sorted by descending IoU; of equal ones the last object comes first.
    """

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
    """The object that each detection claims by VOC's rule.

    `truth` int64 `[D]`: the object of its class that it overlaps most, -1 if that is too little. `iou` float64 `[D]`:
    the IoU with it. `first` bool `[D]`: no better detection has claimed the same object.
    """

    truth: Tensor
    iou: Tensor
    first: Tensor


def overlap(found: Tensor, truths: Tensor, crowd: Tensor | None = None) -> Tensor:
    """Return the IoU `[...]` of boxes left, top, width, height, `[..., 4]` each, row by row.

    The arithmetic is that of pycocotools' `bbIou`. 0 where the boxes do not meet. For a crowd (bool `[...]`) the union
    is the detection alone.
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
    """Return the pairs of detections with objects of their image and class whose IoU is at least `floor`."""
    start, end = records.of_class(records.found.image, records.found.label)
    truths = records.truths
    return pairs(records.found.boxes, truths.boxes, start, end, floor, truths.crowd)


def pairs(
    found: Tensor, truths: Tensor, start: Tensor, end: Tensor, floor: float, crowd: Tensor | None = None
) -> Pairs:
    """Return the pairs of detections with objects whose IoU is at least `floor`.

    A portion of the detections is compared at a time, so memory grows with the pairs that are returned, not with those
    that are compared.

    Args:
        found: float64 `[D, 4]` boxes left, top, width, height.
        truths: float64 `[G, 4]`.
        start, end: int64 `[D]`: a detection is compared with the objects from `start` to `end` (excluded).
        floor: smallest IoU of a pair.
        crowd: bool `[G]`, objects whose union with a detection is the detection.
    """
    # Cut the detections where the number of comparisons exceeds the next multiple of a portion.
    ends = (end - start).cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    marks = torch.arange(1, total // _PORTION + 1, device=ends.device) * _PORTION
    cuts = [0, *torch.searchsorted(ends, marks, right=True).tolist(), len(ends)]
    parts = [_portion(found, truths, start[a:b], end[a:b], floor, crowd, a) for a, b in itertools.pairwise(cuts)]
    return Pairs(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def _portion(
    found: Tensor, truths: Tensor, start: Tensor, end: Tensor, floor: float, crowd: Tensor | None, first: int
) -> Pairs:
    """Return the pairs of one portion, whose first detection has the index `first`."""
    # Pair each detection `who` with every object `whom` of its range.
    count = end - start
    places = torch.arange(len(count), device=count.device)
    who = torch.repeat_interleave(places, count)
    within = torch.arange(len(who), device=count.device) - (count.cumsum(0) - count)[who]
    whom = start[who] + within
    who = who + first
    # Keep the pairs that reach the floor, by detection, then by descending IoU.
    iou = overlap(found.index_select(0, who), truths.index_select(0, whom), None if crowd is None else crowd[whom])
    reached = (iou >= floor).nonzero().squeeze(1).flip(0)  # flipped: of equal overlaps the last object comes first
    who, whom, iou = who[reached], whom[reached], iou[reached]
    order = torch.argsort(-iou, stable=True)
    order = order[torch.argsort(who[order], stable=True)]
    return Pairs(who[order], whom[order], iou[order])


def match(records: Records, pairs: Pairs, thresholds: Tensor, ignored: Tensor) -> Matches:
    """Match detections with objects at each threshold and in each area range.

    Args:
        records: detections and objects.
        pairs: from `class_pairs`, with the smallest threshold as floor.
        thresholds: float64 `[T]`, smallest IoUs of a match.
        ignored: bool `[A, G]`, the objects that do not count in an area range; crowds are ignored in all.
    """
    owners, owner = torch.unique_consecutive(pairs.found, return_inverse=True)
    crowd = records.truths.crowd[pairs.truth]
    plain = greedy(owner, pairs.truth, pairs.iou, crowd, thresholds, len(owners), len(records.truths.label))
    # Where no detection of a group prefers an ignored object to one that counts, overlaps alone decide, in every area
    # range. Only the other groups (`upset`) are matched again, with ignored objects last.
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
    """Return the object that each of the `owners` takes at each threshold, int64 `[T, owners]`, -1 for none.

    Args:
        owner: int64 `[P]`, ascending: 0 chooses first.
        truth: int64 `[P]`, one of `truths`; the pairs of an owner are sorted by its preference.
        iou: float64 `[P]`; only pairs that reach the threshold count.
        crowd: bool `[P]`, the object stays free.
        thresholds: float64 `[T]`.
    """
    reached, pair = (iou >= thresholds.unsqueeze(1)).nonzero(as_tuple=True)  # by threshold, owner, preference
    turn = torch.arange(len(pair), device=pair.device)  # of the pairs that ask for one object, the lower turn is better
    asker = reached * owners + owner[pair]
    first = begins(asker)
    last = first.roll(-1)
    # An object has one place at each threshold, a crowd has one for each pair.
    place = torch.where(crowd[pair], len(thresholds) * truths + turn, reached * truths + truth[pair])
    nobody = len(pair)
    holder = torch.full((len(thresholds) * truths + len(pair),), nobody, device=pair.device)
    asking = turn[first]  # each asker begins with its favourite
    while len(asking):
        asked = place[asking]
        before = holder[asked]
        holder.scatter_reduce_(0, asked, asking, "amin")  # the best that asked so far keeps the place
        won = holder[asked] == asking
        replaced = before[won]
        refused = torch.cat((asking[~won], replaced[replaced < nobody]))
        asking = refused[~last[refused]] + 1  # the refused ask their next choice, if they have one
    kept = holder[holder < nobody]
    matched = torch.full((len(thresholds) * owners,), -1, device=pair.device)
    matched[asker[kept]] = truth[pair[kept]]
    return matched.view(len(thresholds), owners)


def claims(records: Records, threshold: float, *, strict: bool = False, inclusive: bool = False) -> Claims:
    """Return VOC's assignment: each detection claims the object that it overlaps most, taken or not.

    The object is one of its image and class; of equal overlaps the first. `strict`: the IoU must exceed the threshold,
    not just reach it. `inclusive`: box corners are pixels that belong to the box, so sides are right - left + 1.
    """
    grow = torch.tensor([0.0, 0, 1, 1] if inclusive else [0.0] * 4, dtype=torch.float64, device=records.rank.device)
    found, truths = records.found, records.truths
    start, end = records.of_class(found.image, found.label)
    who, whom, iou = pairs(found.boxes + grow, truths.boxes + grow, start, end, threshold)
    # The object with the largest IoU, the first of equals.
    count = len(found.label)
    best = torch.zeros(count, dtype=torch.float64, device=who.device).scatter_reduce(0, who, iou, "amax")
    favourite = (iou == best[who]) & ((iou > threshold) if strict else (iou >= threshold))
    who, whom = who[favourite], whom[favourite]
    truth = torch.full((count,), len(truths.label), device=who.device).scatter_reduce(0, who, whom, "amin")
    # The first detection, that with the highest score, that claims an object.
    claimed = truth < len(truths.label)
    who = claimed.nonzero().squeeze(1)
    leader = torch.full((len(truths.label),), count, device=who.device).scatter_reduce(0, truth[who], who, "amin")
    first = torch.zeros_like(claimed).index_copy(0, who, leader[truth[who]] == who)
    return Claims(torch.where(claimed, truth, -1), best, first)
