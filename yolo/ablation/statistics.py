"""The numbers of an ablation study: curves over seeds, final values, differences with intervals, words. No torch.

Shapes name their sizes: seeds and epochs. A value that is missing, or null in the file of the run, is NaN.

Within one seed all variants start from the same weights and see the same images, so they are compared seed by seed:
the effect of the seed cancels in the difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

SEEDS = 5
"""The number of seeds that are needed to call one variant better than another."""

LEVEL = 0.95
"""The confidence level of every interval."""

NO_METRICS = ("epoch", "step")

DERIVED = "positives per label"


class Histories(NamedTuple):
    """The runs of one variant: `seeds` in ascending order, the number of `epochs` of each run, and for each metric
    float64 `[seeds, epochs]`, where a shorter run ends with NaN."""

    seeds: list[int]
    epochs: list[int]
    curves: dict[str, np.ndarray]

    def curve(self, metric: str) -> np.ndarray:
        """Return a metric, float64 `[seeds, epochs]`; all NaN if the runs do not have it."""
        return self.curves.get(metric, np.full((len(self.seeds), max(self.epochs, default=0)), np.nan))

    def final(self, metric: str) -> dict[int, float]:
        """Return by seed the value after the last epoch of the run; a run without a value there is left out."""
        rows = zip(self.seeds, self.epochs, self.curve(metric), strict=True)
        return {seed: float(row[last - 1]) for seed, last, row in rows if not math.isnan(row[last - 1])}

    def best(self, metric: str) -> dict[int, float]:
        """Return by seed the highest value of all epochs."""
        rows = zip(self.seeds, self.curve(metric), strict=True)
        return {seed: float(np.nanmax(row)) for seed, row in rows if not np.isnan(row).all()}

    def seconds(self) -> list[float]:
        """Return how many seconds each run took, training and evaluation."""
        both = np.concatenate((self.curve("seconds"), self.curve("eval_seconds")), axis=1)
        return [float(np.nansum(row)) for row in both]


class Spread(NamedTuple):
    """Mean and sample standard deviation (NaN for fewer than two) of `number` values."""

    mean: float
    sd: float
    number: int


class Paired(NamedTuple):
    """The differences of two variants seed by seed: their mean, its interval (NaN with fewer than two seeds), the
    two-sided `p` of Student's test (1 with fewer than two seeds), and the `seeds` that both have."""

    mean: float
    low: float
    high: float
    p: float
    seeds: tuple[int, ...]

    @property
    def differs(self) -> bool:
        """Whether there are enough seeds and the interval excludes zero."""
        return len(self.seeds) >= SEEDS and (self.low > 0 or self.high < 0)


class Comparison(NamedTuple):
    """Two variants in one metric; `adjusted` is the p value after Holm's correction, over all comparisons made
    together in this metric."""

    first: str
    second: str
    metric: str
    paired: Paired
    adjusted: float


def histories(runs: Mapping[int, Sequence[Mapping[str, Any]]]) -> Histories:
    """Return the metrics of some runs; `runs` has by seed the lines of metrics.jsonl.

    Words and nested values are skipped. Positives per label are added where both counts are known.
    """
    seeds = sorted(runs)
    epochs = [max((int(row["epoch"]) + 1 for row in runs[seed]), default=0) for seed in seeds]
    curves: dict[str, np.ndarray] = {}
    for k, seed in enumerate(seeds):
        for row in runs[seed]:
            for name, value in row.items():
                if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
                    curve = curves.setdefault(name, np.full((len(seeds), max(epochs)), np.nan))
                    undefined = value == -1 and name.startswith(("AP", "AR"))  # as older runs wrote it
                    curve[k, row["epoch"]] = None if undefined else value  # None becomes NaN
    if {"train/positives", "train/labels"} <= curves.keys():
        labels = curves["train/labels"]
        curves[DERIVED] = curves["train/positives"] / np.where(labels > 0, labels, np.nan)
    return Histories(seeds, epochs, curves)


def spread(values: Sequence[float]) -> Spread:
    """Return mean and standard deviation of some values."""
    if not values:
        return Spread(math.nan, math.nan, 0)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Spread(float(np.mean(values)), sd, len(values))


def band(curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation over the seeds, each float64 `[epochs]`.

    Args:
        curve: float64 `[seeds, epochs]`; NaN is left out. An epoch with one value has no deviation (NaN).
    """
    there = ~np.isnan(curve)
    number = there.sum(axis=0)
    mean = np.where(number > 0, np.nansum(curve, axis=0) / number.clip(1), np.nan)
    square = np.nansum((curve - mean) ** 2, axis=0) / (number - 1).clip(1)
    return mean, np.where(number > 1, np.sqrt(square), np.nan)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Paired:
    """Return first minus second over the seeds that both have, with Student's interval for the mean."""
    seeds = tuple(sorted(first.keys() & second.keys()))
    mean, sd, number = spread([first[seed] - second[seed] for seed in seeds])
    if number < 2:
        return Paired(mean, math.nan, math.nan, 1.0, seeds)
    error = sd / math.sqrt(number)
    half = t_quantile(LEVEL, number - 1) * error
    if error == 0:
        return Paired(mean, mean, mean, float(mean == 0), seeds)
    return Paired(mean, mean - half, mean + half, 1 - t_inside(abs(mean) / error, number - 1), seeds)


def compare(runs: Mapping[str, Histories], metric: str) -> list[Comparison]:
    """Return every pair of these variants, compared in the final value of a metric."""
    pairs = [(a, b, paired(runs[a].final(metric), runs[b].final(metric))) for a, b in combinations(runs, 2)]
    adjusted = holm([found.p for _, _, found in pairs])
    return [Comparison(a, b, metric, found, p) for (a, b, found), p in zip(pairs, adjusted, strict=True)]


def conclusion(comparison: Comparison) -> str:
    """Return one sentence: which variant is better, or that they are not distinguishable. Higher is better."""
    first, second, metric, found, _ = comparison
    number = len(found.seeds)
    seeds = f"{number} seed{'' if number == 1 else 's'}"
    if number == 0:
        return f"{first} and {second}: no seed has {metric} for both."
    # Without a finding the sentence gives the difference as it is.
    interval = "no interval" if number < 2 else f"95 % interval {found.low:+.3f} to {found.high:+.3f}"
    if not found.differs:
        few = f", at least {SEEDS} are needed" if number < SEEDS else ""
        return (
            f"{first} and {second} are not distinguishable with {seeds}{few} ({metric} {found.mean:+.3f}, {interval})."
        )
    # With a finding the better variant comes first, so the difference is positive.
    if found.mean < 0:
        first, second, found = second, first, found._replace(mean=-found.mean, low=-found.high, high=-found.low)
    interval = f"95 % interval {found.low:.3f} to {found.high:.3f}"
    return f"{first} is better than {second} ({metric} {found.mean:+.3f}, {interval}, {seeds})."


def shown_metrics(variants: Sequence[Histories]) -> tuple[list[str], dict[str, float]]:
    """Return the metrics with curves; and those with one value in all runs and epochs, with that value or NaN."""
    names = dict.fromkeys(name for runs in variants for name in runs.curves if name not in NO_METRICS)
    shown: list[str] = []
    flat: dict[str, float] = {}
    for name in names:
        values = np.concatenate([runs.curve(name).ravel() for runs in variants])
        values = values[~np.isnan(values)]
        if len(values) and values.min() < values.max():
            shown.append(name)
        else:
            flat[name] = float(values[0]) if len(values) else math.nan
    return shown, flat


def t_inside(t: float, k: int) -> float:
    """Return the probability of a value between -t and t with `k` >= 1 degrees of freedom, for `t` >= 0.

    For an integer `k` it is a finite sum (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).
    """
    assert k >= 1, "without degrees of freedom there is no distribution"
    angle = math.atan2(t, math.sqrt(k))
    sine, cosine, odd = math.sin(angle), math.cos(angle), k % 2
    term, total = cosine if odd else 1.0, 0.0
    for n in range(2 + odd, k + 2, 2):
        total += term
        term *= cosine**2 * (n - 1) / n
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def t_quantile(level: float, k: int) -> float:
    """Return the `t` for which the share `level` < 1 of the distribution lies between -t and t, by bisection."""
    assert 0 <= level < 1
    low, high = 0.0, 1.0
    while t_inside(high, k) < level:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if t_inside(middle, k) < level else (low, middle)
    return high


def holm(p: Sequence[float]) -> list[float]:
    """Return the p values of several comparisons after Holm's correction, in the same order.

    Read at a level, the chance of even one false finding among all of them is at most that level (Holm 1979).
    """
    order = sorted(range(len(p)), key=lambda n: p[n])
    adjusted, worst = [0.0] * len(p), 0.0  # no adjusted value is below that of a smaller p
    for place, n in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - place) * p[n]))
        adjusted[n] = worst
    return adjusted
