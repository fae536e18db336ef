"""Sizes in pixels, height before width. No torch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Self

from yolo.pixels import check_pixels

if TYPE_CHECKING:
    import numpy as np


class Size(NamedTuple):
    """Height and width of an image or of the network input, in pixels; printed as `WIDTHxHEIGHT`."""

    height: int
    width: int

    @classmethod
    def of(cls, pixels: np.ndarray) -> Self:
        """Return the size of an array `[h, w, ...]`."""
        return cls(pixels.shape[0], pixels.shape[1])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the size that `416` or `WIDTHxHEIGHT` means. Raises ValueError for other texts."""
        match = re.fullmatch(r"([1-9][0-9]{0,5})(?:x([1-9][0-9]{0,5}))?", text)
        if match is None:
            raise ValueError(f"size {text!r}: expected pixels as N or WIDTHxHEIGHT, such as 416 or 640x384")
        return cls(int(match[2] or match[1]), int(match[1]))

    @classmethod
    def of_json(cls, value: object) -> Self:
        """Return the network input that a list of height and width means, as metadata have it.

        Raises ValueError for anything else, and for more than `max_pixels`.
        """
        sides = value if isinstance(value, list) else []
        if len(sides) != 2 or any(type(side) is not int or not 0 < side < 1_000_000 for side in sides):
            raise ValueError(f"size {str(value)[:60]}: expected height and width in pixels, such as [416, 416]")
        size = cls(*sides)
        check_pixels(*size.wh, "the network input")
        return size

    @property
    def wh(self) -> tuple[int, int]:
        """Width, height: the order of OpenCV, Pillow and of x, y."""
        return self.width, self.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"
