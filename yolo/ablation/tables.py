"""The findings and tables of one figure of a study, as Markdown. No torch.

Rows have names to refer to: V1.2 is the second row of values in figure 1, D1.2 of differences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from yolo.ablation.statistics import Comparison, Histories, conclusion, spread
from yolo.ablation.study import Study
from yolo.document import bullets, paragraph, table, warning

MANY = 20
"""With more comparisons than this only the significant ones are spelled out; the table has all."""

ALPHA = 0.05

OverImages = tuple[float, tuple[float, float]]
"""The difference between the best weights, and its interval over images."""

Pairs = Mapping[tuple[str, str], Mapping[str, OverImages]]
"""These by two variants and metric."""


def findings(labels: Mapping[Comparison, str], pairs: Pairs) -> list[str]:
    """Return the comparisons in words, each with its row in brackets, and what their number means for them.

    Args:
        labels: The name of each comparison's row. The first comparisons are those of the first metric.
        pairs: Differences over images.
    """
    # All comparisons are spelled out, or the significant ones of the first metric if they are too many.
    first = [found for found in labels if found.metric == next(iter(labels)).metric]
    spelled = list(labels) if len(labels) <= MANY else [found for found in first if _significant(found)]
    lines = [f"{conclusion(found)}{_over_images(found, pairs)} [{labels[found]}]" for found in spelled]
    blocks = [bullets(lines)] if lines else []
    if len(spelled) < len(labels):
        blocks.append(
            paragraph(
                f"Only findings in {first[0].metric} that remain significant after Holm's correction are spelled out, "
                f"{len(spelled)} of {len(first)} comparisons. The table of differences has all."
            )
        )
    # With several pairs some differences appear by chance.
    if len(first) > 1:
        remaining = [labels[found] for found in labels if _significant(found)]
        names = ", ".join(remaining) if len(remaining) <= MANY else "those that the table names"
        blocks.append(
            warning(
                f"{len(first)} pairs are compared in each metric. Each interval alone is wrong once in twenty times, "
                f"so some pairs that do not differ will seem to. After Holm's correction for all pairs of a metric "
                f"{'these findings remain significant: ' + names if remaining else 'no finding remains significant'}."
            )
        )
    return blocks


def values(number: int, names: Sequence[str], histories: Mapping[str, Histories], study: Study) -> str:
    """Return the table of final and best values of some variants of figure `number`, and which reach the goal."""
    shown, goal = (*study.metrics, *study.beside), study.goal
    header = ["row", "variant", "seeds done", *(f"{m} {when}" for m in shown for when in ("final", "best"))]
    rows = []
    for row, name in enumerate(names, start=1):
        runs = histories[name]
        done = len(runs.seeds)
        cells = [_cell([*by_seed.values()], done) for m in shown for by_seed in (runs.final(m), runs.best(m))]
        rows.append([f"V{number}.{row}", name, f"{done} of {study.seeds}", *cells, _time(runs.seconds())])
        if goal:
            means = {metric: spread([*runs.final(metric).values()])[0] for metric in goal}
            rows[-1].append("yes" if all(means[metric] >= value for metric, value in goal.items()) else "no")
    header += ["time of a run"]
    named = [f"final {' and '.join(f'{metric} ≥ {value:g}' for metric, value in goal.items())}"] if goal else []
    return table([*header, *named], rows, range(2, len(header)))


def differences(labels: Mapping[Comparison, str], pairs: Pairs) -> str:
    """Return the table of all comparisons, with intervals over seeds and over images; arguments as for `findings`."""
    header = ["row", "difference", "metric", "seeds", "mean", "95 % over seeds", "p", "p, Holm",
              "mean, best weights", "95 % over images", "finding", "after Holm"]  # fmt: skip
    rows = []
    for found, label in labels.items():
        one, images = found.paired, pairs.get((found.first, found.second), {}).get(found.metric)
        seeds, over_seeds, over_images = len(one.seeds), ["-", "-", "-"], ["-", "-"]
        # One seed has no interval, and without its images or weights a run has none over images.
        if seeds > 1:
            over_seeds = [f"{one.low:+.4f} to {one.high:+.4f}", f"{one.p:.2g}", f"{found.adjusted:.2g}"]
        if images:
            over_images = [f"{images[0]:+.4f}", f"{images[1][0]:+.4f} to {images[1][1]:+.4f}"]
        better = ("first is better" if one.mean > 0 else "second is better") if one.differs else ""
        rows.append([
            label, f"{found.first} − {found.second}", found.metric, f"{seeds}", f"{one.mean:+.4f}" if seeds else "-",
            *over_seeds, *over_images, better, "significant" if _significant(found) else "",
        ])  # fmt: skip
    return table(header, rows, range(3, 10))


def _significant(found: Comparison) -> bool:
    """Return whether a comparison is a finding even among all comparisons of its metric."""
    return found.paired.differs and found.adjusted < ALPHA


def _over_images(found: Comparison, pairs: Pairs) -> str:
    """Return the interval over images as a sentence, with the sign of the sentence before it."""
    images = pairs.get((found.first, found.second), {}).get(found.metric)
    if images is None:
        return ""
    low, high = images[1]
    if found.paired.differs and found.paired.mean < 0:  # that sentence names the better variant first
        low, high = -high, -low
    return f" Over images: {low:+.3f} to {high:+.3f}."


def _cell(values: Sequence[float], runs: int) -> str:
    """Return mean ± standard deviation of some values, and their number if it is not that of the runs."""
    mean, sd, number = spread(values)
    if not number:
        return "-"
    of = f" ({number} of {runs})" if number < runs else ""
    return f"{mean:.3f}" + ("" if math.isnan(sd) else f" ± {sd:.3f}") + of


def _time(seconds: Sequence[float]) -> str:
    """Return mean ± standard deviation of some times, in minutes from ten on."""
    mean, sd, number = spread(seconds)
    if not number:
        return "-"
    unit, size = ("s", 1) if mean < 600 else ("min", 60)
    return f"{mean / size:.1f}" + ("" if math.isnan(sd) else f" ± {sd / size:.1f}") + f" {unit}"
