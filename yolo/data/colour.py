"""Hue, saturation and brightness by one table."""

from __future__ import annotations

import cv2
import numpy as np

from yolo.options import Augment


def colour_table(random: np.random.Generator, options: Augment) -> np.ndarray | None:
    """A table uint8 `[1, 256, 3]` for hue, saturation and value; None if the options change none of them."""
    turn = random.uniform(-options.hue, options.hue)
    saturation, value = (_factor(random, most) for most in (options.saturation, options.value))
    if options.hue == 0 and options.saturation == options.value == 1:
        return None
    level = np.arange(256)
    columns = ((level + round(256 * turn)) % 256, level * saturation, level * value)
    return np.stack([np.rint(column).clip(0, 255) for column in columns], axis=1).astype(np.uint8)[None]


def recolour(pixels: np.ndarray, table: np.ndarray) -> None:
    """Changes the uint8 RGB pixels `[h, w, 3]` in their place."""
    channels = cv2.split(
        cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL)
    )  # three tables of one channel are faster than one
    hsv = cv2.merge([cv2.LUT(channel, table[..., c]) for c, channel in enumerate(channels)])
    cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL, dst=pixels)


def _factor(random: np.random.Generator, most: float) -> float:
    """From 1 / most to most; half of them enlarge."""
    return float(np.exp(random.uniform(-1, 1) * np.log(most)))
