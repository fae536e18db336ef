"""What a Faster R-CNN predicts that has learned its labels perfectly, and which objects even that network loses.

Both stages of torchvision's modules are answered as they are trained: each positive anchor proposes the box of its
object, and each proposal that is assigned to an object has its class and its box.

Letters: `B` images, `G` objects of an image, `R` proposals of all images, `C` classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import box_area, box_iou

from yolo.data.sample import Target
from yolo.detection.labels import untrained
from yolo.rcnn.targets import RoiOutputs, to_torchvision
from yolo.size import Size

CERTAIN = 20.0
"""Logit of a perfect prediction: its score is 1 up to 2e-9 for each class."""


def perfect(
    rpn: RegionProposalNetwork,
    roi_heads: RoIHeads,
    shapes: Sequence[tuple[int, int]],
    classes: int,
    targets: Sequence[Target],
    size: Size,
) -> tuple[RoiOutputs, list[list[str]], str]:
    """Return the perfect predictions of a batch, as detection makes them.

    Args:
        rpn, roi_heads: of the network; of their weights nothing is read.
        shapes: rows and columns of each feature map of an input.
        classes: C.
        targets: for each image its objects, with boxes in pixels of the input.
        size: height and width of the input in pixels.

    Returns:
        The predictions. For each image and object why it is lost, empty if it is found. And the anchors that would fit
        better, as text; empty if there is an anchor for every object.
    """
    device = next(rpn.parameters()).device
    due, _ = to_torchvision(targets, device)
    boxes, labels = ([target[key] for target in due] for key in ("boxes", "labels"))
    anchors = _anchors(rpn, shapes, len(targets), size, device)
    proposals = _proposals(rpn, shapes, boxes, anchors, size)
    owner, named = roi_heads.assign_targets_to_proposals(proposals, boxes, labels)
    # Background has no box: its proposal takes the place of one, for offsets of 0.
    references = [
        torch.where(label[:, None] > 0, truth[k], proposal) if len(truth) else proposal
        for truth, k, label, proposal in zip(boxes, owner, named, proposals, strict=True)
    ]
    outputs = RoiOutputs(
        one_hot(torch.cat(named).clamp(min=0), classes + 1) * CERTAIN,
        torch.cat(roi_heads.box_coder.encode(references, proposals)).repeat(1, classes + 1),
        proposals,
        size,
    )
    low = rpn.proposal_matcher.low_threshold
    weak = [box_iou(truth, anchors[0]).amax(1) < low for truth in boxes]
    lost = [untrained(target) for target in targets]
    for reasons, far, k, label in zip(lost, weak, owner, named, strict=True):
        found = set(k[label > 0].tolist())
        for n, g in enumerate([g for g, reason in enumerate(reasons) if not reason]):
            cause = f"no anchor has an IoU of {low:g} with it" if far[n] else "no proposal is left for it"
            reasons[g] = "" if n in found else cause
    return outputs, lost, _remedy(torch.cat(boxes), torch.cat(weak), anchors[0], low)


def _anchors(
    rpn: RegionProposalNetwork, shapes: Sequence[tuple[int, int]], images: int, size: Size, device: torch.device
) -> list[Tensor]:
    """Return the anchors `[anchors, 4]` xyxy of each image. The generator reads only the shapes of what it gets."""
    nothing = torch.zeros((), device=device)
    batch = ImageList(nothing.expand(images, 3, *size), [tuple(size)] * images)
    found: list[Tensor] = rpn.anchor_generator(batch, [nothing.expand(images, 1, *shape) for shape in shapes])
    return found


def _proposals(
    rpn: RegionProposalNetwork,
    shapes: Sequence[tuple[int, int]],
    boxes: list[Tensor],
    anchors: list[Tensor],
    size: Size,
) -> list[Tensor]:
    """Return the proposals of each image, `[proposals, 4]`, if all anchors answer perfectly for the `boxes`."""
    answers, due = rpn.assign_targets_to_anchors(anchors, [{"boxes": truth} for truth in boxes])
    positive = torch.stack(answers) == 1
    deltas = torch.cat(rpn.box_coder.encode(due, anchors)).where(positive.view(-1, 1), 0)
    decoded = rpn.box_coder.decode(deltas, anchors).view(len(boxes), -1, 4)
    levels = [
        rows * columns * count
        for (rows, columns), count in zip(shapes, rpn.anchor_generator.num_anchors_per_location(), strict=True)
    ]
    was_training, rpn.training = rpn.training, False  # the limits of detection, not those of training
    try:
        found: list[Tensor] = rpn.filter_proposals(
            decoded, torch.where(positive, CERTAIN, -CERTAIN), [tuple(size)] * len(boxes), levels
        )[0]
    finally:
        rpn.training = was_training
    return found


def _remedy(boxes: Tensor, weak: Tensor, anchors: Tensor, low: float) -> str:
    """Return what anchors would fit those `boxes` `[G, 4]` that are `weak`; empty if none is."""
    if not bool(weak.any()):
        return ""
    side = float(box_area(boxes[weak]).sqrt().median())
    least, most = (float(area) ** 0.5 for area in box_area(anchors).aminmax())
    which = "smaller" if side < least else "larger" if side > most else "more"
    return (
        f"{int(weak.sum())} of {len(weak)} objects have no anchor with an IoU of {low:g}, only their best one: their "
        f"median side is {side:.0f} pixels, those of the anchors are {least:.0f} to {most:.0f}: give {which} --anchors"
    )
