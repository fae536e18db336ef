"""The findings and tables of a figure of a study. No torch.

Rows have names to be referred to: V1.2 is the second row of values in figure 1, D1.2 of differences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from yolo.ablation.document import Block, Items, Table, Text
from yolo.ablation.statistics import Comparison, Histories, conclusion, spread

TABLE = ("AP50", "AP", "AR100")
"""Metrics of the table of values."""

MANY = 20
"""Of more comparisons only some are said in sentences; the table has all."""

ALPHA = 0.05

OverImages = tuple[float, tuple[float, float]]
"""The difference of the best weights, and its interval over images."""

Pairs = Mapping[tuple[str, str], Mapping[str, OverImages]]
"""These by two variants and metric."""


def findings(labels: Mapping[Comparison, str], pairs: Pairs) -> list[Block]:
    """The comparisons in words, each with its row in brackets, and what many of them mean."""
    first = [found for found in labels if found.metric == next(iter(labels)).metric]
    standing = [found for found in labels if _stands(found)]
    said = list(labels) if len(labels) <= MANY else [found for found in first if _stands(found)]
    lines = [f"{conclusion(found)}{_over_images(found, pairs)} [{labels[found]}]" for found in said]
    blocks: list[Block] = [Items(lines)] if lines else []
    if len(said) < len(labels):
        blocks.append(
            Text(
                f"Said in words are only findings in {first[0].metric} that stand after Holm's correction, {len(said)} "
                f"of {len(first)} comparisons; the table of differences has all."
            )
        )
    if len(first) > 1:
        names = ", ".join(labels[found] for found in standing) if len(standing) <= MANY else "those the table names"
        blocks.append(
            Text(
                f"{len(first)} pairs are compared in each metric. Each interval alone is wrong once in twenty times, "
                f"so of pairs that do not differ some will seem to. With Holm's correction for all pairs of a metric "
                f"together {'these findings stand: ' + names if standing else 'no finding stands'}.",
                warning=True,
            )
        )
    return blocks


def _stands(found: Comparison) -> bool:
    """Whether it is a finding among all comparisons of its metric together."""
    return found.paired.differs and found.adjusted < ALPHA


def values(number: int, names: Sequence[str], histories: Mapping[str, Histories], seeds: int) -> Table:
    """Final and best values of variants, of which so many `seeds` were asked for; rows V`number`.1, ..."""
    header = ["row", "variant", "seeds done", *(f"{m} {when}" for m in TABLE for when in ("final", "best"))]
    rows = []
    for row, name in enumerate(names, start=1):
        runs = histories[name]
        cells = [
            _cell(list(by_seed.values()), len(runs.seeds)) for m in TABLE for by_seed in (runs.final(m), runs.best(m))
        ]
        done = f"{len(runs.seeds)} of {seeds}"
        rows.append([f"V{number}.{row}", name, done, *cells, _time(runs.seconds())])
    return Table([*header, "time of a run"], rows, range(2, len(header) + 1))


def differences(labels: Mapping[Comparison, str], pairs: Pairs) -> Table:
    """Every comparison with its row's name, over the seeds and beside it over images."""
    header = ["row", "difference", "metric", "seeds", "mean", "95 % over seeds", "p", "p, Holm"]
    rows = []
    for found, label in labels.items():
        one, images = found.paired, pairs.get((found.first, found.second), {}).get(found.metric)
        alone = len(one.seeds) < 2
        rows.append([
            label,
            f"{found.first} − {found.second}",
            found.metric,
            f"{len(one.seeds)}",
            f"{one.mean:+.4f}" if one.seeds else "-",
            "-" if alone else f"{one.low:+.4f} to {one.high:+.4f}",
            "-" if alone else f"{one.p:.2g}",
            "-" if alone else f"{found.adjusted:.2g}",
            f"{images[0]:+.4f}" if images else "-",
            f"{images[1][0]:+.4f} to {images[1][1]:+.4f}" if images else "-",
            "" if not one.differs else f"{'first' if one.mean > 0 else 'second'} is better",
                "stands" if _stands(found) else "",
        ])  # fmt: skip
    return Table([*header, "mean, best weights", "95 % over images", "finding", "after Holm"], rows, range(3, 10))


def _over_images(found: Comparison, pairs: Pairs) -> str:
    """The interval over images as a sentence, with the sign of the sentence before it."""
    images = pairs.get((found.first, found.second), {}).get(found.metric)
    if images is None:
        return ""
    low, high = images[1]
    if found.paired.differs and found.paired.mean < 0:
        low, high = -high, -low
    return f" Over images: {low:+.3f} to {high:+.3f}."


def _cell(values: Sequence[float], runs: int) -> str:
    """Mean ± standard deviation, and of how many runs if not of all."""
    mean, sd, number = spread(values)
    if not number:
        return "-"
    of = f" ({number} of {runs})" if number < runs else ""
    return f"{mean:.3f}" + ("" if math.isnan(sd) else f" ± {sd:.3f}") + of


def _time(seconds: Sequence[float]) -> str:
    mean, sd, number = spread(seconds)
    if not number:
        return "-"
    unit, size = ("s", 1) if mean < 600 else ("min", 60)
    return f"{mean / size:.1f}" + ("" if math.isnan(sd) else f" ± {sd / size:.1f}") + f" {unit}"
