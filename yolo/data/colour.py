"""Hue, saturation and brightness by one matrix.

A colour is its brightness and, around the grey axis, its hue (an angle) and saturation (a distance): the YIQ space of
television. Turning, stretching and brightening there is a 3 x 3 matrix on RGB, eight times as fast as the way through
HSV and back, and without its rounding of hues.
"""

from __future__ import annotations

import cv2
import numpy as np

from yolo.options.augment import Augment

YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""RGB to brightness and two colour axes (NTSC 1953)."""


def colour_matrix(random: np.random.Generator, options: Augment) -> np.ndarray | None:
    """A float64 matrix `[3, 3]` on RGB columns; None if the options change no colours."""
    turn = 2 * np.pi * random.uniform(-options.hue, options.hue)
    saturation, value = (most ** random.uniform(-1, 1) for most in (options.saturation, options.value))
    if options.hue == 0 and options.saturation == options.value == 1:
        return None
    return recolouring(turn, saturation, value)


def recolouring(turn: float, saturation: float, value: float) -> np.ndarray:
    """The matrix `[3, 3]` that turns hues by so many radians and multiplies saturation and brightness."""
    cosine, sine = saturation * np.cos(turn), saturation * np.sin(turn)
    return value * np.linalg.solve(YIQ, np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ YIQ)


def recolour(pixels: np.ndarray, matrix: np.ndarray) -> None:
    """Changes the uint8 RGB pixels `[h, w, 3]` in their place; what leaves 0 to 255 is cut."""
    cv2.transform(pixels, matrix.astype(np.float32), dst=pixels)
