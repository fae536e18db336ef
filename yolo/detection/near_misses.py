"""Near misses: predictions that are not positives but overlap an object, which `ignore_thresh` ignores.

A label has at most one positive per scale, but neighbouring predictions see the same object and often predict it well.
Training them as background would punish a good prediction. So YOLOv3 (§2.1) ignores every prediction whose box has an
IoU above a threshold with any label of its image.

Letters: `B` images, `P` predictions of one image, `N` labels in the batch, `Q` blocks of `K` labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from yolo.detection.grid import Grid


def near_labels(raw: Tensor, labels: Tensor, grid: Grid, threshold: float) -> Tensor:
    """Return which predictions of a head have an IoU above `threshold` with any label of their image.

    Args:
        raw: predictions of the head, `[B, A, H, W, 5 + C]`.
        labels: `[N, 6]`; their dtype is that of the arithmetic.
        grid: the grid of the head.
        threshold: of the IoU, from 0 to 1.

    Returns:
        bool `[B, A, H, W]`. Positives are among them. No gradient.
    """
    with torch.no_grad():
        boxes = grid.all_boxes(raw[..., :4].to(labels.dtype)).flatten(1, 3)
        near = _near_any(boxes, grid.truths(labels), labels[:, 0].long(), threshold)
        return near.view(raw.shape[:4])


def _near_any(boxes: Tensor, labels: Tensor, images: Tensor, threshold: float) -> Tensor:
    """Return which boxes `[B, P, 4]` have an IoU above `threshold` with any label of their image, bool `[B, P]`.

    `boxes` and `labels` `[N, 4]` are cxcywh in the same unit, `images` int64 `[N]` is the image of each label.
    """
    if len(labels) == 0:
        return torch.zeros(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
    table, _, owner = _table(labels, images, len(boxes))
    near = _any_above(boxes.unbind(-1), table.unbind(-1), owner, threshold)
    return torch.zeros(boxes.shape[:2], dtype=torch.int32, device=boxes.device).index_add(0, owner, near) > 0


def best_overlaps(boxes: Sequence[Tensor], labels: Tensor, images: Tensor, which: bool) -> tuple[Tensor, Tensor]:
    """Return the largest IoU of each box with the labels of its image, `[B, P]`, and which label it is, int64 `[B, P]`.

    Args:
        boxes: x, y, w, h of the predictions, `[B, P]` each.
        labels: boxes cxcywh in the same unit, `[N, 4]`.
        images: the image of each label, int64 `[N]`.
        which: whether the labels are wanted: the first one that has the largest IoU. Otherwise all are 0.

    Without labels both are 0. A box without area or with numbers that are not finite may have the overlap NaN.
    """
    nothing = torch.zeros_like(boxes[0])
    if len(labels) == 0:
        return nothing, nothing.long()
    table, numbers, owner = _table(labels, images, len(nothing))
    inter, areas = _intersections(boxes, table.unbind(-1), owner)
    # inter / (a + b) grows with the IoU, inter / (a + b - inter), so its maximum is where that of the IoU is.
    shares = inter.div_(areas)
    rows = owner[:, None].expand(-1, nothing.shape[1])
    share = nothing.scatter_reduce(0, rows, shares.amax(dim=1), "amax")
    label = nothing.long()
    if which:
        first = torch.where(shares == share[owner][:, None], numbers[..., None], len(labels)).amin(dim=1)
        label = (label + len(labels)).scatter_reduce(0, rows, first, "amin").clamp(max=len(labels) - 1)
    return share / (1 - share), label


def _table(labels: Tensor, images: Tensor, B: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the blocks of labels `[N, 4]`: boxes `[Q, K, 4]`, their numbers n `[Q, K]`, the image of each `[Q]`.

    The number of labels of each image is known on the device only. So the labels of every image are split into blocks
    of `K` = N / B, rounded up. Whatever their distribution, there are at most `Q` = N / K + B blocks. Each is compared
    with the predictions of its own image: (N + B · K) · P pairs instead of B · N · P.
    """
    N = len(labels)
    K = -(-N // B)
    Q = N // K + B
    block, place = _blocks(images, B, K)
    # Unused places and blocks hold boxes without area, which overlap nothing.
    table = labels.new_zeros(Q, K, 4).index_put((block, place), labels)
    numbers = images.new_full((Q, K), N).index_put((block, place), torch.arange(N, device=images.device))
    return table, numbers, images.new_zeros(Q).index_put((block,), images)


def _blocks(images: Tensor, B: int, K: int) -> tuple[Tensor, Tensor]:
    """Return each label's block and its place in it, 0 to K - 1, int64 `[N]` each. A block has labels of one image."""
    order = images.argsort(stable=True)
    counts = images.new_zeros(B).index_add(0, images, torch.ones_like(images))
    filled = (counts + K - 1).div(K, rounding_mode="floor")
    first_label, first_block = counts.cumsum(0) - counts, filled.cumsum(0) - filled
    position = torch.empty_like(order).index_put((order,), torch.arange(len(order), device=order.device))
    rank = position - first_label[images]  # among the labels of its image
    return first_block[images] + rank.div(K, rounding_mode="floor"), rank.remainder(K)


def _any_above(boxes: tuple[Tensor, ...], table: tuple[Tensor, ...], owner: Tensor, threshold: float) -> Tensor:
    """Return which boxes `[B, P]` x 4 of image `owner` `[Q]` overlap any of K labels `[Q, K]` x 4, int32 `[Q, P]`.

    IoU > t without a division: inter / (a + b - inter) > t if and only if inter > (a + b) · t / (1 + t).
    """
    inter, areas = _intersections(boxes, table, owner, threshold / (1 + threshold))
    return (inter > areas).any(dim=1).to(torch.int32)  # not uint8: an image may have over 255 blocks


def _intersections(
    boxes: Sequence[Tensor], table: Sequence[Tensor], owner: Tensor, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return the areas of intersections, and `share` of the sum of both boxes' areas, `[Q, K, P]` each.

    The boxes of image `owner` `[Q]` of `[B, P]` x 4 meet K labels `[Q, K]` x 4.
    """
    cx, cy, w, h = (value[owner][:, None] for value in boxes)  # [Q, 1, P]
    lx, ly, lw, lh = (value[..., None] for value in table)  # [Q, K, 1]
    inter = torch.minimum(cx + w / 2, lx + lw / 2).sub_(torch.maximum(cx - w / 2, lx - lw / 2)).clamp_(min=0)
    inter *= torch.minimum(cy + h / 2, ly + lh / 2).sub_(torch.maximum(cy - h / 2, ly - lh / 2)).clamp_(min=0)
    return inter, w * h * share + lw * lh * share
