"""Darknet's mosaic: parts of four augmented images around a random point.

Letters: `G` objects of a part, `h, w` height and width of the network input in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from yolo.data.transforms import Objects
from yolo.recipe.crop import Margins
from yolo.size import Size


class Part(NamedTuple):
    """An augmented image: uint8 `[h, w, 3]`, its objects, and how it was made.

    `margins` are those of the crop as it is seen, after mirroring; `image` is the size of the image before the crop.
    """

    pixels: np.ndarray
    objects: Objects
    margins: Margins
    image: Size


def cut_point(random: np.random.Generator, net: Size) -> tuple[int, int]:
    """Return a random point x, y in the middle 60 % of the input, in whole pixels."""
    x, y = (int(random.integers(int(side * 0.2), int(side * 0.8), endpoint=True)) for side in net.wh)
    return x, y


def mosaic(parts: Sequence[Part], cut: tuple[int, int], *, bound: bool) -> tuple[np.ndarray, Objects]:
    """Return the mosaic of four parts, uint8 `[h, w, 3]`, and its objects.

    Each quadrant shows the side of its part that lies towards the cut, less what was added there to the image.

    Args:
        parts: upper left, upper right, lower left, lower right.
        cut: x, y of the point where they meet.
        bound: clip boxes to their quadrant; else they are clipped to the input only, and may reach over other parts.
    """
    canvas, found = np.empty_like(parts[0].pixels), []
    net = Size.of(canvas)
    for k, part in enumerate(parts):
        (left, right, top, bottom), (width, height) = part.margins, part.image.wh
        x0, x1, u = _window(bool(k % 2), cut[0], net.width, left * net.width, right * net.width, width)
        y0, y1, v = _window(k > 1, cut[1], net.height, top * net.height, bottom * net.height, height)
        canvas[y0:y1, x0:x1] = part.pixels[v : v + y1 - y0, u : u + x1 - x0]
        moved = part.objects._replace(boxes=part.objects.boxes + np.array([x0 - u, y0 - v] * 2))
        found.append(clipped(moved, (x0, y0, x1, y1) if bound else (0, 0, *net.wh)))
    objects = joined(found)
    # Darknet wants more than a pixel here, and less than the input.
    sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
    return canvas, Objects(*(field[((sides > 1) & (sides < net.wh)).all(axis=1)] for field in objects))


def joined(parts: Sequence[Objects]) -> Objects:
    """Return the objects of all parts, in their order."""
    return Objects(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def clipped(objects: Objects, window: tuple[int, int, int, int]) -> Objects:
    """Return objects clipped to the window (left, top, right, bottom), without those of less than a pixel there.

    An area shrinks as its box does.
    """
    boxes = objects.boxes.clip(window[:2] * 2, window[2:] * 2)
    (sides, whole) = (xyxy[:, 2:] - xyxy[:, :2] for xyxy in (boxes, objects.boxes))
    area = objects.area * sides.prod(axis=1) / np.maximum(whole.prod(axis=1), 1e-12)
    return Objects(*(field[(sides >= 1).all(axis=1)] for field in objects._replace(boxes=boxes, area=area)))


def _window(second: bool, cut: int, side: int, near: int, far: int, image: int) -> tuple[int, int, int]:
    """Return begin and end of a quadrant along one axis, and the first pixel of the part that it shows.

    Args:
        second: whether the quadrant is the one after the cut.
        cut, side: the cut and the end of the input.
        near, far: margins of the part at its begin and end, times `side`.
        image: length of the image of the part.
    """
    if second:
        return cut, side, min(cut, max(0, -near) // image)
    return 0, cut, side - cut - min(side - cut, max(0, -far) // image)
