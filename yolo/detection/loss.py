"""The loss of raw predictions against labels: box, objectness and class.

The positives, rows (s, n, b, a, i, j) of the assignment (`assign.py`), contribute to the box loss and the class loss.
Every prediction of every scale contributes to the objectness loss. With the `M_s` positives of scale s:

    box = Σ_s  mean over M_s of  1 - IoU            (iou; giou, diou, ciou in its place)
          or   mean of (Δx, Δy)² + mean of (Δw, Δh)² / 10, each over 2 · M_s numbers in grid units    (mse)
    obj = Σ_s  mean over B · A · H · W of  BCE(objectness, target)
    cls = Σ_s  mean over M_s · C of  BCE(class, one-hot)
    total = box_gain · box + obj_gain · obj + cls_gain · cls

An example: a positive predicts x, y, w, h = 2.5, 1.5, 2, 2 cells for a label at 2.5, 1.5, 2, 1. The IoU is 2/4, so its
`iou` loss is 0.5; its `mse` loss is (0 + 0)/2 + (0 + 1)/2/10 = 0.05. The target of its objectness is 1, or 0.5 with
`obj_label="iou"`: then objectness learns how good the box is.

Sources: squared errors of the box, and a confidence that is an IoU, are from YOLOv1 (eq. 3; it takes roots of w and h
where this divides by 10). Cross entropy for objectness and for independent classes is from YOLOv3 (§2.1, §2.2), and so
is `ignore_thresh`. GIoU: Rezatofighi et al. 2019. DIoU, CIoU: Zheng et al. 2020. Focal: Lin et al. 2017 (eq. 4), for
soft targets as in Li et al. 2020 (eq. 5).

Letters: `B` images, `N` labels, `R` rows of the assignment (`S · N` or `N`), `M` of them matched; `A, H, W, C` anchors,
rows, columns and classes of a scale; `P` predictions per image over all scales. A *slot* is the place of one
prediction, (b, a, i, j). Boxes are cxcywh in grid units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from yolo.boxes import ciou, diou, giou, iou
from yolo.darknet.heads import Head
from yolo.detection.assign import Assignment, assign
from yolo.detection.grid import Grid, make_grids
from yolo.detection.near_misses import near_labels
from yolo.options.loss import LossOptions
from yolo.process.distributed import sum_over_ranks, world_size

MEASURES = {"iou": iou, "giou": giou, "diou": diou, "ciou": ciou}


class LossTerms(NamedTuple):
    """Scalars, with gradient. `total` includes the gains, the three terms do not."""

    total: Tensor
    box: Tensor
    obj: Tensor
    cls: Tensor


class HasHeads(Protocol):
    """A network with YOLO heads, such as `Darknet`."""

    @property
    def heads(self) -> Sequence[Head]: ...


def compute_loss(
    predictions: Sequence[Tensor],
    labels: Tensor,
    model: HasHeads,
    options: LossOptions | None = None,
    *,
    assignment: Assignment | None = None,
    **changes: Any,
) -> LossTerms:
    """Return the loss of a batch; the formulas are at the top of this file.

    Args:
        predictions: raw, for each head `[B, A, H, W, 5 + C]`, logits.
        labels: `[N, 6]` float32 or float64: (b, x_center, y_center, w, h, class), the box as fractions of the input.
        model: the network; its heads have anchors, strides and classes.
        options: the variant of the loss, by default that of `LossOptions()`.
        assignment: the positives, if the caller has computed them already; by default `options.assign` finds them.
        **changes: fields of `LossOptions` that replace those of `options`, such as `bbox_loss="giou"`.

    A batch without labels has a finite loss. A scale without positives contributes its objectness loss only. With
    several processes N, M_s and B are those of all processes together. Each process then returns its share of the loss
    times the number of processes, so that the mean over the processes is the loss of the whole batch. Nothing waits
    for the device. Computed in float32, or in float64 if the predictions are float64.

    Raises:
        TypeError: for a keyword that is not an option of the loss.
        ValueError: for unknown words, numbers out of range, wrong shapes, and heads with `new_coords` or of kind
            `[region]`.
        IndexError: on the CPU, for a class that a head does not have.
    """
    options = options or LossOptions()
    if changes:
        options = options.replace(**changes)
    heads = model.heads
    check_shapes(predictions, labels, heads)
    dtype = torch.float64 if predictions[0].dtype == torch.float64 else torch.float32
    labels = labels.to(dtype)
    found = assign(predictions, labels, heads, options.assign) if assignment is None else assignment
    positives = [found.matched & (found.s == s) for s in range(len(heads))]

    # The divisors count labels, images and positives of all processes: one sum for all of them, on the device.
    counts = [labels.new_full((), float(count)) for count in (len(labels), len(predictions[0]))]
    N, B, *M = sum_over_ranks(torch.stack([*counts, *(on.sum().to(dtype) for on in positives)])).unbind()
    if options.pos_weight == "auto":
        P = sum(raw.shape[1:4].numel() for raw in predictions)
        weight = torch.where(N > 0, (P - N) / (2 * N.clamp(min=1)), 1).clamp(min=1)
    else:
        weight = labels.new_full((), float(options.pos_weight))

    box = obj = cls = labels.new_zeros(())
    for raw, grid, on, M_s in zip(predictions, make_grids(predictions, heads, dtype), positives, M, strict=True):
        scale = _look_up(raw, grid, labels, found, on)
        M_s = M_s.clamp(min=1)  # without positives the sums are 0, and so are the terms
        box = box + _box_loss(scale, options.bbox_loss).sum() / M_s
        cls = cls + _class_loss(scale, labels, options.label_smoothing).sum() / (M_s * scale.classes.shape[1])
        slots = B * raw.shape[1:4].numel() if options.obj_reduction == "mean" else B
        near = None if options.ignore_thresh is None else near_labels(raw, labels, grid, options.ignore_thresh)
        obj = obj + _objectness_loss(scale, options.obj_label, near, weight, options.focal_gamma).sum() / slots
    share = world_size()
    box, obj, cls = box * share, obj * share, cls * share
    return LossTerms(options.box_gain * box + options.obj_gain * obj + options.cls_gain * cls, box, obj, cls)


class _Scale(NamedTuple):
    """What the loss needs of a scale: objectness of all slots, and prediction and label of each assignment row.

    Rows of other scales and rows without a match are not `on`. They point to slot 0 and must have no weight.
    """

    on: Tensor  # [R] bool
    label: Tensor  # [R] index n
    slot: Tensor  # [R] index into the B · A · H · W slots
    objectness: Tensor  # [B · A · H · W] logits
    classes: Tensor  # [R, C] logits
    boxes: Tensor  # [R, 4] predicted
    truths: Tensor  # [R, 4]


def _look_up(raw: Tensor, grid: Grid, labels: Tensor, found: Assignment, on: Tensor) -> _Scale:
    n, b, a, i, j = (torch.where(on, index, 0) for index in found[1:6])
    objectness, values = _Gather.apply(raw, b, a, i, j, labels.dtype)
    return _Scale(
        on=on,
        label=n,
        slot=_slot(raw, b, a, i, j),
        objectness=objectness.flatten(),
        classes=values[:, 5:],
        boxes=grid.boxes(values[:, :4], a, i, j),
        truths=grid.truths(labels)[n],
    )


def _slot(raw: Tensor, b: Tensor, a: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Return the indices of predictions into the B · A · H · W slots of a scale, `[R]`."""
    _, A, H, W, _ = raw.shape
    return ((b * A + a) * H + i) * W + j


def _box_loss(scale: _Scale, kind: str) -> Tensor:
    """Return the box loss of each row, `[R]`."""
    if kind == "mse":
        x, y, w, h = (scale.boxes - scale.truths).square().unbind(-1)
        loss = (x + y) / 2 + (w + h) / 2 / 10
    else:
        loss = 1 - MEASURES[kind](scale.boxes, scale.truths)
    return torch.where(scale.on, loss, 0)


def _class_loss(scale: _Scale, labels: Tensor, smoothing: float) -> Tensor:
    """Return the class loss of each row, `[R, C]`. IndexError (on the CPU) for a class that the head does not have."""
    target = torch.full_like(scale.classes, smoothing / 2)
    target = target.scatter(1, labels[scale.label, 5, None].long(), 1 - smoothing / 2)
    return torch.where(scale.on[:, None], bce(scale.classes, target, reduction="none"), 0)


def _objectness_loss(scale: _Scale, kind: str, near: Tensor | None, weight: Tensor, gamma: float) -> Tensor:
    """Return the objectness loss of each slot, `[B · A · H · W]`. Slots that are `near` and not positive have none.

    `near` is bool `[B, A, H, W]`, or None if no slot is ignored.
    """
    with torch.no_grad():
        value = iou(scale.boxes, scale.truths).clamp(0, 1) if kind == "iou" else torch.ones_like(scale.boxes[:, 0])
        zeros = torch.zeros_like(scale.objectness)
        # The larger of two targets, so that label order does not matter. Rows that are not on write 0 to slot 0.
        target = zeros.scatter_reduce(0, scale.slot, torch.where(scale.on, value, 0), "amax")
        counted = None
        if near is not None:
            positive = zeros.scatter_reduce(0, scale.slot, scale.on.to(zeros.dtype), "amax")
            counted = (~near.flatten() | (positive > 0)).to(zeros.dtype)
    loss = bce(scale.objectness, target, counted, pos_weight=weight, reduction="none")
    if gamma:
        # The lower bound keeps the gradient of a power below 1 finite.
        loss = loss * (target - scale.objectness.sigmoid()).abs().clamp(min=1e-24).pow(gamma)
    return loss


class _Gather(torch.autograd.Function):
    """Objectness of all slots `[B, A, H, W]` and all values of some predictions `[R, 5 + C]`, in another dtype.

    Indexing would give the same values. But its gradient needs one buffer of the size of `raw` for each read, and it
    adds up repeated rows in any order. This needs one buffer per scale, in the memory layout of `raw`, and the order
    of the sum is fixed.
    """

    @staticmethod
    def forward(
        ctx: Any, raw: Tensor, b: Tensor, a: Tensor, i: Tensor, j: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(raw, b, a, i, j)
        return raw[..., 4].to(dtype, copy=True, memory_format=torch.contiguous_format), raw[b, a, i, j].to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, objectness: Tensor, rows: Tensor) -> tuple[Tensor | None, ...]:
        raw, b, a, i, j = ctx.saved_tensors
        gradient = torch.zeros_like(raw)
        gradient[..., 4] = objectness
        # Rows of the same slot are summed into the first of them and all get the sum, so the writes below agree.
        slot = _slot(raw, b, a, i, j)
        row = torch.arange(len(slot), device=slot.device)
        first = slot.new_zeros(objectness.numel()).scatter_reduce(0, slot, row, "amin", include_self=False)[slot]
        rows = torch.zeros_like(rows).index_add(0, first, rows)[first]
        rows[:, 4] += objectness[b, a, i, j]
        gradient[b, a, i, j] = rows.to(raw.dtype)
        return gradient, None, None, None, None, None


def check_shapes(
    predictions: Sequence[Tensor], labels: Tensor, heads: Sequence[Head], new_coords: bool = False
) -> None:
    """Raise ValueError for predictions or labels of the wrong shape, and for heads that the loss does not support.

    These are `[region]` heads, and without `new_coords` those that have it.
    """
    if not heads or len(heads) != len(predictions):
        raise ValueError(f"got predictions of {len(predictions)} scales for a network of {len(heads)} heads")
    for s, (raw, head) in enumerate(zip(predictions, heads, strict=True)):
        if head.region or (head.new_coords and not new_coords):
            kind = "[region]" if head.region else "[yolo] with new_coords=1"
            supported = "[yolo]" if new_coords else "plain [yolo]"
            raise ValueError(
                f"head {s} is {kind}; the loss supports {supported} heads only, so this network can only detect"
            )
        if raw.ndim != 5 or not len(raw) or raw.shape[1] != len(head.anchors) or raw.shape[4] != 5 + head.classes:
            raise ValueError(
                f"scale {s}: got predictions {list(raw.shape)}, "
                f"expected [B from 1, {len(head.anchors)}, H, W, {5 + head.classes}]"
            )
    if labels.ndim != 2 or labels.shape[1] != 6 or labels.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"got labels {list(labels.shape)} of {labels.dtype}; expected [N, 6] of float32 or float64: "
            "image, x, y, w, h, class"
        )
