"""How well anchors fit the boxes of a data set, and what anchors made for it would gain. No torch.

Letters: `G` objects, `A` anchors of all heads. Box and anchor share a centre, so only their shapes are compared
(YOLOv3 §2.1). For comparison: on VOC 2007 the mean IoU of every box with its best anchor is 0.61 for 5 anchors that
were made for that data by k-means, and 0.67 for 9 (YOLO9000, table 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from yolo.darknet.plan import FRACTIONS

GAIN = 0.07
"""The gain in mean IoU from which anchors fit badly. On the data that they were made for, the anchors of yolov3 and
yolov3-tiny (parts of COCO) gain up to 0.03 and those of toy (the embedded set) 0.06; elsewhere 0.09 to 0.24."""

FEWEST = 10  # boxes per anchor; anchors made for fewer boxes fit these boxes, not the data

SAMPLE, ROUNDS = 5_000, 1000  # boxes that are clustered, about half a second; darknet's limit


def overlaps(sizes: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes `[G, 2]` (w, h) with anchors `[A, 2]` in the same unit, float64 `[G, A]`."""
    inter = np.minimum(sizes[:, None], shapes).prod(axis=2)
    return inter / (sizes.prod(axis=1)[:, None] + shapes.prod(axis=1) - inter)


def k_means(
    points: np.ndarray, start: np.ndarray, centre: Callable[..., np.ndarray]
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Yield each round of a k-means with 1 - IoU: mean IoU of the best anchors, these anchors, and what they become.

    A point belongs to the first of its nearest anchors. An anchor without points stays, and so does a side that would
    become 0. The last round is the one in which no point changes its anchor, or the thousandth; before the first one
    every point belongs to anchor 0.

    Args:
        points: widths and heights of boxes, float64 `[G, 2]`.
        start: the first anchors, float64 `[anchors, 2]`, all above 0.
        centre: `np.mean`, as in darknet, or `np.median`.
    """
    shapes, owner = start, np.zeros(len(points), dtype=np.int64)
    for _ in range(ROUNDS):
        distance = 1 - overlaps(points, shapes)
        before, owner = owner, distance.argmin(axis=1)
        moved = shapes.copy()
        for k in np.unique(owner):
            middle = centre(points[owner == k], axis=0)
            moved[k] = np.where(middle == 0, shapes[k], middle)
        yield 1 - distance.min(axis=1).mean(), shapes, moved
        if (owner == before).all():
            return
        shapes = moved


def darknet_anchors(points: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return what darknet's `calc_anchors` makes of boxes, from the same start: float64 `[anchors, 2]` by area.

    Args:
        points: width and height of every box of the training images, stretched to the network input, `[G, 2]`.
        start: where darknet draws random boxes: their indices `[anchors]`, or any shapes `[anchors, 2]`.

    Raises ValueError if there are no boxes or no anchors, and for a start without area.
    """
    points = np.asarray(points, dtype=np.float64)
    start = np.asarray(start)
    shapes = points[start] if start.ndim == 1 else start.astype(np.float64)
    if not (len(points) and len(shapes) and (shapes > 0).all()):
        raise ValueError(f"{len(points)} boxes, {len(shapes)} anchors to start from: expected some, of sides above 0")
    *_, (_, _, last) = k_means(points, shapes, np.mean)
    return by_area(last)


def darknet_text(shapes: np.ndarray, width: int) -> str:
    """Return anchors `[anchors, 2]` as darknet prints them for an input of this width, a line for `anchors=`."""
    return ", ".join((f"{w:3.0f},{h:3.0f}" if width > FRACTIONS else f"{w:2.4f},{h:2.4f}") for w, h in shapes)


def by_area(shapes: np.ndarray) -> np.ndarray:
    """Return shapes `[G, 2]` by area, the smallest one first."""
    return shapes[shapes.prod(axis=1).argsort(kind="stable")]


def fitted_anchors(
    sizes: np.ndarray, count: int, starts: int = 1, seed: int = 0, *, darknet: bool = False
) -> np.ndarray:
    """Return `count` anchors for boxes `[G, 2]` of any unit, float64 `[count, 2]` by area: k-means with 1 - IoU.

    The first start is spread over the areas of the boxes, and each further one is `count` random boxes. A cluster's
    anchor is the median of its boxes: darknet's mean fits worse, most of all where sizes differ much (docs/data.md).
    The best round of all starts counts, because the mean IoU may fall again. With `darknet`, each start is that of a
    `darknet_anchors`, and the best of these counts.
    """
    sizes = by_area(sizes[np.linspace(0, len(sizes) - 1, min(len(sizes), SAMPLE)).astype(int)])
    generator = np.random.default_rng(seed)
    spread = ((np.arange(count) + 0.5) / count * len(sizes)).astype(int)
    begins = [spread, *(generator.choice(len(sizes), count, len(sizes) < count) for _ in range(starts - 1))]
    if darknet:
        return max((darknet_anchors(sizes, begin) for begin in begins), key=lambda shapes: fit(sizes, shapes)[0])
    rounds = (one for begin in begins for one in k_means(sizes, sizes[begin], np.median))
    return by_area(max(rounds, key=lambda one: one[0])[1])


def fit(sizes: np.ndarray, shapes: np.ndarray) -> tuple[float, float]:
    """Return the mean IoU of boxes `[G, 2]` with their best anchor, and the share of boxes for which it is from 0.5.

    That share is the best possible recall at an IoU of 0.5: of detections that have the shapes of the anchors.
    """
    best = overlaps(sizes, shapes).max(axis=1)
    return float(best.mean()), float((best >= 0.5).mean())


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
