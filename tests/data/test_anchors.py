"""Anchors: darknet's calc_anchors from the same start, against a plain oracle; and anchors made for boxes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.anchor_oracle import Pair, calc_anchors, calc_anchors_text
from yolo.data.anchors import darknet_anchors, darknet_text, fit, fitted_anchors, k_means


def drawn(generator: np.random.Generator, boxes: int) -> np.ndarray:
    """Return boxes `[G, 2]` whose sides are even numbers of pixels, so that there are equal ones and sums are exact."""
    return np.minimum(2 * generator.lognormal(3, 0.9, (boxes, 2)).astype(int) + 2, 400).astype(np.float64)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [1, 3, 6, 9])
def test_the_anchors_are_darknets_from_the_same_start(seed: int, count: int) -> None:
    """Equal to the last bit, from random boxes and from given shapes, and so is what is printed."""
    generator = np.random.default_rng(100 * count + seed)
    points = drawn(generator, 60)
    start = generator.permutation(60)[:count]
    expected = calc_anchors(points.tolist(), points[start].tolist())
    assert darknet_anchors(points, start).tolist() == [list(pair) for pair in expected]
    shapes = generator.uniform(1, 300, (count, 2))
    other = calc_anchors(points.tolist(), shapes.tolist())
    assert darknet_anchors(points, shapes).tolist() == [list(pair) for pair in other]
    for width in (13, 32, 33, 416):
        assert darknet_text(np.array(expected), width) == calc_anchors_text(expected, width)


@pytest.mark.parametrize(
    ("points", "start", "expected"),
    [
        ([(10, 10), (12, 12)], [(11, 11), (300, 1)], [(11, 11), (300, 1)]),  # no box for the second: it stays
        ([(10, 10), (20, 20)], [(16, 16), (16, 16)], [(15, 15), (16, 16)]),  # equal anchors: the first one has all
        ([(0, 8), (0, 16)], [(4, 10)], [(4, 12)]),  # a width that would become 0 stays
        ([(30, 30), (1, 1)], [(30, 30), (1, 1)], [(1, 1), (30, 30)]),  # by area
    ],
)
def test_rare_cases(points: list[Pair], start: list[Pair], expected: list[Pair]) -> None:
    """Anchors without boxes, equal anchors, sides that become 0, and the order; the oracle agrees."""
    found = darknet_anchors(np.array(points, dtype=np.float64), np.array(start, dtype=np.float64))
    assert found.tolist() == [list(pair) for pair in expected]
    assert calc_anchors(points, start) == expected


def test_what_darknet_prints() -> None:
    """Whole pixels in three places; in cells, up to a width of 32, four digits."""
    shapes = np.array([[10.4, 9.6], [116, 90], [1000.5, 3]])
    assert darknet_text(shapes, 416) == " 10, 10, 116, 90, 1000,  3"
    assert darknet_text(shapes[:2] / 32, 13) == "0.3250,0.3000, 3.6250,2.8125"


def test_the_rounds_end() -> None:
    """With the round in which no box changes its anchor, whose anchors stay; and after a thousand rounds anyway."""
    generator = np.random.default_rng(3)
    points = drawn(generator, 200)
    rounds = list(k_means(points, points[:5], np.mean))
    assert 2 < len(rounds) < 1000
    assert np.array_equal(rounds[-1][1], rounds[-1][2])
    assert not np.array_equal(rounds[-2][1], rounds[-2][2])
    assert len(list(k_means(points, points[:1], np.mean))) == 1  # all boxes belong to anchor 0 before the first round
    # Anchors that change places in every round.
    points = np.array([[1.0, 1], [100, 100]])
    assert len(list(k_means(points, points, lambda own, axis: 101 - own.mean(axis=axis)))) == 1000


def test_a_start_without_area_or_boxes_is_refused() -> None:
    """With the numbers that were given."""
    with pytest.raises(ValueError, match="0 boxes, 1 anchors"):
        darknet_anchors(np.empty((0, 2)), np.ones((1, 2)))
    with pytest.raises(ValueError, match="sides above 0"):
        darknet_anchors(np.array([[0.0, 5], [4, 4]]), np.array([0, 1]))


def test_further_starts_fit_better() -> None:
    """Eight starts fit better than the first of them, are the same for a seed, and medians fit better than means."""
    sizes = np.random.default_rng(5).lognormal(3, 0.9, (400, 2))
    one, many = fitted_anchors(sizes, 7), fitted_anchors(sizes, 7, 8, seed=1)
    assert fit(sizes, many)[0] > fit(sizes, one)[0]
    assert np.array_equal(many, fitted_anchors(sizes, 7, 8, seed=1))
    means = fitted_anchors(sizes, 7, 8, seed=1, darknet=True)
    assert fit(sizes, means)[0] < fit(sizes, many)[0]
    assert (np.diff(means.prod(axis=1)) >= 0).all()


def test_fit() -> None:
    """The mean of the best overlaps, and the share of those from 0.5, which is included."""
    assert fit(np.array([[10.0, 10], [20, 10], [10, 5], [1, 1]]), np.array([[10, 10]])) == (0.5025, 0.75)
