"""Darknet's colours in 8 bits."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
import pytest

from yolo.recipe.colour import recoloured, with_colours


def one(colour: tuple[float, float, float]) -> np.ndarray:
    """Return an image of one pixel of a colour in HSV, each from 0 to 1."""
    return (255 * np.array([[colorsys.hsv_to_rgb(*colour)]])).round().astype(np.uint8)


@pytest.mark.parametrize("hue", [0.2, 0.45, 0.7])
@pytest.mark.parametrize(("turn", "saturation", "value"), [(0.1, 1, 1), (-0.1, 1.5, 0.7), (0, 0.6, 1.2), (0, 9, 9)])
def test_colours(hue: float, turn: float, saturation: float, value: float) -> None:
    """Colours are those of a conversion to HSV and back in real numbers, up to the rounding of 8 bits."""
    expected = one((hue + turn * 179 / 180, min(0.5 * saturation, 1), min(0.6 * value, 1)))
    got = with_colours(one((hue, 0.5, 0.6)), turn, saturation, value)
    assert np.abs(got.astype(int) - expected).max() <= 5


def test_hue_does_not_wrap_below_zero() -> None:
    """Red turned back stays red; turned on it becomes orange. Above the last level the hue is that of a full turn."""
    red = one((0, 1, 1))
    assert (with_colours(red, -0.1, 1, 1) == red).all()
    assert np.abs(with_colours(red, 0.1, 1, 1).astype(int) - one((0.0995, 1, 1))).max() <= 5
    assert np.abs(with_colours(one((0.95, 1, 1)), 0.1, 1, 1).astype(int) - one((0.05, 1, 1))).max() <= 5


def test_distribution_of_colours() -> None:
    """Value and saturation are multiplied by a uniform factor or its inverse, the hue changes uniformly."""
    random, image = np.random.default_rng(0), one((0.5, 0.4, 0.4))
    seen = [cv2.cvtColor(recoloured(random, image, 0.1, 1.5, 2), cv2.COLOR_RGB2HSV)[0, 0] for _ in range(2500)]
    hue, saturation, value = np.array(seen, float).T
    shares, grid = np.linspace(0.05, 0.95, 19), np.linspace(0, 1, 2001)
    for got, limit, tolerance in ((saturation, 1.5, 4), (value, 2, 4)):
        both = np.concatenate((1 + grid * (limit - 1), 1 / (1 + grid * (limit - 1))))
        assert np.quantile(got, shares) == pytest.approx(102 * np.quantile(both, shares), abs=tolerance)
    assert np.quantile(hue, shares) == pytest.approx(90 + 17.9 * (2 * shares - 1), abs=1.5)


def test_neutral_colours_are_not_converted() -> None:
    """Without limits the pixels are exactly those of the image; a conversion to HSV and back would round them."""
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    assert (recoloured(np.random.default_rng(1), image, 0, 1, 1) == image).all()
    assert (with_colours(image, 0, 1, 1) != image).any()
