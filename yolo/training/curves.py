"""The curves of a run as a figure, and a line on them: did the training loss fall, and if not, what to look for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from yolo.evaluation.plots import save, words
from yolo.metrics.coco import METRICS
from yolo.training.run_folder import read_metrics

FIGURE = "losses.png"

FEWEST = 5
"""The number of epochs that are needed to judge a curve."""

STEADY = -0.9
"""A loss falls steadily if the rank correlation of the smoothed loss and the epoch is below this."""

FLAT = 0.02
"""A training loss whose standard deviation over the epochs is a smaller share of its mean is flat."""

CHANGED = 0.1
"""A smoothed loss has fallen or risen if it changed by more than this share."""

RISING = 0.5
"""The least rank correlation of a validation loss that rises after its minimum."""

COLUMNS = 3

MANY = 3
"""More lines than this have smaller names, in two columns."""

_NOT_SHOWN = ("lr", "seconds", "eval_seconds", "memory_mb", "train/gradient", "train/gradient_max", *METRICS[2:])

Rows = Sequence[dict[str, Any]]


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
                axes.plot(*_series(rows, name), marker=".", markersize=4, linewidth=1.3, label=label)
            axes.set(title=words([title])[0], xlabel="epoch", xlim=(0.5, len(rows) + 0.5))
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(**({"fontsize": 6, "ncols": 2, "framealpha": 0.6} if len(names) > MANY else {"fontsize": 8}))
        save(figure, folder / FIGURE)
    return _verdict(rows)


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


def _verdict(rows: Rows) -> str:
    """Return the line on train/loss and val/loss. Epochs without a finite loss do not count."""
    _, loss = _series(rows, "train/loss")
    if len(loss) < FEWEST:
        return f"too few epochs to judge the training loss: {len(loss)}, at least {FEWEST} are needed"
    smooth = _smooth(loss)
    trend, rose = _spearman(smooth), float((np.diff(loss) > 0).mean())
    numbers = f"from {loss[0]:.4g} to {loss[-1]:.4g} (Spearman {trend:.2f}; it rose in {rose:.0%} of the epochs)"
    if loss.std() <= FLAT * abs(loss.mean()):
        line = (
            f"train/loss is flat, {numbers}: is the learning rate too low, are all labels of one kind, layers frozen?"
        )
    elif trend < STEADY:
        line = f"train/loss fell steadily {numbers}"
    else:
        how = "rose" if loss[-1] > loss[0] else "did not fall steadily"
        line = f"train/loss {how}, {numbers}: is the learning rate too high? Try a tenth, or a schedule that decays"
    fell = smooth[-1] < (1 - CHANGED) * smooth[0]
    return line + (_overfitting(*_series(rows, "val/loss")) if fell else "")


def _overfitting(epochs: np.ndarray, loss: np.ndarray) -> str:
    """Return a clause on a validation loss that rises from its best epoch on; empty if it does not."""
    if len(loss) < FEWEST:
        return ""
    smooth, best = _smooth(loss), int(loss.argmin())
    since = smooth[smooth.argmin() :]
    if since[-1] <= (1 + CHANGED) * since[0] or _spearman(since) < RISING:
        return ""
    return (
        f"; val/loss has risen from {loss[best]:.4g} in epoch {epochs[best]} to {loss[-1]:.4g}, which is overfitting: "
        "take the weights of the best epoch, or train on more images, with augmentation, or for fewer epochs"
    )


def _series(rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the epochs, from 1, in which a metric is defined, int64 `[epochs]`, and its values, float64 `[epochs]`."""
    there = [(row["epoch"] + 1, row[name]) for row in rows if row.get(name) is not None]
    return np.array([epoch for epoch, _ in there], int), np.array([value for _, value in there], float)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return the means of neighbouring epochs: of 3, or of a tenth of all if that is more."""
    width = max(3, len(values) // 10)
    return np.convolve(values, np.full(width, 1 / width), "valid")


def _spearman(values: np.ndarray) -> float:
    """Return the correlation of the ranks of values with their order; equal values share a rank; 0 if all are equal."""
    ranks = np.sign(values[:, None] - values).sum(axis=1)
    order = np.arange(len(values)) - (len(values) - 1) / 2
    scale = float(np.linalg.norm(ranks) * np.linalg.norm(order))
    return float(ranks @ order) / scale if scale else 0.0
