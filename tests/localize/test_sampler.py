"""The balanced order and its sampler: what an epoch holds, what changes between epochs, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from yolo.data.order import Order
from yolo.localize.sampler import BalancedOrder, BalancedSampler


@given(
    positives=st.integers(1, 12), negatives=st.integers(13, 40), ratio=st.floats(0.01, 1), seed=st.integers(0, 2**31)
)
def test_an_epoch(positives: int, negatives: int, ratio: float, seed: int) -> None:
    """All positives once, negatives without repetition, their number by the ratio; a pure function of the epoch."""
    labels = np.random.default_rng(seed).permutation([1] * positives + [0] * negatives)
    order: Order = BalancedOrder(labels, ratio, seed)
    for epoch in (3, 0):
        indices = order(epoch)
        assert indices.dtype == np.int64
        assert len(set(indices.tolist())) == len(indices) == len(order)
        assert labels[indices].sum() == positives
        assert len(order) - positives == max(1, round(ratio * positives))
        assert np.array_equal(indices, BalancedOrder(labels, ratio, seed)(epoch))


def test_epochs_differ() -> None:
    """Another epoch and another seed have other negatives and another order; positives and negatives are mixed."""
    labels = np.array([1] * 20 + [0] * 200)
    order = BalancedOrder(labels, 1, 0)
    epochs = [order(0), order(1), BalancedOrder(labels, 1, 1)(0)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not np.array_equal(epochs[one], epochs[other])
        assert set(epochs[one][epochs[one] >= 20]) != set(epochs[other][epochs[other] >= 20])
    drawn = {int(index) for epoch in range(60) for index in order(epoch)}
    assert drawn == set(range(220))
    assert 0 < labels[epochs[0][:20]].sum() < 20
    assert order.name == "1 negatives per positive, shuffled, seed 0"
    assert len({order.name, BalancedOrder(labels, 2.5, 0).name, BalancedOrder(labels, 1, 7).name}) == 3


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda labels: torch.tensor(labels).float()])
def test_sampler_in_a_loader(kind: type) -> None:
    """Every pass of a plain DataLoader is the next epoch; `set_epoch` chooses it; NumPy's global state is not used."""
    labels = [0, 1, 0, 0, 1, 0, 0, 0, 1, 0]
    sampler, order = BalancedSampler(kind(labels), negative_ratio=2, seed=5), BalancedOrder(np.array(labels), 2, 5)
    loader = DataLoader(TensorDataset(torch.arange(10)), batch_size=4, sampler=sampler)
    assert (len(sampler), len(loader)) == (9, 3)

    def one_pass() -> list[int]:
        np.random.seed(0)
        return [int(index) for (batch,) in loader for index in batch]

    assert [one_pass() for _ in range(3)] == [order(epoch).tolist() for epoch in range(3)]
    sampler.set_epoch(1)
    assert one_pass() == order(1).tolist()
    assert one_pass() == order(2).tolist()


def test_too_few_negatives() -> None:
    """All are used, and the warning has the ratio that is left."""
    with pytest.warns(UserWarning, match="2 negatives are too few for 4 positives. Adjusting ratio to 0.50"):
        sampler = BalancedSampler([1, 1, 0, 1, 1, 0])
    assert sorted(sampler) == list(range(6))
    assert len(sampler) == 6
    assert len(BalancedSampler([1, 1, 0, 1, 1, 0], 0.5)) == 6


@pytest.mark.parametrize(
    ("labels", "ratio", "message"),
    [
        ([1, 2, 1], 1, r"\[1 2\]; expected \[I\] of 0 and 1"),
        ([0.5, 0, 1], 1, "expected"),
        ([[0], [1]], 1, r"labels \[2, 1\]"),
        ([0, 0], 1, "0 positives .* 2 negatives .*add images"),
        ([1], 1, "1 positives .* 0 negatives .*add images"),
        ([], 1, "0 positives"),
        ([0, 1], 0, "ratio=0: expected a number above 0"),
        ([0, 1], -1, "ratio=-1"),
        ([0, 1], float("nan"), "ratio=nan"),
        ([0, 1], float("inf"), "ratio=inf"),
    ],
)
def test_refusals(labels: list[int], ratio: float, message: str) -> None:
    """Each is named with what was expected."""
    with pytest.raises(ValueError, match=message):
        BalancedSampler(labels, ratio)
