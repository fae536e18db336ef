"""darknet's loss: what the `[yolo]` sections of a cfg say of training, as darknet's own gradients.

darknet has no loss function that it differentiates. It writes *deltas*, negative gradients of the raw predictions, one
truth after the other, and prints a cost that is another quantity. Both are here, and the sequence is written without
loops over images, labels and anchors.

Phase A looks at every prediction. It pushes objectness towards 0, unless the box overlaps a label by more than
`ignore_thresh`; above `truth_thresh` it is trained as a positive. Phase B gives each label to its best anchor shape,
and with `iou_thresh` to all shapes that are similar enough. Several labels in one slot: box deltas are added, the last
label decides the objectness, the first one all classes, and the others their own class.

Letters: `B` images, `N` labels, `A, H, W, C` anchors, rows, columns and classes of a head, `R` rows, which are pairs of
a label and a slot (b, a, i, j) in darknet's order. `delta` is `[B, A, H, W, 5 + C]`. Boxes are cxcywh as fractions of
the network input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from yolo.boxes import giou, iou
from yolo.darknet.cfg import Cfg
from yolo.darknet.heads import Head
from yolo.darknet.sections import Yolo
from yolo.detection.darknet_boxes import Geometry
from yolo.detection.loss import MEASURES, HasHeads, check_shapes
from yolo.detection.near_misses import best_overlaps

SEEN = 0.25  # a prediction is compared with ignore_thresh only if one of its class probabilities is above


class DarknetTerms(NamedTuple):
    """Scalars with darknet's gradient. `total` = box + obj + cls is darknet's printed loss of this batch, per image.

    `printed` has means as (sum, number): `iou` of the assigned pairs of label and prediction, `obj` their objectness,
    `no_obj` the objectness of all predictions. No gradient.
    """

    total: Tensor
    box: Tensor
    obj: Tensor
    cls: Tensor
    printed: dict[str, tuple[Tensor, Tensor]]


class HasSections(HasHeads, Protocol):
    """A network with YOLO heads and the cfg that they were made from, such as `Darknet`."""

    @property
    def cfg(self) -> Cfg: ...


def darknet_loss(
    predictions: Sequence[Tensor], labels: Tensor, model: HasSections, *, normalize: bool = True
) -> DarknetTerms:
    """Return darknet's loss of a batch, with darknet's gradient.

    Args:
        predictions: raw, for each head `[B, A, H, W, 5 + C]`: logits, or with `new_coords` values in (0, 1).
        labels: `[N, 6]` float32 or float64: (b, x_center, y_center, w, h, class), the box as fractions of the input.
            Their order within an image matters. Labels of classes that a head does not have are skipped.
        model: the network; each head is trained as its section of the cfg says.
        normalize: multiply the gradient by `delta_normalizer`, as darknet's GPU build does and its CPU build does not.

    The gradient is not the derivative of the terms. For a total whose gradient is 1 it is
    -delta · `delta_normalizer` / B; otherwise it is multiplied by the mean of the gradients of the three terms. So only
    multiples of the sum of all three are meaningful. Nothing waits for the device. Computed in float32, or in float64
    if the predictions are float64. With several processes each has the loss of its own images.

    Raises:
        ValueError: for wrong shapes, `[region]` heads, and `counters_per_class` that are not one per class.
    """
    heads = model.heads
    check_shapes(predictions, labels, heads, new_coords=True)
    sections = [cast(Yolo, model.cfg.layers[k]) for k in model.cfg.heads]
    for s, section in enumerate(sections):
        if len(section.counters_per_class) not in (0, section.classes):
            raise ValueError(
                f"head {s} has {len(section.counters_per_class)} counters_per_class for {section.classes} classes; "
                "expected one for each class"
            )
    terms, printed = _Loss.apply(labels, list(zip(heads, sections, strict=True)), normalize, *predictions)
    means = {name: (mean[0], mean[1]) for name, mean in zip(("iou", "obj", "no_obj"), printed, strict=True)}
    box, obj, cls = terms.unbind()
    return DarknetTerms(terms.sum(), box, obj, cls, means)


class _Loss(torch.autograd.Function):
    """The terms `[3]`, whose gradient darknet's deltas are, and what is printed `[3, 2]`."""

    @staticmethod
    def forward(
        ctx: Any, labels: Tensor, parts: list[tuple[Head, Yolo]], normalize: bool, *predictions: Tensor
    ) -> tuple[Tensor, Tensor]:
        found = [_deltas(raw, labels, *part) for raw, part in zip(predictions, parts, strict=True)]
        ctx.save_for_backward(*predictions, *(tensor for deltas in found for tensor in deltas[:3]))
        factors = [section.delta_normalizer if normalize else 1.0 for _, section in parts]
        ctx.factors = [-factor / len(predictions[0]) for factor in factors]
        printed = torch.stack([deltas.printed for deltas in found]).sum(0)
        ctx.mark_non_differentiable(printed)
        terms = torch.stack([deltas.terms for deltas in found]).sum(0)
        return terms / (len(parts) * len(predictions[0])), printed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        S = len(ctx.factors)
        predictions, saved = ctx.saved_tensors[:S], ctx.saved_tensors[S:]
        found = zip(predictions, saved[::3], saved[1::3], saved[2::3], ctx.factors, strict=True)
        scale = gradient.mean()
        return None, None, None, *(_written(*each[:4], scale * each[4]) for each in found)


class _Deltas(NamedTuple):
    """The deltas of a head: objectness of all slots, all values of some slots. Rows of the same slot are equal."""

    objectness: Tensor  # [B, A, H, W]
    slot: Tensor  # [R] index into the B · A · H · W slots
    rows: Tensor  # [R, 5 + C]
    terms: Tensor  # [3] cost of box, objectness, classes
    printed: Tensor  # [3, 2] sum and number of each mean


class _Truths(NamedTuple):
    """The labels: image, class and class multiplier `[N]`, boxes `[N, 4]`. Those not `known` are empty, of class 0."""

    image: Tensor
    boxes: Tensor
    c: Tensor
    m: Tensor
    known: Tensor


def _deltas(raw: Tensor, labels: Tensor, head: Head, section: Yolo) -> _Deltas:
    dtype = torch.float64 if raw.dtype == torch.float64 else torch.float32
    grid, truths = Geometry.of(raw, head, dtype), _truths(labels.to(dtype), section)
    values = raw[..., :5].movedim(-1, 0).to(dtype, memory_format=torch.contiguous_format, copy=True)
    p_obj = values[4] if head.new_coords else values[4].sigmoid()
    p_obj = torch.where(p_obj.isfinite(), p_obj, 0)
    a, i, j = (torch.arange(n, device=raw.device) for n in raw.shape[1:4])
    boxes = grid.boxes(values.unbind(), a[:, None, None], i[:, None], j)
    objectness, *rows_a = _phase_a(boxes, p_obj, head.best_class(raw) > SEEN, truths, section)
    rows = zip(rows_a, _phase_b(truths, raw, grid, section), strict=True)
    on, n, slot = (torch.cat(pair) for pair in rows)  # [R] each, in darknet's order; rows not `on` contribute nothing

    place = _place(slot, raw)
    own = raw[place].to(dtype)
    box_r = torch.stack(grid.boxes(own.unbind(-1)[:4], *place[1:]), dim=-1)
    p, truth_r, m_r, before = p_obj.flatten()[slot], truths.boxes[n], truths.m[n], objectness.flatten()[slot]
    row = torch.arange(len(on), device=raw.device)
    paired = on & (row >= len(rows_a[0]))
    together, _ = _first(torch.ones_like(on), slot, p_obj.numel())
    first, labelled = _first(on, slot, p_obj.numel())

    # Objectness: the last label decides; with objectness_smooth the first one, where phase A has left exactly 0.
    decides, decided = _first(paired, slot, p_obj.numel(), last=not section.objectness_smooth)
    decided = decided & (before == 0) if section.objectness_smooth else decided
    obj = torch.where(decided, m_r[decides] * section.obj_normalizer * (1 - p), before)
    objectness = objectness.flatten().index_put((slot,), obj).view_as(objectness)
    # Classes: the first label sets all of them, every later one its own. darknet finds out by a delta that is not 0
    # whether a slot has a label; probabilities of exactly 0 or 1 deceive it, which is not reproduced.
    p_cls = own[:, 5:] if head.new_coords else own[:, 5:].sigmoid()
    cls = torch.where(labelled[:, None], _first_class_deltas(p_cls, truths.c[n], m_r, section)[first], 0)
    own_cls = (1 - section.label_smooth_eps / 2 - p_cls.gather(1, truths.c[n, None]).squeeze(1)) * m_r
    column = torch.where(on & (row > first), truths.c[n], head.classes)  # one more column takes what is not wanted
    cls = pad(cls, (0, 1)).index_put((together, column), own_cls)[together, : head.classes]
    # Boxes: all labels are added.
    box = grid.deltas(own, box_r, truth_r, place, section) * (section.iou_normalizer * m_r)[:, None]
    if section.iou_loss != "mse":
        box = torch.where(box.isfinite(), box, 0).clamp(-section.max_delta, section.max_delta)
    box = torch.zeros_like(box).index_add(0, together, torch.where(on[:, None], box, 0))[together]
    if section.iou_thresh < 1:
        number = (cls > 0).sum(-1, keepdim=True).clamp(min=1)
        box = torch.where(obj[:, None] != 0, box / number, box)

    overlap, number = torch.where(paired, iou(box_r, truth_r), 0), paired.sum().to(dtype)
    once = labelled & (together == row)  # each slot that has a label, in one of its rows
    squares = [torch.where(once[:, None], part, 0).square().sum() for part in (box, cls)]
    terms = torch.stack((squares[0], objectness.square().sum(), squares[1]))
    if section.iou_loss != "mse" and section.show_details:
        miss = 1 - (giou if section.iou_loss == "giou" else iou)(box_r, truth_r)
        mean = torch.where(paired, miss, 0).sum() / number.clamp(min=1)
        terms = torch.cat((section.iou_normalizer * mean[None], section.obj_normalizer * terms[1:]))
    all_slots = torch.full_like(number, p_obj.numel())
    printed = torch.stack((overlap.sum(), number, torch.where(paired, p, 0).sum(), number, p_obj.sum(), all_slots))
    return _Deltas(objectness, slot, torch.cat((box, obj[:, None], cls), dim=-1), terms, printed.view(3, 2))


def _truths(labels: Tensor, section: Yolo) -> _Truths:
    """Return labels `[N, 6]` with what darknet trains of them: nothing of classes that the head does not have.

    The multiplier of a class is 1, or with counters how much rarer it is than the most frequent one.
    """
    c = labels[:, 5].long()
    known = (c >= 0) & (c < section.classes)
    c = torch.where(known, c, 0)
    counters = [max(1, counter) for counter in section.counters_per_class]
    multipliers = [min(max(counters) / counter, section.max_delta) for counter in counters] or [1.0] * section.classes
    m = _constant(multipliers, labels)[c]
    return _Truths(labels[:, 0].long(), torch.where(known[:, None], labels[:, 1:5], 0), c, m, known)


def _phase_a(
    boxes: list[Tensor], p: Tensor, likely: Tensor, truths: _Truths, section: Yolo
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the objectness deltas of all slots, `[B, A, H, W]`, and on, n, slot of no row or of one for each slot.

    `boxes` are x, y, w, h of all slots, `p` their objectness, `likely` whether they have a class, `[B, A, H, W]` each.
    """
    N_obj, positives = section.obj_normalizer, section.truth_thresh < 1 and len(truths.boxes) > 0
    best, which = best_overlaps([part.flatten(1) for part in boxes], truths.boxes, truths.image, positives)
    best, which = best.view_as(p), which.view_as(p)
    match = torch.where(likely, best, 0)
    delta = -N_obj * p
    kept = torch.maximum(delta, N_obj * (match - p)) if section.objectness_smooth else torch.zeros_like(delta)
    delta = torch.where(match > section.ignore_thresh, kept, delta)
    on = best > section.truth_thresh
    if positives:
        target = best.square() if section.objectness_smooth else torch.ones_like(best)
        delta = torch.where(on, truths.m[which] * N_obj * (target - p), delta)
    slot = torch.arange(p.numel() if positives else 0, device=p.device)
    return delta, on.flatten()[slot], which.flatten()[slot], slot


def _phase_b(truths: _Truths, raw: Tensor, grid: Geometry, section: Yolo) -> tuple[Tensor, Tensor, Tensor]:
    """Return on, n, slot of every label with every anchor, `[N · A]` each; `on` where the anchor is assigned.

    Rows that are not `on` have slot 0.
    """
    _, A, H, W, _ = raw.shape
    y, x = grid.head.strides
    pairs = _constant(section.anchors[: 2 * section.num], truths.boxes).view(-1, 2)
    anchors = pad(pairs / _constant([float(W * x), float(H * y)], pairs), (2, 0))  # boxes around 0
    shapes = pad(truths.boxes[:, None, 2:], (2, 0))
    best = iou(anchors, shapes).argmax(dim=1)
    mask = _constant(section.anchor_numbers, best)
    on = best[:, None] == mask
    if section.iou_thresh < 1:
        on = on | (MEASURES.get(section.iou_thresh_kind, iou)(anchors[mask], shapes) > section.iou_thresh)
    on = on & truths.known[:, None]
    i, j = ((truths.boxes[:, k] * n).long().clamp(0, n - 1) for k, n in ((1, H), (0, W)))
    a = torch.arange(A, device=raw.device)
    slot = torch.where(on, (truths.image[:, None] * A + a) * (H * W) + (i * W + j)[:, None], 0)
    n = torch.arange(len(best), device=raw.device)[:, None].expand_as(on)
    return on.flatten(), n.flatten(), slot.flatten()


def _first(on: Tensor, slot: Tensor, slots: int, last: bool = False) -> tuple[Tensor, Tensor]:
    """Return the first (or last) of the rows of the same slot that are `on`, and whether there is one, `[R]` each."""
    R = len(slot)
    row = torch.arange(R, device=slot.device)
    key = torch.where(on, R - 1 - row if last else row, R)
    key = slot.new_full((slots,), R).scatter_reduce(0, slot, key, "amin")[slot]
    return (R - 1 - key if last else key).clamp(0, R - 1), key < R


def _first_class_deltas(p: Tensor, c: Tensor, m: Tensor, section: Yolo) -> Tensor:
    """Return the class deltas of each row, if it is the first of its slot, `[R, C]`.

    Args:
        p: probabilities of the classes, `[R, C]`.
        c, m: class of the label, and its multiplier, `[R]` each.
        section: decides on smoothing, focal loss, and whether there are multipliers.
    """
    hot = (torch.arange(section.classes, device=p.device) == c[:, None]).to(p.dtype)
    if section.focal_loss:
        pt = p.gather(1, c[:, None]) + 1e-15
        return (hot - p) * (-0.5 * (1 - pt) * (2 * pt * pt.log() + pt - 1))
    delta = hot * (1 - section.label_smooth_eps) + section.label_smooth_eps / 2 - p
    if section.counters_per_class:
        delta = delta * torch.where(hot > 0, (m * section.cls_normalizer)[:, None], 1)
    return delta


def _written(raw: Tensor, objectness: Tensor, slot: Tensor, rows: Tensor, scale: Tensor) -> Tensor:
    """Return `scale` times the deltas, in one new tensor with the dtype and memory layout of `raw`."""
    delta = torch.zeros_like(raw)
    delta[..., 4] = objectness * scale
    delta[_place(slot, raw)] = (rows * scale).to(raw.dtype)
    return delta


def _place(slot: Tensor, raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return b, a, i, j of slots, `[R]` each."""
    _, A, H, W, _ = raw.shape
    rest, j = slot.div(W, rounding_mode="floor"), slot % W
    rest, i = rest.div(H, rounding_mode="floor"), rest % H
    return rest.div(A, rounding_mode="floor"), rest % A, i, j


def _constant(values: Sequence[Any], like: Tensor) -> Tensor:
    """Return values as a tensor of the dtype and device of `like`. Does not wait for the device."""
    return torch.tensor(values, dtype=like.dtype).to(like.device, non_blocking=True)
