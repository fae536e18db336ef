"""The statistics of an ablation study: against tables, by hand, and on made-up data whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from yolo.ablation.statistics import (
    DERIVED,
    Comparison,
    Histories,
    band,
    compare,
    conclusion,
    histories,
    holm,
    paired,
    shown_metrics,
    spread,
    t_inside,
    t_quantile,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("k", "at_95", "at_99"),
    [
        (1, 12.7062, 63.6567),
        (2, 4.3027, 9.9248),
        (3, 3.1824, 5.8409),
        (4, 2.7764, 4.6041),
        (5, 2.5706, 4.0321),
        (9, 2.2622, 3.2498),
        (10, 2.2281, 3.1693),
        (29, 2.0452, 2.7564),
        (30, 2.0423, 2.7500),
        (100, 1.9840, 2.6259),
    ],
)
def test_quantiles_of_the_printed_table(k: int, at_95: float, at_99: float) -> None:
    """Quantiles have the four digits of the table in statistics books, and their probabilities are the levels."""
    assert t_quantile(0.95, k) == pytest.approx(at_95, abs=5e-5)
    assert t_quantile(0.99, k) == pytest.approx(at_99, abs=5e-5)
    assert t_inside(t_quantile(0.95, k), k) == pytest.approx(0.95, abs=1e-12)


def test_closed_forms() -> None:
    """One degree of freedom gives Cauchy's distribution, two a root, many almost the normal one; t = 0 gives 0."""
    for t in (0.3, 1.0, 7.0):
        assert t_inside(t, 1) == pytest.approx(2 / math.pi * math.atan(t), abs=1e-14)
        assert t_inside(t, 2) == pytest.approx(t / math.sqrt(2 + t * t), abs=1e-14)
        assert t_inside(t, 20_000) == pytest.approx(math.erf(t / math.sqrt(2)), abs=1e-4)
    assert [t_inside(0, k) for k in range(1, 8)] == [0] * 7
    assert t_quantile(0, 3) == pytest.approx(0, abs=1e-12)


def test_holm_by_hand() -> None:
    """The smallest p is multiplied by 4, the next by 3, ...; none is below the one before it, or above 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def rows(*values: Any, metric: str = "AP50", **others: Any) -> list[dict[str, Any]]:
    """Return lines of metrics.jsonl, one for each value."""
    return [{"epoch": e, "step": 3 * e, metric: value, **others} for e, value in enumerate(values)]


def test_paired_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, sd 1, so 2 ± 4.3027 / sqrt(3); p is 1 - t / sqrt(2 + t²) with t = 2 sqrt(3)."""
    found = paired({0: 2.0, 1: 4.0, 2: 6.0}, {0: 1.0, 1: 2.0, 2: 3.0})
    assert (found.mean, found.seeds) == (2, (0, 1, 2))
    assert found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)
    assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)
    t = 2 * math.sqrt(3)
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-12)


def test_seeds_are_paired_by_their_number() -> None:
    """A seed that one of them lacks does not count; the others are in ascending order."""
    found = paired({4: 10.0, 0: 1.0, 2: 5.0}, {2: 4.0, 1: 100.0, 4: 7.0})
    assert (found.seeds, found.mean) == ((2, 4), 2)


def test_one_seed_and_none() -> None:
    """With one seed or none there is no interval and no finding."""
    one, none = paired({0: 0.5}, {0: 0.1}), paired({0: 0.5}, {1: 0.1})
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert (one.p, one.differs, none.p, none.differs, none.seeds) == (1, False, 1, False, ())
    assert conclusion(Comparison("a", "b", "AP50", one, 1)) == (
        "a and b are not distinguishable with 1 seed, at least 5 are needed (AP50 +0.400, no interval)."
    )
    assert conclusion(Comparison("a", "b", "AP50", none, 1)) == "a and b: no seed has AP50 for both."


def test_equal_differences() -> None:
    """Without any spread the interval is the value itself: zero for equal runs."""
    same = {k: 0.25 * k for k in range(5)}
    assert paired(same, same)[:4] == (0, 0, 0, 1)
    assert not paired(same, same).differs
    shifted = paired({k: v + 1 for k, v in same.items()}, same)
    assert shifted[:4] == (1, 1, 1, 0)
    assert shifted.differs


def comparison(differences: Sequence[float]) -> Comparison:
    """Return the comparison of `a` and `b` with these differences by seed."""
    zero = dict.fromkeys(range(len(differences)), 0.0)
    return Comparison("a", "b", "AP50", paired(dict(enumerate(differences)), zero), 0.01)


def test_words() -> None:
    """A variant is better only with five seeds and an interval without zero; the better one is named first."""
    clear = [0.04, 0.05, 0.03, 0.05, 0.04]
    better = conclusion(comparison(clear))
    assert better == "a is better than b (AP50 +0.042, 95 % interval 0.032 to 0.052, 5 seeds)."
    assert conclusion(comparison([-d for d in clear])) == better.replace("a is better than b", "b is better than a")
    assert "not distinguishable with 4 seeds, at least 5 are needed" in conclusion(comparison(clear[:4]))
    assert conclusion(comparison([0.1, -0.1, 0.2, -0.2, 0.01])).startswith(
        "a and b are not distinguishable with 5 seeds ("
    )


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """In 4,000 made-up studies of five paired seeds 95 % of the intervals hold the true difference, give or take four
    standard deviations of a count (1.4 %). What the seeds share is twenty times larger and does no harm. Without a
    true difference 5 % of the sentences are false findings."""
    draws, seeds, truth = 4000, 5, 0.3
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 20, (draws, seeds))
    first, second = shared + truth + rng.normal(0, 0.7, shared.shape), shared + rng.normal(0, 0.7, shared.shape)
    margin = 4 * math.sqrt(0.05 * 0.95 / draws)
    held = findings = 0
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        found = paired(dict(enumerate(a)), dict(enumerate(b)))
        held += found.low <= truth <= found.high
        null = paired({k: v - truth for k, v in enumerate(a)}, dict(enumerate(b)))
        findings += null.differs
        assert (null.p < 0.05) == null.differs
    assert abs(held / draws - 0.95) < margin
    assert abs(findings / draws - 0.05) < margin


def test_final_and_best() -> None:
    """Final is the last epoch of each run, even if it is null; best ignores nulls."""
    runs = histories({2: rows(0.1, None, 0.3, 0.2), 0: rows(0.5, 0.4), 7: rows(0.1, 0.9, 0.6, None)})
    assert runs.seeds == [0, 2, 7]
    assert runs.final("AP50") == {0: 0.4, 2: 0.2}
    assert runs.best("AP50") == {0: 0.5, 2: 0.3, 7: 0.9}
    assert runs.final("AP") == {}
    assert runs.best("AP") == {}


def test_nothing_finished() -> None:
    """A variant without runs has no values, and is not an error."""
    runs = histories({})
    assert (runs.final("AP"), runs.best("AP"), runs.seconds()) == ({}, {}, [])
    assert spread([])[2] == 0
    assert shown_metrics([runs]) == ([], {})
    assert compare({"a": runs, "b": runs}, "AP")[0].paired.seeds == ()


def test_band_by_hand() -> None:
    """Mean and sample deviation ignore missing seeds; one seed has no deviation, none has no mean."""
    mean, sd = band(np.array([[1.0, 4.0, NAN], [3.0, NAN, NAN]]))
    np.testing.assert_allclose(mean, [2, 4, NAN])
    np.testing.assert_allclose(sd, [math.sqrt(2), NAN, NAN])


def test_positives_per_label_and_time() -> None:
    """Positives per label are the ratio of the two counts, NaN without labels. Time is training and evaluation."""
    lines = [
        {"epoch": 0, "train/labels": 10, "train/positives": 15, "seconds": 2.0, "eval_seconds": 1.0},
        {"epoch": 1, "train/labels": 0, "train/positives": 0, "seconds": 3.0},
    ]
    runs = histories({0: lines})
    np.testing.assert_allclose(runs.curve(DERIVED), [[1.5, NAN]])
    assert runs.seconds() == [6.0]


def test_which_metrics_are_shown() -> None:
    """Metrics that change within a run or between runs have curves. Words, epoch and step have none."""
    first = histories({0: rows(0.1, 0.2, lr=1e-3, same=-1.0, gone=None, word="x")})
    second = histories({0: rows(0.1, 0.1, lr=2e-3, same=-1.0)})
    shown, flat = shown_metrics([first, second])
    assert shown == ["AP50", "lr"]
    assert [*flat] == ["same", "gone"]
    assert flat["same"] == -1
    assert math.isnan(flat["gone"])


def test_all_pairs_with_holm() -> None:
    """Three variants give three comparisons, in the order of the variants, adjusted together."""
    rng = np.random.default_rng(1)
    runs: dict[str, Histories] = {
        name: histories({k: rows(shift + float(rng.normal(0, 0.01))) for k in range(6)})
        for name, shift in (("x", 0.5), ("y", 0.45), ("z", 0.2))
    }
    found = compare(runs, "AP50")
    assert [(c.first, c.second) for c in found] == [("x", "y"), ("x", "z"), ("y", "z")]
    assert [c.adjusted for c in found] == holm([c.paired.p for c in found])
    assert all(c.paired.differs for c in found)
