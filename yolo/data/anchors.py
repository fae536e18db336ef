"""How well anchors fit the boxes of a data set, and what anchors made for it would gain. No torch.

Letters: `G` objects, `A` anchors of all heads. Box and anchor share a centre, so only their shapes are compared
(YOLOv3 §2.1). For comparison: on VOC 2007 the mean IoU of every box with its best anchor is 0.61 for 5 anchors that
were made for that data by k-means, and 0.67 for 9 (YOLO9000, table 1).
"""

from __future__ import annotations

import numpy as np

GAIN = 0.07
"""The gain in mean IoU from which anchors fit badly. On the data that they were made for, the anchors of yolov3 and
yolov3-tiny (parts of COCO) gain up to 0.03 and those of toy (the embedded set) 0.06; elsewhere 0.09 to 0.24."""

FEWEST = 10  # boxes per anchor; anchors made for fewer boxes fit these boxes, not the data

SAMPLE, ROUNDS = 5_000, 30  # boxes that are clustered, half a second for all


def overlaps(sizes: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes `[G, 2]` (w, h) with anchors `[A, 2]` in the same unit, float64 `[G, A]`."""
    inter = np.minimum(sizes[:, None], shapes).prod(axis=2)
    return inter / (sizes.prod(axis=1)[:, None] + shapes.prod(axis=1) - inter)


def fitted_anchors(sizes: np.ndarray, count: int) -> np.ndarray:
    """Return `count` anchors for boxes `[G, 2]` of any unit, float64 `[count, 2]` by area: k-means with 1 - IoU.

    The start is spread over the areas of the boxes, so there is no randomness. A cluster's anchor is the median of its
    boxes, which fits better than their mean. The best round counts, because the mean IoU may fall again.
    """
    sizes = sizes[np.linspace(0, len(sizes) - 1, min(len(sizes), SAMPLE)).astype(int)]
    by_area = sizes[sizes.prod(axis=1).argsort(kind="stable")]
    shapes = by_area[((np.arange(count) + 0.5) / count * len(sizes)).astype(int)]
    rounds = []
    for _ in range(ROUNDS):
        overlap = overlaps(sizes, shapes)
        rounds.append((overlap.max(axis=1).mean(), shapes))
        members = [sizes[overlap.argmax(axis=1) == k] for k in range(count)]
        shapes = np.stack([np.median(own, axis=0) if len(own) else shapes[k] for k, own in enumerate(members)])
    best = max(rounds, key=lambda pair: pair[0])[1]
    return best[best.prod(axis=1).argsort(kind="stable")]


def verdict(sizes: np.ndarray, shapes: np.ndarray) -> str:
    """Return a sentence: how well anchors `[A, 2]` fit boxes `[G, 2]`, and what anchors of these boxes would gain."""
    if not len(sizes):
        return "no boxes to compare with the anchors"
    now = overlaps(sizes, shapes).max(axis=1)
    text = f"boxes have a mean IoU of {now.mean():.2f} with their best anchor, {(now < 0.5).mean():.1%} are below 0.5"
    if len(sizes) < FEWEST * len(shapes):
        return f"{text}; these {len(sizes)} boxes are too few to tell whether other anchors would fit better"
    own = overlaps(sizes, fitted_anchors(sizes, len(shapes))).max(axis=1)
    could = f"{len(shapes)} anchors made for these boxes would reach {own.mean():.2f} and {(own < 0.5).mean():.1%}"
    return f"the anchors fit {'badly' if own.mean() - now.mean() >= GAIN else 'well'}: {text}; {could}"
