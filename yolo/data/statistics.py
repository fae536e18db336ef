"""Tables of a data set: classes, box sizes, and the anchors that the boxes resemble.

Letters: `G` objects, `w, h` width and height in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from yolo.darknet.plan import Plan, anchors
from yolo.data.anchors import overlaps, verdict
from yolo.data.index import Index
from yolo.files.shown import one_line
from yolo.images.placement import Placement
from yolo.size import Size

EDGES = (32**2, 96**2)  # square pixels; COCO's small, medium, large

QUANTILES = (0, 5, 25, 50, 75, 95, 100)  # percent


def totals(indices: Mapping[str, Index]) -> list[str]:
    """Return a table with a line for each split: images, boxes, crowds, COCO's three sizes by area."""
    lines = ["split            images   empty     boxes  crowd     small    medium     large"]
    for split, index in indices.items():
        empty = int((np.diff(index.offsets) == 0).sum())
        sizes = np.bincount(np.digitize(index.area, EDGES), minlength=3)
        lines.append(
            f"{split:<16} {len(index):>8,} {empty:>7,} {len(index.labels):>9,} {int(index.crowd.sum()):>6,} "
            + " ".join(f"{count:>9,}" for count in sizes)
        )
    return lines


def class_table(indices: Mapping[str, Index]) -> list[str]:
    """Return a table with a line for each class: its boxes in every split, crowds included.

    All splits must have the same class names.
    """
    names = [one_line(name) for name in next(iter(indices.values())).names]
    width = max(len("class"), *map(len, names))
    counts = [np.bincount(index.labels, minlength=len(names)) for index in indices.values()]
    lines = [f"index  {'class':<{width}}  " + "  ".join(f"{split:>10}" for split in indices)]
    lines += [
        f"{k:>5}  {name:<{width}}  " + "  ".join(f"{count[k]:>10,}" for count in counts) for k, name in enumerate(names)
    ]
    return lines


def network_sizes(index: Index, size: Size, *, letterbox: bool = True) -> np.ndarray:
    """Return width and height of every box in pixels of the network input, float64 `[G, 2]`."""
    # One placement for each size that images have.
    kinds, kind = np.unique(index.sizes, axis=0, return_inverse=True)
    placed = [Placement.of(Size(int(h), int(w)), size, letterbox=letterbox).placed.wh for w, h in kinds]
    scale = np.array(placed, dtype=np.float64).reshape(-1, 2) / kinds
    return (index.boxes[:, 2:] - index.boxes[:, :2]) * scale[kind.reshape(-1)[index.image]]


def quantiles(sizes: np.ndarray) -> list[str]:
    """Return a table of the quantiles of widths and heights `[G, 2]`."""
    lines = ["percent of boxes " + "".join(f"{percent:>8}" for percent in QUANTILES)]
    for name, values in zip(("width", "height"), sizes.T, strict=True):
        shown = np.percentile(values, QUANTILES) if len(values) else []
        lines.append(f"{name:<17}" + "".join(f"{value:>8.1f}" for value in shown))
    return lines


def nearest(sizes: np.ndarray, heads: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the anchor of the highest IoU for each of the box sizes `[G, 2]`, and that IoU.

    Box and anchor share a centre, so only their shapes are compared (YOLOv3 §2.1).

    Args:
        sizes: widths and heights `[G, 2]` in pixels of the network input.
        heads: anchors `[A, 2]` of every head, in the same unit.

    Returns:
        int64 `[G]`, the anchor counted through all heads, the first of equal ones; float64 `[G]`.
    """
    overlap = overlaps(sizes, np.concatenate(heads))
    return overlap.argmax(axis=1), overlap.max(axis=1)


def anchor_table(index: Index, plan: Plan, *, letterbox: bool = True) -> list[str]:
    """Return a table with a line for each anchor and head: the boxes that resemble it most, their share, mean IoU.

    Below it is a sentence on how well all of them fit. Crowds and boxes without area are not counted.
    """
    sizes = learned_sizes(index, plan.size, letterbox=letterbox)
    return [*head_table(sizes, plan), verdict(sizes, np.concatenate(anchors(plan)))]


def learned_sizes(index: Index, size: Size, *, letterbox: bool = True) -> np.ndarray:
    """Return `network_sizes` of the boxes that are learned: without crowds and boxes without area."""
    sizes = network_sizes(index, size, letterbox=letterbox)[~index.crowd]
    return sizes[(sizes > 0).all(axis=1)]


def head_table(sizes: np.ndarray, plan: Plan) -> list[str]:
    """Return a table with a line for each anchor and head: which of the boxes `[G, 2]` in network pixels it has."""
    # The best anchor of every box, and how many boxes each anchor has.
    heads = anchors(plan)
    best, overlap = nearest(sizes, heads)
    counts = np.bincount(best, minlength=sum(map(len, heads)))
    everything = max(len(sizes), 1)
    # A line for each anchor of a head, then one for the head.
    lines, first = ["head  stride  anchor        boxes  share  mean IoU"], 0
    for s, head in enumerate(heads):
        stride = plan.layers[plan.cfg.heads[s]].stride[1]
        for k, (w, h) in enumerate(head, start=first):
            mean = f"{overlap[best == k].mean():>9.2f}" if counts[k] else f"{'-':>9}"
            lines.append(
                f"{s:>4}  {stride!s:>6}  {f'{w:g} x {h:g}':<11} {counts[k]:>7,} {counts[k] / everything:>6.1%} {mean}"
            )
        share = counts[first : first + len(head)].sum() / everything
        lines.append(f"{s:>4}  {stride!s:>6}  {'all':<19} {share:>6.1%}")
        first += len(head)
    return lines
