"""Draws with replacement, and darknet's sizes of the network input."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from yolo.darknet.cfg import Cfg, parse_cfg
from yolo.recipe.draws import Replaced, ratio, size_of
from yolo.recipe.rates import rate
from yolo.recipe.recipe import Recipe
from yolo.size import Size


def detector(net: str = "", head: str = "", classes: int = 80, size: Size = Size(96, 160)) -> Cfg:  # noqa: B008
    """Return a cfg with two heads; lines of `[net]` and of the last head are added. The first head asks for nothing."""
    filters = f"[convolutional]\nfilters={5 + classes}\nsize=1\nactivation=linear\n"
    yolo = f"[yolo]\nclasses={classes}\nanchors=1,2\n"
    text = f"[net]\nwidth={size.width}\nheight={size.height}\nchannels=3\n{net}\n{filters}{yolo}"
    text += "max=0\nresize=9\nrandom=9\n"
    return parse_cfg(f"{text}[route]\nlayers=-2\n{yolo}{head}\n")


def test_draws_with_replacement() -> None:
    """Every image is as likely in every draw, and an epoch decides all of them."""
    order = Replaced(images=20, seed=3, length=4000)
    drawn = order(5)
    assert drawn.dtype == np.int64
    assert len(drawn) == len(order) == 4000
    counts = np.bincount(drawn, minlength=20)
    assert len(counts) == 20
    assert ((counts - 200) ** 2 / 200).sum() < 43.8  # chi-squared with 19 degrees of freedom, 0.1 %
    assert (drawn == Replaced(20, 3, 4000)(5)).all()
    assert (drawn != order(6)).mean() > 0.9
    assert (drawn != Replaced(20, 4, 4000)(5)).mean() > 0.9
    assert order.name != Replaced(20, 4, 4000).name
    assert order.name != Replaced(20, 3, 4001).name


@pytest.mark.parametrize("most", [1.5, 0.5, 1.0])
def test_ratio(most: float) -> None:
    """A factor is uniform between 1 and the limit, or the inverse of such a number, each half of the time."""
    random = np.random.default_rng(0)
    drawn = np.array([ratio(random, most) for _ in range(4000)])
    uniform = np.linspace(1, most, 2001)
    expected = np.concatenate((uniform, 1 / uniform))
    shares = np.linspace(0.05, 0.95, 19)
    assert np.quantile(drawn, shares) == pytest.approx(np.quantile(expected, shares), abs=0.03)


@pytest.mark.parametrize(
    ("initial", "least", "most"), [(416, 320, 608), (608, 480, 896), (512, 384, 736), (320, 256, 480)]
)
def test_sizes_of_published_networks(initial: int, least: int, most: int) -> None:
    """`random=1`: the sizes of darknet, in steps of 32."""
    cfg = detector(head="random=1", size=Size(initial, initial))
    seen = {size_of(cfg, iteration, 10**6, 0) for iteration in range(10, 10_000, 10)}
    assert seen == {Size(side, side) for side in range(least, most + 1, 32)}


def test_shares_of_sizes() -> None:
    """The sizes of 416 have the shares that a plain count over both halves of the factors gives, as the words say."""
    cfg, blocks = detector(head="random=1", size=Size(416, 416)), 3000
    seen = Counter(size_of(cfg, 10 * block, 10**6, 1).height for block in range(1, blocks + 1))
    expected = dict.fromkeys(range(320, 609, 32), 0.0)
    for v in np.linspace(1, 1.4, 4001):
        for r in (v, 1 / v):
            side = int(np.floor(r * 416 / 32 + 1 + 0.5)) * 32
            expected[416 if r < 1 and side > 416 else side] += blocks / 8002
    for side, number in expected.items():
        assert abs(seen[side] - number) < 4 * number**0.5 + 3, side


def test_when_sizes_change() -> None:
    """Every tenth step; the largest at the beginning and for the last 100 steps; one factor for both sides."""
    size = Size(256, 416)
    cfg = detector("resize_step=32", "random=1.25", size=size)
    flat = [size_of(cfg, iteration, 400, 0) for iteration in range(400)]
    blocks = [flat[k : k + 10] for k in range(0, 400, 10)]
    assert all(len(set(block)) == 1 for block in blocks)
    largest = Size(352, 544)  # 1.25 * 8 + 1 = 11 and 1.25 * 13 + 1 = 17.25 steps
    assert [block[0] for block in blocks[:1] + blocks[30:]] == [largest] * 11
    middle = [block[0] for block in blocks[1:30]]
    assert len(set(middle)) > 4
    # A factor below 1 never enlarges: there both sides are the initial ones.
    possible = set()
    for v in np.linspace(1, 1.25, 5001):
        for r in (v, 1 / v):
            both = Size(*(int(np.floor(r * side / 32 + 1.5)) * 32 for side in size))
            possible.add(size if r < 1 and (both.height > 256 or both.width > 416) else both)
    assert set(middle) <= possible
    assert size_of(cfg, 125, 400, 1) in possible
    assert {size_of(cfg, 125, 400, seed) for seed in range(9)} != {flat[125]}


def test_one_size() -> None:
    """`random=0` keeps the size, whatever `random` of another head is."""
    assert {size_of(detector(), iteration, 100, 0) for iteration in range(100)} == {Size(96, 160)}


def test_a_recipe_counts_iterations() -> None:
    """Of the mini-batches of an epoch of 100 iterations; its seed decides sizes, and rates of the policy random."""
    cfg = detector("batch=4\nsubdivisions=2\nmax_batches=400\npolicy=random", "random=1")
    recipe = Recipe(cfg, seed=3)
    assert [recipe.size_of(2, k) for k in range(200)] == [size_of(cfg, 200 + k // 2, 400, 3) for k in range(200)]
    assert recipe.rate(7) == rate(cfg.net, 7, 3) != rate(cfg.net, 7, 0)
