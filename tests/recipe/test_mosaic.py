"""Darknet's mosaic: where its quadrants lie and what they show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.data.test_batches import sample_of
from tests.recipe.test_augment import SIZE, STILL, Images
from tests.recipe.test_draws import detector
from yolo.data.order import Draw, chance
from yolo.data.transforms import Objects
from yolo.recipe.augment import SAMPLE, DarknetAugment
from yolo.recipe.crop import Margins
from yolo.recipe.mosaic import Part, cut_point, mosaic
from yolo.size import Size


def flat(colour: int, margins: Margins, boxes: Sequence[Sequence[float]]) -> Part:
    """Return a part whose pixels are its colour, its row and its column; its image was twice as large as the input."""
    y, x = np.mgrid[: SIZE.height, : SIZE.width]
    pixels = np.stack((np.full_like(x, colour), y, x), axis=2).astype(np.uint8)
    at = np.array(boxes, float).reshape(-1, 4)
    count = len(at)
    area = (at[:, 2:] - at[:, :2]).prod(axis=1)
    return Part(pixels, Objects(at, np.full(count, colour), np.zeros(count, bool), area), margins, Size(192, 320))


def test_geometry_of_a_mosaic() -> None:
    """Each quadrant shows the side of its part towards the cut, less what was added there; boxes move along."""
    whole = [[0.0, 0, 160, 96]]
    parts = [
        flat(10, Margins(0, -40, 0, -8), whole),  # right shift 40 * 160 / 320 = 20, bottom shift 4
        flat(20, Margins(-30, 0, 0, 50), whole),  # left shift 15
        flat(30, Margins(0, 0, -300, 0), [*whole, [98.5, 50, 110, 60]]),  # top shift 40: not more than the cut's row
        flat(40, Margins(0, 0, 0, 0), [*whole, [0, 0, 1, 30], [0, 0, 1.1, 30]]),
    ]
    canvas, objects = mosaic(parts, (60, 40), bound=True)
    starts = {10: (0, 0, 80, 52), 20: (60, 0, 15, 56), 30: (0, 40, 100, 40), 40: (60, 40, 0, 0)}
    for colour, (left, top, u, v) in starts.items():
        y, x = np.nonzero(canvas[..., 0] == colour)
        assert (x.min(), y.min()) == (left, top)
        assert len(x) == (100 if left else 60) * (56 if top else 40)
        assert (canvas[y, x, 2] == x - left + u).all()
        assert (canvas[y, x, 1] == y - top + v).all()
    assert objects.labels.tolist() == [10, 20, 30, 30, 40, 40]
    expected = [
        [0, 0, 60, 40],
        [60, 0, 160, 40],
        [0, 40, 60, 96],
        [0, 50, 10, 60],
        [60, 40, 160, 96],
        [60, 40, 61.1, 70],
    ]
    assert objects.boxes == pytest.approx(np.array(expected))
    assert objects.area == pytest.approx([2400, 4000, 3360, 100, 5600, 33])
    # Not bound to its quadrant, a box ends where the input ends; one as high as the input is not kept (label 30).
    _, objects = mosaic(parts, (60, 40), bound=False)
    free = [[0, 0, 80, 44], [45, 0, 160, 40], [0, 50, 10, 60], [60, 40, 160, 96], [60, 40, 61.1, 70]]
    assert objects.boxes == pytest.approx(np.array(free))


@pytest.mark.parametrize("flip", [0, 1])
def test_half_of_the_parts_of_a_mosaic_are_pushed_to_its_middle(flip: int) -> None:
    """The corner of a pushed image meets the cut, of a mirrored one too; without it, too much is cut off there."""
    pixels = np.zeros((96, 160, 3), np.uint8)
    for rows in (slice(0, 4), slice(92, 96)):
        for columns in (slice(0, 4), slice(156, 160)):
            pixels[rows, columns] = 255
    data, seen = Images([sample_of(pixels, [])]), []
    augment = DarknetAugment(detector(f"mosaic=1\nflip={flip}", f"{STILL}\nresize=0.5"))
    for number in range(200):
        data.read = []
        image, _ = augment(data, Draw(0, 0, SIZE, number), 3)
        if len(data.read) == 4:
            random = chance(3, 0, number, use=SAMPLE)
            random.integers(1, size=3)
            x, y = cut_point(random, SIZE)
            seen += (image[0, y - 1 : y + 1, x - 1 : x + 1] > 200).flatten().tolist()
    assert len(seen) > 300
    assert abs(np.mean(seen) - 0.5) < 0.12


def test_cut_points() -> None:
    """They are uniform in the middle 60 % of both sides, with both ends."""
    random = np.random.default_rng(0)
    x, y = np.array([cut_point(random, SIZE) for _ in range(3000)]).T
    assert (x.min(), x.max(), y.min(), y.max()) == (32, 128, 19, 76)
    assert (x.mean(), y.mean()) == pytest.approx((80, 47.5), abs=1.7)
    assert (x.var(), y.var()) == pytest.approx(((97**2 - 1) / 12, (58**2 - 1) / 12), rel=0.06)
