"""Which boxes of the network are responsible for the objects of an image, by the three rules of training.

Letters: `G` objects; `(s, i, j, a)` scale, row, column and anchor of a slot, that is a box of the network; `A, H, W`
anchors, rows and columns of a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from yolo.darknet.heads import Head
from yolo.detection.assign import SCORES, assign
from yolo.detection.labels import pack_labels
from yolo.images.placement import Placement

ResponsibleSlots = Mapping[str, list[list[int]]]
"""By rule, for each object the numbers of the slots responsible for it, by scale; an empty list if no anchor fits."""


def responsible_slots(
    predictions: Sequence[Tensor],
    heads: Sequence[Head],
    size: tuple[int, int],
    placement: Placement,
    boxes: Tensor,
    crowd: Tensor,
) -> ResponsibleSlots:
    """Return the responsible slots by `ratio`, `prediction` and `prior`, with the labels that training would use.

    Args:
        predictions: raw, of one image, for each head `[A, H, W, 5 + C]`.
        heads: the heads of the network. Where the loss refuses one (`[region]`, `new_coords`), the result is empty.
        size: height and width of the input in pixels.
        placement: where the image lies in it.
        boxes: `[G, 4]` xyxy of the objects in pixels of the image, inside of it.
        crowd: bool `[G]`.
    """
    if any(head.region or head.new_coords for head in heads):
        return {}
    # Rounded once, as in a sample. No rule looks at the class, so it holds the number of the object: labels leave out
    # crowds and boxes without area.
    placed = placement.to_input(boxes.double()).float()
    labels = pack_labels([{"boxes": placed, "labels": torch.arange(len(boxes)), "iscrowd": crowd}], size)
    labels = labels.to(predictions[0].device)
    A, H, W = torch.tensor([list(raw.shape[:3]) for raw in predictions], device=labels.device).unbind(1)
    first = (A * H * W).cumsum(0) - A * H * W  # the number of each head's first slot
    found = {}
    for rule in SCORES:
        s, n, _, a, i, j = assign([raw[None] for raw in predictions], labels, heads, rule).compact()
        slots, owner = first[s] + (i * W[s] + j) * A[s] + a, labels[n, 5]
        found[rule] = [slots[owner == g].tolist() for g in range(len(boxes))]
    return found


def squares(places: Tensor, heads: Sequence[Head], placement: Placement) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cells of slots and their anchors in the middle of these, in pixels of the image.

    Args:
        places: (s, i, j, a) int64 `[P, 4]`.
        heads: the heads of the network.
        placement: where the image lies in the input.

    Returns:
        Cells and anchors, float64 `[P, 4]` xyxy in pixels of the image each; width and height of the anchors in pixels
        of the input, float64 `[P, 2]`.
    """
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
