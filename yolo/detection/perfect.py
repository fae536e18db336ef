"""What a network predicts that has learned its labels perfectly, and which objects even that network loses.

The path is that of training: labels, assignment, and the inverse of the boxes of the loss (`grid.py`). Detection, which
decodes in its own way, must find the objects in these predictions.

Letters: `B` images, `N` labels of the batch, `G` objects of an image, `S` scales; `A, H, W, C` anchors, rows, columns
and classes of a scale. A slot is the place of one prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from yolo.boxes import iou
from yolo.darknet.heads import Head
from yolo.detection.assign import assign
from yolo.detection.grid import make_grids
from yolo.detection.labels import pack_labels, untrained
from yolo.size import Size

CERTAIN = 20.0
"""Logit of a perfect prediction: in float32 its sigmoid is 1, and that of its opposite 2e-9."""

FATES = (
    "no anchor is responsible for it",
    "shares its cell with another object",
    "its box is beyond what the head can predict",
    "",
)
"""What becomes of a label; the last one is found."""

FOUND = len(FATES) - 1


def perfect(
    raw: Sequence[Tensor], targets: Sequence[Mapping[str, Any]], heads: Sequence[Head], size: Size, rule: str
) -> tuple[list[Tensor], list[list[str]], str]:
    """Return the perfect predictions of a batch.

    Args:
        raw: the network's predictions, for each head `[B, A, H, W, 5 + C]`; `blank` ones unless the rule reads them.
        targets: for each image a `yolo.data.sample.Target`, with boxes in pixels of the input.
        heads: the heads of the network, of a kind that the loss supports.
        size: height and width of the input in pixels.
        rule: the assignment of the run, a key of `assign.SCORES`.

    Returns:
        Raw predictions as those of the network. For each image and object why it is lost, empty if it is found. And
        the settings that would lose fewer objects, as text; empty if none would.
    """
    labels = pack_labels(targets, size).to(raw[0].device)
    positives, fate = _learn(raw, labels, heads, rule)
    predictions = []
    for scale, (n, b, a, i, j, values) in zip(raw, positives, strict=True):
        prediction = torch.full(scale.shape, -CERTAIN, device=scale.device)
        prediction[b, a, i, j, :4] = values.float()
        prediction[b, a, i, j, 4] = prediction[b, a, i, j, 5 + labels[n, 5].long()] = CERTAIN
        predictions.append(prediction)
    lost = [untrained(target) for target in targets]
    labelled = [(reasons, g) for reasons in lost for g, reason in enumerate(reasons) if not reason]
    for (reasons, g), k in zip(labelled, fate, strict=True):
        reasons[g] = FATES[k]
    return predictions, lost, _remedy(labels, heads, size, rule, fate)


def blank(heads: Sequence[Head], size: Size, images: int) -> list[Tensor]:
    """Return zeros in the shape of the predictions of B `images` for an input, in no memory."""
    shapes = [(len(head.anchors), *(side // head.stride for side in size), 5 + head.classes) for head in heads]
    return [head.anchors.new_zeros(()).expand(images, *shape) for head, shape in zip(heads, shapes, strict=True)]


def _learn(
    raw: Sequence[Tensor], labels: Tensor, heads: Sequence[Head], rule: str
) -> tuple[list[tuple[Tensor, ...]], list[int]]:
    """Return for each scale what it learns, and for each label its place in `FATES`.

    A scale learns labels n in slots b, a, i, j, int64 `[M]` each, and their raw boxes, float64 `[M, 4]`. Of labels that
    share a slot the last one has it.
    """
    s, *indices = assign(raw, labels, heads, rule).compact()
    fate, labels = torch.zeros_like(labels[:, 0], dtype=torch.int64), labels.double()
    fate[indices[0]] = 1
    positives: list[tuple[Tensor, ...]] = []
    for k, (scale, grid) in enumerate(zip(raw, make_grids(raw, heads, labels.dtype), strict=True)):
        n, b, a, i, j = (index[s == k] for index in indices)
        _, A, H, W, _ = scale.shape
        slot = ((b * A + a) * H + i) * W + j
        owner = torch.zeros(scale.shape[:4].numel(), dtype=torch.int64, device=n.device)
        has_it = owner.scatter_reduce(0, slot, n, "amax")[slot] == n
        n, b, a, i, j = (index[has_it] for index in (n, b, a, i, j))
        truths = grid.truths(labels)[n]
        values = grid.values(truths, a, i, j)
        comes_back = iou(grid.boxes(values, a, i, j), truths) >= 0.5
        fate = fate.scatter_reduce(0, n, torch.where(comes_back, FOUND, FOUND - 1), "amax")
        positives.append((n, b, a, i, j, values))
    return positives, fate.tolist()


def _remedy(labels: Tensor, heads: Sequence[Head], size: Size, rule: str, fate: Sequence[int]) -> str:
    """Return which other assignments, and whether a larger input, would lose fewer labels than `fate`.

    They are compared without the network, so `prediction` is not among them, and its larger input is unknown.
    """
    lost, images = len(fate) - fate.count(FOUND), int(labels[:, 0].max()) + 1 if len(labels) else 0
    larger = Size(2 * size.height, 2 * size.width)
    others = [(f"--assign {other}", other, size) for other in ("ratio", "prior") if other != rule]
    others += [(f"--size {larger}", rule, larger)] if rule != "prediction" else []
    better = []
    for words, other, input_size in others if lost else []:
        count = sum(k < FOUND for k in _learn(blank(heads, input_size, images), labels, heads, other)[1])
        better += [f"{words} would lose {count} instead of {lost}"] if count < lost else []
    return ", ".join(better)
