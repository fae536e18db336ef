"""The sums and means of an epoch, and the best epoch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.support.train_problems import difference
from yolo.models.detector import Losses
from yolo.training.totals import Best, Totals

CPU = torch.device("cpu")


def losses(box: float, cls: float, labels: int) -> Losses:
    """Of a batch, with gradient."""
    terms = {"box": torch.tensor(box, requires_grad=True), "cls": torch.tensor(cls, requires_grad=True)}
    return Losses(terms, {"labels": torch.tensor(labels)})


def filled() -> Totals:
    """Three images with a box loss of 1, one with 5; gradient norms of 2 and 4."""
    totals = Totals(CPU)
    totals.add(losses(1.0, 0.5, 7), 3)
    totals.add_step(2.0)
    totals.add(losses(5.0, 0.5, 2), 1)
    totals.add_step(4.0)
    return totals


EXPECTED = {"train/loss": 2.5, "train/box": 2.0, "train/cls": 0.5, "train/labels": 9}
EXPECTED |= {"train/gradient": 3.0, "train/gradient_max": 4.0}


def test_by_hand() -> None:
    """Terms are means over images and not over batches, counts are sums; afterwards everything begins at 0."""
    totals = filled()
    found = totals.take()
    assert found == EXPECTED
    assert list(found) == list(EXPECTED)
    assert isinstance(found["train/labels"], int)
    totals.add(losses(7.0, 1.0, 1), 2)
    assert totals.take() == {"train/loss": 8.0, "train/box": 7.0, "train/cls": 1.0, "train/labels": 1}


def test_sums_are_of_double_precision_and_without_gradient() -> None:
    """Ten thousand batches of 0.1 in float32 are added without rounding; no graph is kept alive."""
    totals, one = Totals(CPU), losses(0.1, 0.0, 0)
    for _ in range(10_000):
        totals.add(one, 1)
    assert totals.terms["box"].dtype == torch.float64
    assert not totals.terms["box"].requires_grad
    assert totals.take()["train/box"] == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


def test_what_was_added_continues() -> None:
    """From the state in the middle of an epoch: the same numbers, and the same state again."""
    totals = Totals(CPU)
    totals.add(losses(1.0, 0.5, 7), 3)
    totals.add_step(2.0)
    state, other = totals.state_dict(), Totals(CPU)
    other.load_state_dict(state)
    assert difference(other.state_dict(), state) == ""
    other.add(losses(5.0, 0.5, 2), 1)
    other.add_step(4.0)
    assert other.take() == EXPECTED


def test_means_are_of_all_that_they_are_over() -> None:
    """Of labels, for example: sums of both parts over batches, and over an interruption. Over nothing there is none."""

    def given(part: float, number: float) -> Losses:
        means = {"iou": (torch.tensor(part), torch.tensor(number)), "none": (torch.tensor(0.0), torch.tensor(0.0))}
        return losses(1.0, 1.0, 1)._replace(means=means)

    totals, other = Totals(CPU), Totals(CPU)
    totals.add(given(0.5, 1), 8)
    state = totals.state_dict()
    other.load_state_dict(state)
    assert difference(other.state_dict(), state) == ""
    for found in (totals, other):
        found.add(given(1.75, 2), 1)
        values = found.take()
        assert values["train/iou"] == 0.75
        assert "train/none" not in values
        assert found.ratios == {}
    del state["ratios"]  # older checkpoints have none
    other.load_state_dict(state)
    other.add(given(1.75, 2), 1)
    assert other.take()["train/iou"] == 0.875


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("AP", [0.1, 0.3, 0.3, 0.2], [0, 1, 1, 1]),  # the first of two equal ones
        ("AP", [0.0, 0.0, 0.5], [0, 0, 2]),
        ("AP", [math.nan, 0.25, math.nan, 0.125, 0.5], [0, 1, 1, 1, 4]),  # any number is better than none
        ("val/loss", [3.0, 4.0, 2.0], [0, 0, 2]),  # of a loss the lowest
        ("AP", [None, None, 0.0, None], [-1, -1, 2, 2]),  # not defined: never the best
    ],
)
def test_best(metric: str, values: list[float | None], best: list[int]) -> None:
    """Which epoch is the best one after each."""
    found = Best(metric)
    assert found.epoch == -1
    for epoch, (value, expected) in enumerate(zip(values, best, strict=True)):
        assert found.better(epoch, {metric: value, "other": 9.0}) == (expected == epoch)
        assert found.epoch == expected
    last = values[best[-1]]
    assert last is not None
    assert found.value == (-last if metric == "val/loss" else last)


def test_older_checkpoints_have_minus_one() -> None:
    """Where AP was not defined, an older version wrote -1 as the best value: it is none, and never printed as 1."""
    found = Best("AP")
    found.load_state_dict({"best": -1, "best_epoch": 0})
    assert str(found) == "AP is not defined without objects: the newest weights are kept"
    assert not found.better(5, {"AP": None})
    assert found.better(6, {"AP": 0.0})


def test_best_in_words_and_in_a_checkpoint() -> None:
    """A loss is shown as it is, epochs count from 1; what is saved is compared with as before."""
    found = Best("val/loss")
    assert found.better(2, {"val/loss": 1.5})
    assert str(found) == "best val/loss 1.5000 in epoch 3"
    state: dict[str, Any] = found.state_dict()
    assert state == {"best": -1.5, "best_epoch": 2}
    other = Best("val/loss")
    other.load_state_dict(state)
    assert not other.better(3, {"val/loss": 1.75})
    assert other.better(4, {"val/loss": 1.25})
