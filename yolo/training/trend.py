"""What a metric does over the epochs of a run: whether a training loss fell, whether a validation loss rises again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

FEWEST = 5
"""The number of epochs that are needed to judge a curve."""

STEADY = -0.9
"""A loss falls steadily if the rank correlation of the smoothed loss and the epoch is below this."""

FLAT = 0.02
"""A training loss whose standard deviation over the epochs is a smaller share of its mean is flat."""

CHANGED = 0.1
"""A metric has changed if its smoothed values differ by more than this share."""

RISING = 0.5
"""The least rank correlation of a validation loss that rises after its minimum."""

OVERFITTING = "take the weights of the best epoch, or train on more images, with augmentation, or for fewer epochs"

Rows = Sequence[dict[str, Any]]
"""The lines of metrics.jsonl."""


class Trend(NamedTuple):
    """What the training loss of a run does."""

    kind: Literal["unknown", "flat", "falls", "wild", "rises"]
    sentence: str
    causes: str = ""
    """What to look for; empty where it falls or too few epochs are known."""
    overfitting: str = ""
    """A sentence on a validation loss that rises while the training loss falls; empty if it does not."""


def trend_of(rows: Rows) -> Trend:
    """Return the trend of train/loss and val/loss. Epochs without a finite loss do not count."""
    _, loss = series(rows, "train/loss")
    if len(loss) < FEWEST:
        few = f"too few epochs to judge the training loss: {len(loss)}, at least {FEWEST} are needed"
        return Trend("unknown", few)
    smooth = _smooth(loss)
    trend, rose = _spearman(smooth), float((np.diff(loss) > 0).mean())
    numbers = f"from {loss[0]:.4g} to {loss[-1]:.4g} (Spearman {trend:.2f}; it rose in {rose:.0%} of the epochs)"
    fell = smooth[-1] < (1 - CHANGED) * smooth[0]
    overfitting = _overfitting(*series(rows, "val/loss")) if fell else ""
    if loss.std() <= FLAT * abs(loss.mean()):
        causes = "is the learning rate too low, are all labels of one kind, layers frozen?"
        return Trend("flat", f"train/loss is flat, {numbers}", causes, overfitting)
    if trend < STEADY:
        return Trend("falls", f"train/loss fell steadily {numbers}", "", overfitting)
    rises = loss[-1] > loss[0]
    how = "rose" if rises else "did not fall steadily"
    causes = "is the learning rate too high? Try a tenth, or a schedule that decays"
    return Trend("rises" if rises else "wild", f"train/loss {how}, {numbers}", causes, overfitting)


def _overfitting(epochs: np.ndarray, loss: np.ndarray) -> str:
    """Return a sentence on a validation loss that rises from its best epoch on; empty if it does not."""
    if len(loss) < FEWEST:
        return ""
    smooth, best = _smooth(loss), int(loss.argmin())
    since = smooth[smooth.argmin() :]
    if since[-1] <= (1 + CHANGED) * since[0] or _spearman(since) < RISING:
        return ""
    return f"val/loss has risen from {loss[best]:.4g} in epoch {epochs[best]} to {loss[-1]:.4g}, which is overfitting"


def series(rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
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
