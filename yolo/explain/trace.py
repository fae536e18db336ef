"""Every box that a network predicts for one image, which of them became detections, and what suppressed the others.

`postprocess` returns detections only. This file keeps the steps on the way there, for explanations.

Letters: `P` slots (boxes of all heads), `K` candidates (slot and class above the threshold), `C` classes; `A, H, W`
anchors, rows and columns of a head; `(s, i, j, a)` scale, row, column and anchor of a slot.
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
    """All boxes that the network predicts, in darknet's order: heads, rows, columns, anchors.

    `place` int64 `[P, 4]` (s, i, j, a), `boxes` `[P, 4]` xyxy in pixels of the image, `objectness` `[P]`, `classes`
    `[P, C]`, and `scores` `[P, C]`, the product of both.
    """

    place: Tensor
    boxes: Tensor
    objectness: Tensor
    classes: Tensor
    scores: Tensor


class Outcomes(NamedTuple):
    """The candidates of an image by descending score, and for each whether NMS kept it or what suppressed it.

    `slot` int64 `[K]`, `labels` int64 `[K]`, `scores` `[K]`, `boxes` `[K, 4]` xyxy in pixels of the image.
    `suppressed_by` int64 `[K]`: the best kept candidate that suppresses this one, -1 if it is kept. `overlap` float64
    `[K]`: the overlap of the two as NMS measures it, 0 if it is kept.
    """

    slot: Tensor
    labels: Tensor
    scores: Tensor
    boxes: Tensor
    suppressed_by: Tensor
    overlap: Tensor

    @property
    def kept(self) -> Tensor:
        """The candidates that are detections, int64 `[D]`."""
        return (self.suppressed_by < 0).nonzero().squeeze(1)

    def detections(self) -> Detections:
        """Return the kept candidates, which are the detections of `postprocess` bit for bit."""
        return Detections(self.boxes[self.kept], self.scores[self.kept], self.labels[self.kept])


def trace(
    predictions: Sequence[Tensor], heads: Sequence[Head], size: tuple[int, int], placement: Placement, options: Filter
) -> tuple[Slots, Outcomes]:
    """Return all boxes of one image, and what became of its candidates.

    Args:
        predictions: raw, for each head `[A, H, W, 5 + C]`.
        heads: the heads of the network; the last one determines the kind of NMS.
        size: height and width of the input in pixels.
        placement: where the image lies in it.
        options: thresholds. The limit on the number of detections is not applied, since no box suppresses what it cuts.
    """
    found = candidates(predictions, heads, size, options.confidence)
    order = found.scores.sort(descending=True, stable=True).indices
    boxes, scores, labels, slot = (field[order] for field in found)
    boxes, rule = placement.relative(boxes), Suppression.of(heads[-1], options)
    by, overlap = suppressors(boxes, labels, nms(boxes, scores, labels, rule), rule)
    slots = _all_slots(predictions, heads, size, placement)
    # The last bit of a number can depend on how many are computed at once. Those that detection computed count.
    slots.scores[slot, labels] = scores
    slots.boxes[slot] = cxcywh_to_xyxy(boxes) * boxes.new_tensor(placement.image.wh * 2)
    return slots, Outcomes(slot, labels, scores, slots.boxes[slot], by, overlap)


def _all_slots(
    predictions: Sequence[Tensor], heads: Sequence[Head], size: tuple[int, int], placement: Placement
) -> Slots:
    """Decode every box of every head."""
    parts = []
    for s, (raw, head) in enumerate(zip(predictions, heads, strict=True)):
        A, H, W = raw.shape[:3]
        rows = raw.permute(1, 2, 0, 3)  # [H, W, A, 5 + C], darknet's order
        decoded = head.decode_at(rows, head.cells(H, W)[:, :, None], head.anchors, (H, W), size)
        boxes, objectness, classes = (value.reshape(H * W * A, *value.shape[3:]) for value in decoded)
        boxes = cxcywh_to_xyxy(placement.relative(boxes)) * boxes.new_tensor(placement.image.wh * 2)
        place = torch.nn.functional.pad(torch.ones(H, W, A, device=raw.device).nonzero(), (1, 0), value=s)
        parts.append(Slots(place, boxes, objectness, classes, objectness.unsqueeze(-1) * classes))
    return Slots(*(torch.cat(values) for values in zip(*parts, strict=True)))
