"""Which boxes of the network answer for the objects of an image, by the three rules that training knows.

Letters: `G` objects, `N` labels of the loss: the objects that are no crowd and have an area, `(s, i, j, a)` scale, row,
column and anchor of a slot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from yolo.darknet.heads import Head
from yolo.detection.assign import SCORES, assign
from yolo.detection.labels import pack_labels
from yolo.explain.trace import numbered
from yolo.images.placement import Placement

Answers = Mapping[str, list[list[int]]]
"""By rule, for each object the numbers of the slots responsible for it, by scale; none where no anchor fits."""


def responsible(
    predictions: Sequence[Tensor],
    heads: Sequence[Head],
    size: tuple[int, int],
    placement: Placement,
    boxes: Tensor,
    crowd: Tensor,
) -> Answers:
    """The responsible slots by `ratio`, `prediction` and `prior`, with the labels that training makes of the image.

    Args:
        predictions: raw, of one image, for each head `[A, H, W, 5 + C]`.
        heads: theirs. Behind heads that the loss refuses (`[region]`, `new_coords`) nothing is responsible: no rules.
        size: height and width of the input in pixels.
        placement: where the image lies in it.
        boxes: `[G, 4]` xyxy of the objects in pixels of the image, inside of it.
        crowd: bool `[G]`.
    """
    if any(head.region or head.new_coords for head in heads):
        return {}
    placed = placement.to_input(boxes.double()).float()  # rounded once, as a sample is
    targets = [  # one for each object, so that the first column of the labels is the object
        {"boxes": box[None], "labels": torch.zeros(1, dtype=torch.int64), "iscrowd": flag[None]}
        for box, flag in zip(placed, crowd, strict=True)
    ]
    labels = pack_labels(targets, size).to(predictions[0].device)  # type: ignore[arg-type]  # has what it reads
    owner = labels[:, 0].long().tolist()
    labels = torch.cat((torch.zeros_like(labels[:, :1]), labels[:, 1:]), dim=1)
    answers = {}
    for rule in SCORES:
        s, n, _, a, i, j = assign([raw[None] for raw in predictions], labels, heads, rule).compact()
        slots = numbered(predictions, torch.stack((s, i, j, a), dim=1))
        answers[rule] = [list[int]() for _ in boxes]
        for label, slot in zip(n.tolist(), slots.tolist(), strict=True):
            answers[rule][owner[label]].append(slot)
    return answers


def squares(places: Tensor, heads: Sequence[Head], placement: Placement) -> tuple[Tensor, Tensor, Tensor]:
    """What slots (s, i, j, a) int64 `[P, 4]` start from: their cells, and their anchors in the middle of these, each
    `[P, 4]` xyxy in pixels of the image; width and height of the anchors in pixels of the input, `[P, 2]`."""
    s, i, j, a = places.unbind(1)
    anchors = torch.zeros(len(places), 2, dtype=torch.float64)
    strides = torch.tensor([[float(x), float(y)] for y, x in (head.strides for head in heads)], dtype=torch.float64)[s]
    for scale, head in enumerate(heads):
        anchors[s == scale] = head.anchors.to("cpu", torch.float64)[a[s == scale]]
    corner = torch.stack((j, i), dim=1) * strides
    middle = corner + strides / 2
    cells = torch.cat((corner, corner + strides), dim=1)
    boxes = torch.cat((middle - anchors / 2, middle + anchors / 2), dim=1)
    return placement.to_image(cells), placement.to_image(boxes), anchors
