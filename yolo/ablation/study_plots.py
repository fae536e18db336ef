"""The curves of an ablation study: small diagrams on common axes, mean and spread over the seeds of each variant.

Letters: `E` epochs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from yolo.ablation.statistics import DERIVED, Histories, band
from yolo.evaluation.plots import save, words

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
"""Okabe and Ito's, which colour-blind people can tell apart; their yellow is too pale on white."""

STYLES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
"""Whole, dashed, dotted, both. Their number and that of the colours have no common divisor: 28 kinds of lines."""

GROUPS = ("Precision and recall", "Losses", "Assignment", "Probes", "The run")

FIRST = ("AP50", "AP", "AR100", "train/loss", "val/loss", DERIVED)

TITLES = {
    "AR100": "AR100 (recall)",
    "train/unmatched": "labels without a match",
    "train/labels": "labels",
    "train/positives": "positives",
    "train/gradient": "gradient norm, mean",
    "train/gradient_max": "gradient norm, largest",
    "probe/iou": "IoU of positives",
    "probe/low_iou": "positives with IoU below 0.1",
    "probe/objectness": "objectness of positives",
    "probe/calibration": "distance of objectness from IoU",
    "probe/moved": "labels whose anchor changed",
    **{f"probe/scale_{s}": f"labels answered at scale {s}" for s in range(3)},
    "probe/near_misses": "near misses",
    "probe/near_objectness": "objectness of near misses",
    "probe/near_share": "near misses in the no-object loss",
    "probe/sure_AP50": "AP50 of sure detections",
    "probe/sure_found": "objects found with confidence 0.3",
    "probe/duplicates": "duplicates with confidence 0.3",
    "probe/false": "other false ones with confidence 0.3",
    "glance/AP50": "glance: AP50 right after the step",
    "glance/AP50_batch": "the same in training mode",
    "lr": "learning rate",
    "seconds": "training",
    "eval_seconds": "evaluation",
    "memory_mb": "most memory so far",
}

UNITS = {
    "train/unmatched": "labels an epoch",
    "train/labels": "labels an epoch",
    "train/positives": "positives an epoch",
    DERIVED: "positives / labels",
    "train/gradient": "norm",
    "train/gradient_max": "norm",
    "probe/near_misses": "near misses / labels",
    "probe/duplicates": "duplicates / objects",
    "probe/false": "false / objects",
    "lr": "rate",
    "seconds": "seconds an epoch",
    "eval_seconds": "seconds",
    "memory_mb": "MB",
}

COLUMNS = 3

DECADES = 2.0
"""Metrics above zero that span more powers of ten than this have a logarithmic axis, fractions never."""

FRACTIONS = ("Precision and recall", "Probes")


def group_of(metric: str) -> str:
    """The group in which a metric is drawn."""
    if metric.startswith(("probe/", "glance/")):
        return "Probes"
    if metric in ("train/labels", "train/positives", "train/unmatched", DERIVED):
        return "Assignment"
    if metric.startswith(("train/", "val/")) and "gradient" not in metric:
        return "Losses"
    return "Precision and recall" if metric.startswith(("AP", "AR")) else "The run"


def grouped(metrics: Sequence[str]) -> dict[str, list[str]]:
    """The metrics of each group that has any, the most asked for first."""
    order = sorted(metrics, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    groups = {group: [name for name in order if group_of(name) == group] for group in GROUPS}
    return {group: names for group, names in groups.items() if names}


def limits(variants: Sequence[Histories], metric: str) -> tuple[float, float, bool]:
    """The lower and upper end of a metric's axis in all figures, and whether it is logarithmic."""
    means, sds = zip(*(band(runs.curve(metric)) for runs in variants), strict=True)
    mean, sd = np.concatenate(means), np.nan_to_num(np.concatenate(sds))
    mean, sd = mean[~np.isnan(mean)], sd[~np.isnan(mean)]
    if group_of(metric) not in FRACTIONS and mean.min() > 0 and math.log10(mean.max() / mean.min()) > DECADES:
        return float(mean.min() / 1.5), float((mean + sd).max() * 1.5), True
    low, high = float((mean - sd).min()), float((mean + sd).max())
    margin = 0.05 * (high - low)
    if mean.min() >= 0 and low < 0.3 * high:
        return 0.0, high + margin, False
    return low - margin, high + margin, False


def style(place: int) -> dict[str, object]:
    """Colour and kind of line of the variant at this place of the study, the same in every figure."""
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": STYLES[place % len(STYLES)]}


def plot_curves(
    path: Path,
    variants: Mapping[str, Histories],
    metrics: Sequence[str],
    axes_limits: Mapping[str, tuple[float, float, bool]],
    places: Mapping[str, int],
    epochs: int,
) -> None:
    """A diagram for each metric into one PNG: mean over the seeds, and mean ± standard deviation as a band.

    `axes_limits` as `limits` gives them, `places` of the variants in the study, `epochs` the end of the common x axis.
    """
    rows = math.ceil(len(metrics) / COLUMNS)
    labels = dict(zip(variants, words([*variants]), strict=True))
    columns = max(1, min(len(variants), int(125 / (9 + max(map(len, labels.values()))))))
    lines = math.ceil(len(variants) / columns)
    figure = Figure(figsize=(11, 2.6 * rows + 0.25 * lines + 0.2), layout="constrained", dpi=110)
    diagrams = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes in diagrams.flat[len(metrics) :]:
        axes.set_visible(False)
    for axes, metric in zip(diagrams.flat, metrics, strict=False):
        for name, runs in variants.items():
            _line(axes, runs.curve(metric), places[name], labels[name], 0.15 if len(variants) <= 4 else 0.07)
        _finish(axes, metric, axes_limits[metric], epochs)
    handles, texts = diagrams.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, texts, loc="outside upper center", ncols=columns, fontsize=9, handlelength=3.5, frameon=False
    )
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(h_pad=0.1, w_pad=0.06)  # type: ignore[call-arg]  # inches; those of constrained layout
    save(figure, path)


def _line(axes: Axes, curve: np.ndarray, place: int, label: str, alpha: float) -> None:
    """One variant, its band of this opacity. Epochs that were not evaluated are stepped over; a single one is a dot."""
    mean, sd = band(curve)
    there = ~np.isnan(mean)
    x, mean, sd = np.arange(1, len(mean) + 1)[there], mean[there], sd[there]
    marker = "o" if len(x) == 1 else None
    axes.plot(x, mean, linewidth=1.6, label=label, marker=marker, markersize=4, **style(place))  # type: ignore[arg-type]
    if not np.isnan(sd).all():
        axes.fill_between(x, mean - sd, mean + sd, color=COLOURS[place % len(COLOURS)], alpha=alpha, linewidth=0)


def _finish(axes: Axes, metric: str, ends: tuple[float, float, bool], epochs: int) -> None:
    """Title, labels and the common ends of both axes."""
    low, high, logarithmic = ends
    group = group_of(metric)
    unit = UNITS.get(metric, "fraction" if group in FRACTIONS else "loss" if group == "Losses" else "value")
    axes.set_title(words([TITLES.get(metric, metric)])[0], fontsize=10)
    axes.set_xlabel("epoch", fontsize=8)
    axes.set_ylabel(f"{unit}, logarithmic" if logarithmic else unit, fontsize=8)
    axes.set_xlim(1, max(2, epochs))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if logarithmic:
        axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
