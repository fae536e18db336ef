"""All that a network says of one image: every box it predicts, which became detections, and what suppressed the rest.

`postprocess` gives detections and forgets the way to them, as it should; this file keeps it, for explanations.

Letters: `P` slots, that is boxes of all heads, `K` candidates (slot and class above the threshold), `C` classes,
`(s, i, j, a)` scale, row, column and anchor of a slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from yolo.boxes import Detections, cxcywh_to_xyxy
from yolo.darknet.heads import Head
from yolo.detection.nms import Suppression, nms, suppressors
from yolo.detection.postprocess import candidates
from yolo.images.placement import Placement
from yolo.options.detection import Filter


class Slots(NamedTuple):
    """Every box: `place` int64 `[P, 4]` (s, i, j, a), `boxes` `[P, 4]` xyxy in pixels of the image, `objectness`
    `[P]`, `classes` `[P, C]`, `scores` `[P, C]` their product. Darknet's order: heads, rows, columns, anchors."""

    place: Tensor
    boxes: Tensor
    objectness: Tensor
    classes: Tensor
    scores: Tensor


class Traced(NamedTuple):
    """Above the threshold, by descending score: `slot` int64 `[K]`, `labels` int64 `[K]`, `scores` `[K]`, `boxes`
    `[K, 4]` xyxy in pixels of the image. `by` int64 `[K]`: the best kept candidate that rules this one out, -1 if it
    is kept; `measure` float64 `[K]`: their overlap as NMS measures it, 0 where it is kept."""

    slot: Tensor
    labels: Tensor
    scores: Tensor
    boxes: Tensor
    by: Tensor
    measure: Tensor

    @property
    def kept(self) -> Tensor:
        """Which are detections, int64 `[D]`."""
        return (self.by < 0).nonzero().squeeze(1)

    def detections(self) -> Detections:
        """What `postprocess` gives."""
        return Detections(self.boxes[self.kept], self.scores[self.kept], self.labels[self.kept])


def look(
    predictions: Sequence[Tensor], heads: Sequence[Head], size: tuple[int, int], placement: Placement, options: Filter
) -> tuple[Slots, Traced]:
    """Slots and candidates of one image.

    Args:
        predictions: raw, for each head `[A, H, W, 5 + C]`.
        heads: theirs; the last says which NMS.
        size: height and width of the input in pixels.
        placement: where the image lies in it.
        options: thresholds. A limit on the number of detections is not kept: what it cuts off was not ruled out.
    """
    found = candidates(predictions, heads, size, options.confidence)
    order = found.scores.sort(descending=True, stable=True).indices
    boxes, scores, labels, slot = (field[order] for field in found)
    boxes, rule = placement.relative(boxes), Suppression.of(heads[-1], options)
    by, measure = suppressors(boxes, labels, nms(boxes, scores, labels, rule), rule)
    slots = _all_slots(predictions, heads, size, placement)
    # The last bit of a number can depend on how many are computed at once: what detection computed counts.
    slots.scores[slot, labels] = scores
    slots.boxes[slot] = cxcywh_to_xyxy(boxes) * boxes.new_tensor(placement.image.wh * 2)
    return slots, Traced(slot, labels, scores, slots.boxes[slot], by, measure)


def numbered(predictions: Sequence[Tensor], places: Tensor) -> Tensor:
    """The numbers of slots, their rows in `Slots`, int64 `[...]`, by their places (s, i, j, a) int64 `[..., 4]`; the
    predictions are those of one image, `[A, H, W, 5 + C]`."""
    s, i, j, a = places.unbind(-1)
    A, H, W = places.new_tensor([list(raw.shape[:3]) for raw in predictions]).unbind(1)
    first = (A * H * W).cumsum(0) - A * H * W
    return first[s] + (i * W[s] + j) * A[s] + a


def _all_slots(
    predictions: Sequence[Tensor], heads: Sequence[Head], size: tuple[int, int], placement: Placement
) -> Slots:
    parts = []
    for s, (raw, head) in enumerate(zip(predictions, heads, strict=True)):
        boxes, objectness, classes = (value[0] for value in head.decode(raw[None], size))
        A, H, W = objectness.shape
        grid = torch.meshgrid(*(torch.arange(n, device=raw.device) for n in (H, W, A)), indexing="ij")
        place = torch.stack((torch.full_like(grid[0], s), *grid), dim=-1)
        rows = (boxes.permute(1, 2, 0, 3), objectness.permute(1, 2, 0), classes.permute(1, 2, 0, 3))
        boxes, objectness, classes = (value.reshape(H * W * A, *value.shape[3:]) for value in rows)
        boxes = cxcywh_to_xyxy(placement.relative(boxes)) * boxes.new_tensor(placement.image.wh * 2)
        parts.append(Slots(place.view(-1, 4), boxes, objectness, classes, objectness.unsqueeze(-1) * classes))
    return Slots(*(torch.cat(values) for values in zip(*parts, strict=True)))
