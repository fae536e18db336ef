"""Darknet's random crop: margins that are cut off or added, and the resize of the rest to the network input.

Letters: `G` boxes, `h, w` height and width of the network input in pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from yolo.images.opencv import cv2
from yolo.size import Size


class Margins(NamedTuple):
    """Pixels of an image that are cut off at its four sides; what is negative is added to the image."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    @classmethod
    def drawn(cls, random: np.random.Generator, image: Size, jitter: float, resize: float) -> Margins:
        """Return random margins of an image.

        Each margin differs by up to `jitter` of its side. Then the crop is zoomed between 1 / resize and `resize`, for
        `resize` below 1 only between it and 1. Left and top have the same zoom, right and bottom have another one.
        All is truncated to whole pixels after every step, as in darknet.
        """
        sides, zooms = np.repeat(image.wh, 2).tolist(), random.random(2).tolist() * 2
        margins, strength = [], max(resize, 1 / resize)
        for side, share, zoom in zip(sides, random.random(4).tolist(), zooms, strict=True):
            reach = int(side * jitter)
            low = int(side * (1 - strength) / 2)
            high = int(side * (1 - 1 / strength) / 2) if resize > 1 else 0
            margins.append(int(int(2 * reach * share - reach) + low + zoom * (high - low)))
        return cls(*margins)

    def letterboxed(self, image: Size, net: Size) -> Margins:
        """Return margins that give the crop of a whole image the proportions of the network input."""
        (width, height), (w, h) = image.wh, net.wh
        if width * h > w * height:
            more = (width * h / w - height) / 2
            return self._replace(top=int(self.top - more), bottom=int(self.bottom - more))
        more = (height * w / h - width) / 2
        return self._replace(left=int(self.left - more), right=int(self.right - more))

    def pushed(self, *, right: bool, down: bool) -> Margins:
        """Return margins of the same crop, pushed to the right or left end of the image and to its lower or upper end.

        What is cut off or added is then at the other ends.
        """
        x, y = self.left + self.right, self.top + self.bottom
        return Margins(*((x, 0) if right else (0, x)), *((y, 0) if down else (0, y)))

    def valid(self, image: Size) -> Margins:
        """Return these margins, or none if they leave nothing of the image."""
        left, right, top, bottom = (max(side, 0) for side in self)
        return self if left + right < image.width and top + bottom < image.height else Margins()

    def size(self, image: Size) -> Size:
        """Return the size of the crop in pixels of the image."""
        return Size(image.height - self.top - self.bottom, image.width - self.left - self.right)

    def mirrored(self) -> Margins:
        """Return the margins of the mirrored image."""
        return Margins(self.right, self.left, self.top, self.bottom)


def crop(image: np.ndarray, margins: Margins, net: Size) -> np.ndarray:
    """Return the crop of a uint8 image `[height, width, 3]`, resized to uint8 `[h, w, 3]`: a copy.

    Around the image is its mean colour. Nothing is averaged where the crop shrinks, as in darknet.
    """
    left, right, top, bottom = margins
    height, width = Size.of(image)
    part = image[max(top, 0) : height - max(bottom, 0), max(left, 0) : width - max(right, 0)]
    if min(margins) < 0:
        above, below, before, after = (max(-side, 0) for side in (top, bottom, left, right))
        part = cv2.copyMakeBorder(part, above, below, before, after, cv2.BORDER_CONSTANT, value=cv2.mean(image))
    return cv2.resize(part, net.wh, interpolation=cv2.INTER_LINEAR)


def cropped_boxes(boxes: np.ndarray, margins: Margins, image: Size, net: Size) -> np.ndarray:
    """Return boxes xyxy `[G, 4]` of an image of that size in pixels of the network input, float64, not clipped."""
    scale = np.array(net.wh) / margins.size(image).wh
    return (boxes - np.array([margins.left, margins.top] * 2)) * np.tile(scale, 2)
