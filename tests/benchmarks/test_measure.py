"""The race that all benchmarks share: order of turns, warm-up, and the numbers made of it."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from tests.support.paths import ROOT


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/measure.py, which is not part of a package."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("measure")


def test_contenders_take_turns(measure: ModuleType) -> None:
    """Each has one turn in a round; rounds of warm-up do not count, and a slow contender leaves later rounds out."""
    order: list[str] = []

    def turn(name: str, *values: float) -> list[float]:
        order.append(name)
        return [value + len(order) for value in values]

    contenders = {"a": lambda: turn("a", 0, 100), "slow": lambda: turn("slow", 0), "b": lambda: turn("b", 0)}
    figures = measure.race(contenders, 2, warmup=1, at_most={"slow": 1})
    assert order == ["a", "slow", "b"] * 2 + ["a", "b"]
    assert figures["a"].turns == [[4, 104], [7, 107]]
    assert figures["slow"].turns == [[5]]
    assert figures["b"].turns == [[6], [8]]


def test_numbers_of_a_contender(measure: ModuleType) -> None:
    """Spread and median are of all measurements; ratios compare the medians of the same turn."""
    one, other = measure.Figures([[1, 2, 9], [4]]), measure.Figures([[4], [2, 2, 100]])
    assert one.values == [1, 2, 9, 4]
    assert one.median == 3
    assert one.spread("5.1f") == "  1.0   3.0   9.0"
    assert one.over(other) == [0.5, 2]


def test_the_device_has_finished_before_the_clock_is_read(measure: ModuleType) -> None:
    """`timed` waits for the device before and after each call, and gives one positive number a call."""
    order: list[str] = []
    turn = measure.timed(lambda: order.append("call"), 2, unit=1e3, wait=lambda: order.append("wait"))
    values = turn()
    assert order == ["wait", "call", "wait"] * 2
    assert len(values) == 2
    assert min(values) > 0
