"""Darknet's changes of colours in 8 bits: hue, saturation and exposure.

Letters: `h, w` height and width of the network input in pixels. All images are uint8 RGB `[h, w, 3]`.
"""

from __future__ import annotations

import numpy as np

from yolo.images.opencv import cv2
from yolo.recipe.draws import ratio


def recoloured(
    random: np.random.Generator, image: np.ndarray, hue: float, saturation: float, exposure: float
) -> np.ndarray:
    """Return an image with random colours.

    Args:
        random: random numbers of the image; as many are drawn whatever the limits are.
        image: uint8 `[h, w, 3]`.
        hue: largest change of hue, in turns.
        saturation, exposure: limits of the factors on saturation and value.
    """
    turn = hue * (2 * random.random() - 1)
    factors = ratio(random, saturation), ratio(random, exposure)
    return image if turn == 0 and factors == (1, 1) else with_colours(image, turn, *factors)


def with_colours(image: np.ndarray, turn: float, saturation: float, exposure: float) -> np.ndarray:
    """Return an image with its hue turned and its saturation and value multiplied.

    In 8-bit HSV a hue has 180 levels. Below 0 it stays at 0 as in darknet: red does not turn to violet.
    """
    levels = np.arange(256)
    table = np.stack((levels + 179 * turn, levels * saturation, levels * exposure), axis=1)
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table.round().clip(0, 255).astype(np.uint8)[:, None])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
