"""Near misses: predictions that are not positives but overlap an object, which `ignore_thresh` ignores.

A label has at most one positive per scale, but neighbouring predictions see the same object and often predict it well.
Training them as background would punish a good prediction. So YOLOv3 (§2.1) ignores every prediction whose box has an
IoU above a threshold with any label of its image.

Letters: `B` images, `P` predictions of one image, `N` labels in the batch, `Q` blocks of `K` labels.
"""

from __future__ import annotations

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

    The number of labels of each image is known on the device only. So the labels of every image are split into blocks
    of `K` = N / B, rounded up. Whatever their distribution, there are at most `Q` = N / K + B blocks. Each is compared
    with the predictions of its own image: (N + B · K) · P pairs instead of B · N · P.
    """
    B, N = len(boxes), len(labels)
    if N == 0:
        return torch.zeros(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
    K = -(-N // B)
    Q = N // K + B
    block, place = _blocks(images, B, K)
    # Unused places and blocks hold boxes without area, which overlap nothing.
    table = labels.new_zeros(Q, K, 4).index_put((block, place), labels)
    owner = images.new_zeros(Q).index_put((block,), images)
    near = _any_above(boxes.unbind(-1), table.unbind(-1), owner, threshold)
    return torch.zeros(boxes.shape[:2], dtype=torch.int32, device=boxes.device).index_add(0, owner, near) > 0


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
    cx, cy, w, h = (value[owner][:, None] for value in boxes)  # [Q, 1, P]
    lx, ly, lw, lh = (value[..., None] for value in table)  # [Q, K, 1]
    share = threshold / (1 + threshold)
    inter = torch.minimum(cx + w / 2, lx + lw / 2).sub_(torch.maximum(cx - w / 2, lx - lw / 2)).clamp_(min=0)
    inter *= torch.minimum(cy + h / 2, ly + lh / 2).sub_(torch.maximum(cy - h / 2, ly - lh / 2)).clamp_(min=0)
    return (
        (inter > w * h * share + lw * lh * share).any(dim=1).to(torch.int32)
    )  # not uint8: an image may have over 255 blocks
