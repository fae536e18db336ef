"""The learning rates of a cfg: those that darknet printed, and every policy by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.darknet.test_golden import SHARED, needs_shared
from yolo.darknet.cfg import read_cfg
from yolo.darknet.net import Net
from yolo.recipe.rates import rate

NET = Net(width=32, height=32, channels=3, learning_rate=0.1, max_batches=1000)


def rates(*updates: int, **keys: object) -> list[float]:
    """Return the rates of some updates."""
    net = replace(NET, **keys)  # type: ignore[arg-type]
    return [rate(net, t) for t in updates]


@needs_shared
@pytest.mark.parametrize("run", ["v3", "v4"])
def test_rates_that_darknet_printed(run: str) -> None:
    """Burn-in and two steps, and two steps without burn-in: each of 12 updates, to the 6 digits of the console."""
    folder = SHARED / "training-runs" / run
    net = read_cfg(folder / "net.cfg").net
    printed = json.loads((folder / "losses.json").read_text())
    assert len(printed) == 12
    assert [round(rate(net, row["iteration"]), 6) for row in printed] == [row["rate"] for row in printed]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"policy": "constant"}, {1: 0.1, 1000: 0.1}),
        ({"policy": "constant", "burn_in": 10}, {1: 0.1 * 1e-4, 5: 0.1 / 16, 9: 0.1 * 0.9**4, 10: 0.1, 11: 0.1}),
        ({"policy": "constant", "burn_in": 10, "power": 1}, {1: 0.01, 5: 0.05, 10: 0.1}),
        ({"policy": "step", "step": 100, "scale": 0.5}, {1: 0.1, 99: 0.1, 100: 0.05, 199: 0.05, 200: 0.025}),
        ({"policy": "exp", "gamma": 0.99}, {1: 0.099, 2: 0.09801}),
        ({"policy": "exp", "gamma": 0.99, "burn_in": 3}, {2: 0.1 * (2 / 3) ** 4, 3: 0.1 * 0.99**3}),
        ({"policy": "poly", "power": 2}, {100: 0.081, 500: 0.025, 1000: 0, 1001: 0}),
        ({"policy": "poly"}, {500: 0.00625}),
        ({"policy": "sigmoid", "gamma": 0.1, "step": 500}, {500: 0.05, 510: 0.1 / (1 + 2.718281828459045), 9**9: 0}),
    ],
)
def test_policies_by_hand(keys: dict[str, object], expected: dict[int, float]) -> None:
    """The formula of every policy at its edges; the burn-in comes before the policy."""
    assert rates(*expected, **keys) == pytest.approx(list(expected.values()), rel=1e-12)


@pytest.mark.parametrize(
    ("steps", "scales", "expected"),
    [
        ((400, 450), (0.1, 0.1), {399: 0.1, 400: 0.01, 449: 0.01, 450: 0.001, 1000: 0.001}),
        ((-1, 100, 200), (0.1, 10, 0.1), {1: 0.01, 99: 0.01, 100: 0.1, 200: 0.01}),  # yolov2-tiny-voc.cfg
        ((300, 200), (0.1, 0.5), {250: 0.1, 299: 0.1, 300: 0.005}),  # the search stops at the first larger step
    ],
)
def test_steps_by_hand(steps: tuple[int, ...], scales: tuple[float, ...], expected: dict[int, float]) -> None:
    """A step counts from its own update on; a negative one from the start; an unsorted one waits."""
    keys = {"policy": "steps", "steps": steps, "scales": scales}
    assert rates(*expected, **keys) == pytest.approx(list(expected.values()), rel=1e-12)
    late = rates(5, 9, 10, policy="steps", steps=(4,), scales=(0.5,), burn_in=10)
    assert late == pytest.approx([0.1 / 16, 0.1 * 0.9**4, 0.05])


def test_sgdr_by_hand() -> None:
    """Half a cosine from lr to the minimum, in cycles of 100, 200, 400 updates; the end of a cycle is its minimum."""
    low, middle = 0.02, 0.06
    keys = {"policy": "sgdr", "learning_rate_min": low}
    assert rates(500, 1000, **keys) == pytest.approx([middle, low])  # one cycle of max_batches
    doubling = rates(50, 100, 200, 300, 500, 700, **keys, sgdr_cycle=100)
    assert doubling == pytest.approx([middle, low, middle, low, middle, low])
    equal = rates(101, 150, 200, 950, **keys, sgdr_cycle=100, sgdr_mult=1)
    assert equal[1:] == pytest.approx([middle, low, middle])
    assert 0.0999 < equal[0] < 0.1


def test_random_is_a_function_of_the_update() -> None:
    """lr·u^power: the same at every call, another for every update and seed, with the mean of the formula."""
    net = replace(NET, policy="random", power=1.0)
    drawn = [rate(net, t) for t in range(1, 2001)]
    assert drawn == [rate(net, t) for t in range(1, 2001)]
    assert len({*drawn, rate(net, 1, seed=1)}) == 2001
    assert 0 <= min(drawn) < max(drawn) < 0.1
    assert sum(drawn) / 2000 == pytest.approx(0.05, abs=0.1 / 12**0.5 / 2000**0.5 * 4)  # four standard errors
    assert rate(replace(net, power=4.0), 7) == pytest.approx(0.1 * (drawn[6] / 0.1) ** 4)
