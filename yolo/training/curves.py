"""The curves of a run as a figure, and a line on them: did the training loss fall, and if not, what to look for."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from yolo.evaluation.plots import save, words
from yolo.metrics.coco import METRICS
from yolo.training.run_folder import read_metrics
from yolo.training.trend import OVERFITTING, Rows, series, trend_of

FIGURE = "losses.png"

COLUMNS = 3

MANY = 3
"""More lines than this have smaller names, in two columns."""

_NOT_SHOWN = ("lr", "seconds", "eval_seconds", "memory_mb", "train/gradient", "train/gradient_max", *METRICS[2:])


def curves(folder: Path) -> str:
    """Draw the curves of a run to losses.png in its folder, and return a line that judges the training loss.

    Each loss term has a diagram with its values on training and validation images. Metrics that are fractions share a
    diagram; each of the others (with a "/" in the name) has its own. The file is written whole or not at all.

    The line says whether train/loss fell steadily, and whether val/loss rises while it falls. If it did not fall
    steadily, the line has the causes to look for. Nothing is drawn if nothing was logged. Raises FileNotFoundError
    without metrics.jsonl and ValueError for a damaged line of it.
    """
    rows = read_metrics(folder)
    panels = _panels(rows)
    if panels:
        figure = Figure(figsize=(12, 3.2 * math.ceil(len(panels) / COLUMNS)), layout="constrained", dpi=110)
        diagrams = figure.subplots(math.ceil(len(panels) / COLUMNS), COLUMNS, squeeze=False).flat
        for axes in diagrams[len(panels) :]:
            axes.set_visible(False)
        for axes, (title, names) in zip(diagrams, panels.items(), strict=False):
            for name, label in zip(names, words(names), strict=True):
                axes.plot(*series(rows, name), marker=".", markersize=4, linewidth=1.3, label=label)
            axes.set(title=words([title])[0], xlabel="epoch", xlim=(0.5, len(rows) + 0.5))
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(**({"fontsize": 6, "ncols": 2, "framealpha": 0.6} if len(names) > MANY else {"fontsize": 8}))
        save(figure, folder / FIGURE)
    trend = trend_of(rows)
    rising = f"; {trend.overfitting}: {OVERFITTING}" if trend.overfitting else ""
    return trend.sentence + (f": {trend.causes}" if trend.causes else "") + rising


def _panels(rows: Rows) -> dict[str, list[str]]:
    """Return the metrics of each diagram by its title."""
    # Counts (labels, positives) are the numbers that are whole in the file.
    logged = dict.fromkeys(name for row in rows for name, value in row.items() if isinstance(value, float))
    names = [name for name in logged if name not in _NOT_SHOWN and not name.startswith(("probe/", "glance/"))]
    losses = [name for name in names if name.startswith(("train/", "val/"))]
    others = [name for name in names if name not in losses]
    panels: dict[str, list[str]] = {}
    for name in losses:
        panels.setdefault(name.split("/", 1)[1], []).append(name)
    fractions = [name for name in others if "/" not in name]
    return panels | ({"metrics": fractions} if fractions else {}) | {name: [name] for name in others if "/" in name}
