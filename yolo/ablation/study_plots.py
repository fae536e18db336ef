"""The curves of an ablation study: small diagrams with common axes, mean and spread over the seeds of each variant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from yolo.ablation.statistics import DERIVED, Histories, band
from yolo.evaluation.plots import save, words

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, which colour-blind people can tell apart; their yellow is too pale on white."""

STYLES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
"""Solid, dashed, dotted, dash-dotted. 4 styles and 7 colours have no common divisor, so there are 28 kinds of lines."""

GROUPS = ("Precision and recall", "Losses", "Assignment", "Probes", "The run")

FIRST = ("AP50", "AP", "AR100", "train/loss", "val/loss", DERIVED)

TITLES = {
    "AR100": ("AR100 (recall)", "fraction"),
    "train/unmatched": ("labels without a match", "labels an epoch"),
    "train/labels": ("labels", "labels an epoch"),
    "train/positives": ("positives", "positives an epoch"),
    DERIVED: (DERIVED, "positives / labels"),
    "train/gradient": ("gradient norm, mean", "norm"),
    "train/gradient_max": ("gradient norm, largest", "norm"),
    "probe/iou": ("IoU of positives", "fraction"),
    "probe/low_iou": ("positives with IoU below 0.1", "fraction"),
    "probe/objectness": ("objectness of positives", "fraction"),
    "probe/calibration": ("distance of objectness from IoU", "fraction"),
    "probe/moved": ("labels whose anchor changed", "fraction"),
    **{f"probe/scale_{s}": (f"labels assigned at scale {s}", "fraction") for s in range(3)},
    "probe/near_misses": ("near misses", "near misses / labels"),
    "probe/near_objectness": ("objectness of near misses", "fraction"),
    "probe/near_share": ("near misses in the no-object loss", "fraction"),
    "probe/sure_AP50": ("AP50 of sure detections", "fraction"),
    "probe/sure_found": ("objects found with confidence 0.3", "fraction"),
    "probe/duplicates": ("duplicates with confidence 0.3", "duplicates / objects"),
    "probe/false": ("other false with confidence 0.3", "false / objects"),
    "glance/AP50": ("glance: AP50 right after the step", "fraction"),
    "glance/AP50_batch": ("the same in training mode", "fraction"),
    "lr": ("learning rate", "rate"),
    "seconds": ("training", "seconds an epoch"),
    "eval_seconds": ("evaluation", "seconds"),
    "memory_mb": ("peak memory so far", "MB"),
}
"""Title of a diagram and label of its y axis; other metrics have their name as title."""

COLUMNS = 3

DECADES = 2.0
"""Metrics above zero that span more powers of ten than this have a logarithmic axis; fractions never have one."""

FRACTIONS = ("Precision and recall", "Probes")


def group_of(metric: str) -> str:
    """Return the group in which a metric is drawn."""
    if metric.startswith(("probe/", "glance/")):
        return "Probes"
    if metric in ("train/labels", "train/positives", "train/unmatched", DERIVED):
        return "Assignment"
    if metric.startswith(("train/", "val/")) and "gradient" not in metric:
        return "Losses"
    return "Precision and recall" if metric.startswith(("AP", "AR")) else "The run"


def grouped(metrics: Sequence[str]) -> dict[str, list[str]]:
    """Return the metrics of each group that has any, the most important first."""
    order = sorted(metrics, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    groups = {group: [name for name in order if group_of(name) == group] for group in GROUPS}
    return {group: names for group, names in groups.items() if names}


def limits(variants: Sequence[Histories], metric: str) -> tuple[float, float, bool]:
    """Return the lower and upper end of a metric's axis in all figures, and whether it is logarithmic."""
    means, sds = zip(*(band(runs.curve(metric)) for runs in variants), strict=True)
    mean, sd = np.concatenate(means), np.nan_to_num(np.concatenate(sds))
    mean, sd = mean[~np.isnan(mean)], sd[~np.isnan(mean)]
    if group_of(metric) not in FRACTIONS and mean.min() > 0 and math.log10(mean.max() / mean.min()) > DECADES:
        return float(mean.min() / 1.5), float((mean + sd).max() * 1.5), True
    # Bands may end below zero, but a metric that never does has an axis from zero, if zero is near.
    low, high = float((mean - sd).min()), float((mean + sd).max())
    margin = 0.05 * (high - low)
    if mean.min() >= 0 and low < 0.3 * high:
        return 0.0, high + margin, False
    return low - margin, high + margin, False


def style(place: int) -> dict[str, object]:
    """Return colour and style of the line of a variant by its place in the study, the same in every figure."""
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": STYLES[place % len(STYLES)]}


def plot_curves(
    path: Path,
    variants: Mapping[str, Histories],
    metrics: Sequence[str],
    axes_limits: Mapping[str, tuple[float, float, bool]],
    places: Mapping[str, int],
    epochs: int,
) -> None:
    """Draw a diagram for each metric into one PNG: mean over the seeds, and mean ± standard deviation as a band.

    Args:
        path: The PNG.
        variants: By name, those that are drawn.
        metrics: The metrics.
        axes_limits: The ends of each metric's axis, from `limits`.
        places: The place of each variant in the study, which decides its colour.
        epochs: The end of the common x axis.
    """
    # The legend above the diagrams has as many columns as their names leave room for.
    labels = dict(zip(variants, words([*variants]), strict=True))
    columns = max(1, min(len(variants), int(125 / (9 + max(map(len, labels.values()))))))
    lines = math.ceil(len(variants) / columns)
    # Diagrams in rows of three.
    rows = math.ceil(len(metrics) / COLUMNS)
    layout = ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.06)  # inches
    figure = Figure(figsize=(11, 2.6 * rows + 0.25 * lines + 0.2), layout=layout, dpi=110)
    diagrams = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes in diagrams.flat[len(metrics) :]:
        axes.set_visible(False)
    # Bands are paler where many would cover each other.
    alpha = 0.15 if len(variants) <= 4 else 0.07
    for axes, metric in zip(diagrams.flat, metrics, strict=False):
        for name, runs in variants.items():
            _line(axes, runs.curve(metric), places[name], labels[name], alpha)
        _finish(axes, metric, axes_limits[metric], epochs)
    handles, texts = diagrams.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, texts, loc="outside upper center", ncols=columns, fontsize=9, handlelength=3.5, frameon=False
    )
    save(figure, path)


def _line(axes: Axes, curve: np.ndarray, place: int, label: str, alpha: float) -> None:
    """Draw one variant with a band of this opacity. Epochs without value are skipped; a single value is a dot."""
    mean, sd = band(curve)
    there = ~np.isnan(mean)
    x, mean, sd = np.arange(1, len(mean) + 1)[there], mean[there], sd[there]
    marker = "o" if len(x) == 1 else None
    axes.plot(x, mean, linewidth=1.6, label=label, marker=marker, markersize=4, **style(place))  # type: ignore[arg-type]
    if not np.isnan(sd).all():
        axes.fill_between(x, mean - sd, mean + sd, color=COLOURS[place % len(COLOURS)], alpha=alpha, linewidth=0)


def _finish(axes: Axes, metric: str, ends: tuple[float, float, bool], epochs: int) -> None:
    """Set the title, the labels and the common ends of both axes."""
    low, high, logarithmic = ends
    group = group_of(metric)
    usual = "fraction" if group in FRACTIONS else "loss" if group == "Losses" else "value"
    title, unit = TITLES.get(metric, (metric, usual))
    axes.set_title(words([title])[0], fontsize=10)
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
