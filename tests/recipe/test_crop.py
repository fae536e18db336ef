"""Darknet's crop: the formulas of its margins, written out; the pixels; the mean colour around the image."""

from __future__ import annotations

import numpy as np
import pytest

from yolo.recipe.crop import Margins, crop, cropped_boxes
from yolo.size import Size


class Constant:
    """Random numbers that are all the same."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self, count: int) -> np.ndarray:
        return np.full(count, self.value)


@pytest.mark.parametrize(
    ("value", "resize", "expected"),
    [  # 333 x 101, jitter 0.3: reach 99 and 30
        (0.0, 1.0, (-99, -99, -30, -30)),
        (0.0, 1.5, (-182, -182, -55, -55)),  # low: int(-83.25), int(-25.25)
        (0.999999, 1.5, (152, 152, 44, 44)),  # int(98.99…) + 55.49… of which int(55.5) = 55 is the limit
        (0.5, 1.5, (-14, -14, -4, -4)),  # (-83 + 55) / 2, (-25 + 16) / 2 = -4.5
        (0.0, 0.8, (-140, -140, -42, -42)),  # only larger crops: int(-41.6), int(-12.6)
        (0.999999, 0.8, (97, 97, 28, 28)),
    ],
)
def test_margins_in_whole_pixels(value: float, resize: float, expected: tuple[int, ...]) -> None:
    """The ends and the middle of the ranges, truncated to whole pixels after each step."""
    margins = Margins.drawn(Constant(value), Size(101, 333), 0.3, resize)  # type: ignore[arg-type]
    assert margins == pytest.approx(expected, abs=0)


@pytest.mark.parametrize(("resize", "low", "high"), [(1.5, -0.25, 1 / 6), (0.6, -1 / 3, 0), (1, 0, 0)])
def test_distribution_of_margins(resize: float, low: float, high: float) -> None:
    """A margin is the sum of two uniform numbers; only left and top, and right and bottom, share one."""
    random, size, jitter = np.random.default_rng(0), Size(600, 1000), 0.2
    drawn = np.array([Margins.drawn(random, size, jitter, resize) for _ in range(3000)]) / (1000, 1000, 600, 600)
    grid = np.linspace(0, 1, 401)
    exact = np.add.outer((2 * grid - 1) * jitter, low + grid * (high - low))
    shares = np.linspace(0.05, 0.95, 19)
    for side in drawn.T:
        assert np.quantile(side, shares) == pytest.approx(np.quantile(exact, shares), abs=0.02)
    zoom, both = (high - low) ** 2 / 12, np.cov(drawn.T)
    expected = np.diag([zoom + (2 * jitter) ** 2 / 12] * 4)
    expected[[0, 2, 1, 3], [2, 0, 3, 1]] = zoom
    assert both == pytest.approx(expected, abs=1.2e-3)


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (Size(416, 416), (0, 0, -80, -80)),  # 640 x 640
        (Size(256, 416), (-70, -70, 0, 0)),  # 780 x 480
        (Size(480, 640), (0, 0, 0, 0)),
    ],
)
def test_letterbox(net: Size, expected: tuple[int, ...]) -> None:
    """Margins of a letterbox are added to the others."""
    image = Size(480, 640)
    assert Margins().letterboxed(image, net) == expected
    assert Margins(3, -5, 7, 11).letterboxed(image, net) == tuple(np.add((3, -5, 7, 11), expected))


def test_pushed_and_invalid() -> None:
    """A pushed crop keeps its size and ends at the image's edge; one without image is the whole image."""
    margins, image = Margins(30, -10, 8, 4), Size(50, 100)
    assert margins.pushed(right=True, down=False) == (20, 0, 0, 12)
    assert margins.pushed(right=False, down=True) == (0, 20, 12, 0)
    assert margins.mirrored() == (-10, 30, 8, 4)
    assert margins.valid(image) == margins
    assert Margins(60, 40, 0, 0).valid(image) == Margins()
    assert Margins(-300, 100, 0, 0).valid(image) == Margins()


@pytest.mark.parametrize(
    "margins", [Margins(), Margins(10, 4, 3, 20), Margins(-15, -6, 7, -9), Margins(-40, 30, -1, 0)]
)
def test_pixels(margins: Margins) -> None:
    """The crop has the pixels of a slow bilinear resize of the padded image; a box is resized with it."""
    image, net = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8), Size(44, 61)
    left, right, top, bottom = margins
    around = ((60, 60), (60, 60), (0, 0))
    mean = [round(float(image[..., c].mean())) for c in range(3)]
    padded = np.stack([np.pad(image[..., c], around[:2], constant_values=mean[c]) for c in range(3)], axis=2)
    part = padded[60 + top : 110 - bottom, 60 + left : 130 - right].astype(float)
    height, width = part.shape[:2]
    ys, xs = ((np.arange(n) + 0.5) * side / n - 0.5 for n, side in ((net.height, height), (net.width, width)))
    ys, xs = ys.clip(0, height - 1), xs.clip(0, width - 1)
    y, x = (np.floor(place).astype(int) for place in (ys, xs))
    below, beside = np.minimum(y + 1, height - 1), np.minimum(x + 1, width - 1)
    v, u = (ys - y)[:, None, None], (xs - x)[None, :, None]
    rows = [part[row][:, x] * (1 - u) + part[row][:, beside] * u for row in (y, below)]
    expected = rows[0] * (1 - v) + rows[1] * v
    assert np.abs(crop(image, margins, net) - expected).max() <= 1.01
    box = np.array([[left, top, 70 - right, 50 - bottom], [0, 0, 70, 50]], float)
    moved = cropped_boxes(box, margins, Size(50, 70), net)
    assert moved[0] == pytest.approx([0, 0, 61, 44])
    scale = 61 / width, 44 / height
    assert moved[1] == pytest.approx([-left * scale[0], -top * scale[1], (70 - left) * scale[0], (50 - top) * scale[1]])


def test_mean_colour_around_the_image() -> None:
    """What is added to an image has exactly its mean colour, rounded."""
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, 3:] = (200, 101, 7)
    padded = crop(image, Margins(-2, 0, 0, -4), Size(8, 8))
    assert (padded[:, :2] == (100, 50, 4)).all()
    assert (padded[4:] == (100, 50, 4)).all()
    assert (padded[:4, 2:] == image).all()
