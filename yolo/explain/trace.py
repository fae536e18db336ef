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

from yolo.boxes import Detections, cxcywh_to_xyxy, diou, iou
from yolo.darknet.heads import Head
from yolo.detection.postprocess import located_candidates
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
    pixels = heads[0].anchors.new_tensor(placement.image.wh * 2)
    found, where = located_candidates(predictions, heads, size, options.confidence)
    order = found.scores.sort(descending=True, stable=True).indices
    boxes, labels, scores = placement.relative(found.boxes)[order], found.labels[order], found.scores[order]
    head = heads[-1]
    by, measure = suppressors(
        boxes,
        labels,
        threshold=options.nms,
        kind=head.nms_kind,
        beta=head.nms_beta,
        agnostic=options.agnostic or head.classes == 1,
    )
    slots, slot = _all_slots(predictions, heads, size, placement), numbered(predictions, where[order])
    slots.scores[slot, labels] = scores  # the last bit of a product depends on how many numbers are computed at once
    slots.boxes[slot] = cxcywh_to_xyxy(boxes) * pixels
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


def suppressors(
    boxes: Tensor, labels: Tensor, *, threshold: float, kind: str = "iou", beta: float = 1.0, agnostic: bool = False
) -> tuple[Tensor, Tensor]:
    """NMS one by one: for each box the best one that is kept and rules it out, int64 `[K]`, -1 if none, and their
    measure, float64 `[K]`. The arguments are those of `postprocess.nms`; boxes stand by descending score."""
    boxes = boxes.double()
    by, measure = labels.new_full((len(labels),), -1), boxes.new_zeros(len(boxes))
    for k in range(len(boxes)):
        rivals = (by[:k] < 0) if agnostic else (by[:k] < 0) & (labels[:k] == labels[k])
        kept = rivals.nonzero().squeeze(1)
        overlap = iou(boxes[kept], boxes[k]) if kind == "iou" else diou(boxes[kept], boxes[k], beta)
        above = (overlap > threshold).nonzero().squeeze(1)
        if len(above):
            by[k], measure[k] = kept[above[0]], overlap[above[0]]
    return by, measure
