"""An image in the network input: letterbox or stretch, scaling, moving and mirroring in one resize; rotation.

Letters: `G` boxes, `h, w` height and width in pixels. Coordinates are continuous: pixel k reaches from k to k + 1.
Rectangles are left, top, right, bottom.

A warp maps a rectangle of whole pixels of the image to one of whole pixels of the input. So it is a crop and a resize.
That is more than twice as fast as a general affine warp, and exact for boxes. Only a rotation needs the general one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from yolo.images.opencv import cv2
from yolo.images.resize import GREY
from yolo.size import Size

KEPT_AREA = 0.2  # a box is dropped if less than this part of its area is left: too little of the object is seen

KEPT_SIDE = 2.0  # input pixels; a box is dropped if it is cut to a thinner one: no cell could locate it

Rectangle = tuple[int, int, int, int]


class Warp(NamedTuple):
    """Maps the pixels `source` of the image to the pixels `target` of the canvas, `mirrored` left to right or not.

    Both are empty where the whole image lies outside the canvas. `even`: width and height have one scale, up to whole
    pixels.
    """

    source: Rectangle
    target: Rectangle
    mirrored: bool = False
    even: bool = True

    @classmethod
    def fit(
        cls,
        image: Size,
        canvas: Size,
        *,
        shape: Size | None = None,
        zoom: float = 1,
        move: tuple[float, float] = (0, 0),
        mirrored: bool = False,
    ) -> Warp:
        """Return the warp that fits the whole image into the middle of the canvas and then changes that.

        Args:
            image, canvas: their sizes.
            shape: a size with the proportions that the image gets; by default it keeps its own.
            zoom: factor about the centre of the image.
            move: pixels of the canvas to the right and down.
            mirrored: whether left and right are swapped.

        What then lies outside the canvas is cut off.
        """
        shape = shape or image
        scale = zoom * min(canvas.height / shape.height, canvas.width / shape.width)
        (x0, x1, u0, u1), (y0, y1, v0, v1) = (
            _stretch(side, room, scale * (shown / side), room / 2 + shift - scale * shown / 2)
            for side, shown, room, shift in zip(image.wh, shape.wh, canvas.wh, move, strict=True)
        )
        if mirrored:
            x0, x1 = image.width - x1, image.width - x0
        return cls((x0, y0, x1, y1), (u0, v0, u1, v1), mirrored, shape == image)

    @property
    def scale(self) -> tuple[float, float]:
        """Width and height of one pixel of the image on the canvas, in pixels."""
        x0, y0, x1, y1 = self.source
        u0, v0, u1, v1 = self.target
        return (u1 - u0) / max(x1 - x0, 1), (v1 - v0) / max(y1 - y0, 1)

    def pixels(self, image: np.ndarray, canvas: np.ndarray) -> None:
        """Draw the uint8 image `[h, w, 3]` onto the canvas, uint8 `[canvas h, canvas w, 3]`, with grey around it."""
        x0, y0, x1, y1 = self.source
        u0, v0, u1, v1 = self.target
        canvas[:] = GREY
        if u0 == u1 or v0 == v1:
            return
        part = image[y0:y1, x0:x1]
        resized = cv2.resize(self.halved(part), (u1 - u0, v1 - v0), interpolation=cv2.INTER_LINEAR)
        canvas[v0:v1, u0:u1] = cv2.flip(resized, 1) if self.mirrored else resized

    def halved(self, image: np.ndarray) -> np.ndarray:
        """Return the image with sides halved, by averaging, until the rest of the warp shrinks them to half at most.

        A bilinear resize to less than half would skip pixels. At an edge only one pixel may be visible.
        """
        times = [_halvings(min(self.scale) if self.even else scale) for scale in self.scale]
        for k in range(max(times)):
            half = [max(side // 2, 1) if k < n else side for side, n in zip(image.shape[1::-1], times, strict=True)]
            image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
        return image

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Return boxes xyxy `[G, 4]` of the image in pixels of the canvas, not clipped."""
        x0, y0, x1, _ = self.source
        (scale_x, scale_y), (left, top, _, _) = self.scale, self.target
        x = left + (x1 - boxes[:, 2::-2] if self.mirrored else boxes[:, 0::2] - x0) * scale_x
        y = top + (boxes[:, 1::2] - y0) * scale_y
        return np.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), axis=1)


class Turned(NamedTuple):
    """A warp, and then a rotation about the middle of the image on the canvas. What the warp cuts off may be in view.

    `angle` is in degrees, clockwise as it is seen; `image` is the size of the image.
    """

    warp: Warp
    angle: float
    image: Size

    @property
    def scale(self) -> tuple[float, float]:
        """Those of the warp: a rotation changes no area."""
        return self.warp.scale

    @property
    def matrix(self) -> np.ndarray:
        """Float64 `[2, 3]`: maps x, y, 1 of the image to x, y of the canvas."""
        width, height = self.image.wh
        (left, top), (right, _), (_, bottom) = (
            self.warp.boxes(np.array([[x, y, x, y]], float))[0, :2] for x, y in ((0, 0), (width, 0), (0, height))
        )
        flat = np.array([[(right - left) / width, 0], [0, (bottom - top) / height]])
        middle = np.array([left + right, top + bottom]) / 2
        cosine, sine = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        turn = np.array([[cosine, -sine], [sine, cosine]])
        return np.column_stack((turn @ flat, middle + turn @ (np.array([left, top]) - middle)))

    def pixels(self, image: np.ndarray, canvas: np.ndarray) -> None:
        """Draw the uint8 image `[h, w, 3]` onto the canvas, uint8 `[canvas h, canvas w, 3]`, with grey around it."""
        canvas[:] = GREY
        if 0 in self.scale:
            return
        small, matrix = self.warp.halved(image), self.matrix
        matrix[:, :2] *= np.array(image.shape[1::-1]) / small.shape[1::-1]
        matrix[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5  # OpenCV counts from the centre of the first pixel
        canvas[:] = cv2.warpAffine(small, matrix, canvas.shape[1::-1], flags=cv2.INTER_LINEAR, borderValue=[GREY] * 3)

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Return the boxes xyxy `[G, 4]` on the canvas around the turned boxes of the image, not clipped."""
        corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] @ self.matrix[:, :2].T + self.matrix[:, 2]  # [G, 4, 2]
        return np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)


def _stretch(side: int, room: int, scale: float, start: float) -> tuple[int, int, int, int]:
    """Return the visible pixels of the image along one axis, and the pixels of the canvas that show them.

    Args:
        side, room: lengths of image and canvas in pixels.
        scale: pixels of the canvas per pixel of the image.
        start: where the image begins on the canvas.

    Returns:
        Begin and end (exclusive) on the image, begin and end on the canvas; all 0 where nothing is visible.
    """
    # On the canvas: whole pixels, inside it.
    first, last = (min(max(round(end), 0), room) for end in (start, start + scale * side))
    if first >= last:
        return 0, 0, 0, 0
    # On the image: the same pixels, a length that can be halved as often as `Warp.pixels` does it.
    begin, end = (min(max(round((place - start) / scale), 0), side) for place in (first, last))
    begin = min(begin, side - 1)
    step = 2 ** _halvings(scale)
    length = max((end - begin) // step * step, 1)
    return begin, begin + length, first, last


def _halvings(scale: float) -> int:
    """Return how often an image is halved before it is resized to `scale`."""
    return max(0, int(-np.log2(scale))) if scale < 1 else 0


def clipped(boxes: np.ndarray, window: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes xyxy `[G, 4]` clipped to the window (left, top, right, bottom), and which to keep, bool `[G]`.

    A box is kept if `KEPT_AREA` of it and `KEPT_SIDE` pixels are left. A box without area is never kept.
    """
    left, top, right, bottom = window
    cut = np.stack((boxes[:, 0::2].clip(left, right), boxes[:, 1::2].clip(top, bottom)), axis=2).reshape(-1, 4)
    sides, whole = cut[:, 2:] - cut[:, :2], boxes[:, 2:] - boxes[:, :2]
    keep = (sides.prod(1) >= KEPT_AREA * whole.prod(1)) & (sides >= np.minimum(KEPT_SIDE, whole)).all(1)
    return cut, keep & (whole > 0).all(1)
