"""One map from an image into the network input: letterbox, scaling, moving and mirroring in one resize.

Letters: `G` boxes, `h, w` height and width in pixels. Continuous coordinates, as everywhere: pixel k reaches from k to
k + 1. Rectangles are left, top, right, bottom, sizes written as a pair are (width, height), as in `Placement`.

The map takes a rectangle of whole pixels of the image to one of whole pixels of the input. So it is a crop and a
resize, more than twice as fast as a general affine warp, and what it does to boxes is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from yolo.images.resize import GREY
from yolo.size import Size

KEPT_AREA = 0.2  # a box that is cut to less than this part of itself is dropped: too little of the object is left

KEPT_SIDE = 2.0  # input pixels: so is one that is thinner, for no cell could place it

Rectangle = tuple[int, int, int, int]


class Warp(NamedTuple):
    """`source` pixels of the image go to `target` pixels of the canvas, mirrored left to right if asked. Nothing is
    drawn where the image lies outside: then both are empty."""

    source: Rectangle
    target: Rectangle
    mirrored: bool = False

    @classmethod
    def fit(
        cls, image: Size, canvas: Size, *, zoom: float = 1, move: tuple[float, float] = (0, 0), mirrored: bool = False
    ) -> Warp:
        """The whole image in the middle of the canvas, then mirrored, enlarged by `zoom` about its centre, moved by
        `move` pixels; what lies outside is cut off."""
        scale = zoom * min(canvas.height / image.height, canvas.width / image.width)
        (x0, x1, u0, u1), (y0, y1, v0, v1) = (
            _stretch(side, room, scale, room / 2 + shift - scale * side / 2)
            for side, room, shift in zip(image.wh, canvas.wh, move, strict=True)
        )
        if mirrored:
            x0, x1 = image.width - x1, image.width - x0
        return cls((x0, y0, x1, y1), (u0, v0, u1, v1), mirrored)

    @property
    def scale(self) -> tuple[float, float]:
        """Width and height of a pixel of the image on the canvas."""
        x0, y0, x1, y1 = self.source
        u0, v0, u1, v1 = self.target
        return (u1 - u0) / max(x1 - x0, 1), (v1 - v0) / max(y1 - y0, 1)

    def pixels(self, image: np.ndarray, canvas: np.ndarray) -> None:
        """Draws the uint8 image `[h, w, 3]` onto the canvas `[., ., 3]`; grey where it does not reach."""
        x0, y0, x1, y1 = self.source
        u0, v0, u1, v1 = self.target
        canvas[:] = GREY
        if u0 == u1 or v0 == v1:
            return
        part = image[y0:y1, x0:x1]
        for _ in range(_halvings(min(self.scale))):  # a bilinear resize to less than half would skip pixels
            half = (
                max(part.shape[1] // 2, 1),
                max(part.shape[0] // 2, 1),
            )  # at an edge one pixel may be all that is seen
            part = cv2.resize(part, half, interpolation=cv2.INTER_AREA)
        resized = cv2.resize(part, (u1 - u0, v1 - v0), interpolation=cv2.INTER_LINEAR)
        canvas[v0:v1, u0:u1] = cv2.flip(resized, 1) if self.mirrored else resized

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes xyxy `[G, 4]` of the image on the canvas, not clipped."""
        x0, y0, x1, _ = self.source
        (scale_x, scale_y), (left, top, _, _) = self.scale, self.target
        x = left + (x1 - boxes[:, 2::-2] if self.mirrored else boxes[:, 0::2] - x0) * scale_x
        y = top + (boxes[:, 1::2] - y0) * scale_y
        return np.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), axis=1)


def _stretch(side: int, room: int, scale: float, start: float) -> tuple[int, int, int, int]:
    """Along one axis: first and last pixel of the image that are seen, and first and last of the canvas there.

    `side` and `room` are the lengths of image and canvas, the image begins at `start` on the canvas. The seen part
    can be halved as often as `Warp.pixels` will.
    """
    first, last = (min(max(round(end), 0), room) for end in (start, start + scale * side))
    if first >= last:
        return 0, 0, 0, 0
    begin, end = (min(max(round((place - start) / scale), 0), side) for place in (first, last))
    begin = min(begin, side - 1)
    step = 2 ** _halvings(scale)
    length = max((end - begin) // step * step, 1)
    return begin, begin + length, first, last


def _halvings(scale: float) -> int:
    """How often an image is halved before it is resized to `scale`."""
    return max(0, int(-np.log2(scale))) if scale < 1 else 0


def clipped(boxes: np.ndarray, window: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes xyxy `[G, 4]` cut to the window (left, top, right, bottom), and which are worth keeping, bool `[G]`: those
    of which a fifth and two pixels are left. A box without area is never kept."""
    left, top, right, bottom = window
    cut = np.stack((boxes[:, 0::2].clip(left, right), boxes[:, 1::2].clip(top, bottom)), axis=2).reshape(-1, 4)
    sides, whole = cut[:, 2:] - cut[:, :2], boxes[:, 2:] - boxes[:, :2]
    keep = (sides.prod(1) >= KEPT_AREA * whole.prod(1)) & (sides >= np.minimum(KEPT_SIDE, whole)).all(1)
    return cut, keep & (whole > 0).all(1)
