"""Plots of the metrics. Nothing is computed here.

Letters: `C` classes, `N` confidences, `R` recalls. Every function writes one PNG, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import PercentFormatter

from yolo.files.atomic import replacing
from yolo.images.draw import drawable

FEW = 10
"""Up to this number of classes, each has its own colour and its own line in the legend; more are drawn alike."""

MANY = 30
"""A matrix of more classes shows only the most confused ones, because its names would be too small to read."""


def plot_precision_recall(path: Path, precision: np.ndarray, ap: Sequence[float], names: Sequence[str]) -> None:
    """Plot precision against recall at IoU 0.5 for every class, and their mean.

    Args:
        path: the PNG file.
        precision: `[R, C]` at R recalls from 0 to 1, -1 for classes without objects.
        ap: `[C]` AP50 as fractions, for the legend; -1 for classes without objects.
        names: `[C]` class names.
    """
    with_objects = [c for c in range(len(names)) if ap[c] > -1]
    figure, axes = _axes("recall", "precision", f"Precision and recall at IoU 0.50 ({len(with_objects)} classes)")
    recall, names = np.linspace(0, 1, len(precision)), words(names)
    _class_lines(axes, recall, [(f"{names[c]}  {ap[c]:.3f}", precision[:, c]) for c in with_objects])
    if with_objects:
        mean = precision[:, with_objects].mean(axis=1)
        label = f"mean of the classes  {np.mean([ap[c] for c in with_objects]):.3f}"
        axes.plot(recall, mean, color="black", linewidth=2.5, label=label)
        figure.legend(title="AP50", loc="outside right upper", fontsize=9)
    save(figure, path)


def plot_f1(
    path: Path, confidence: np.ndarray, f1: np.ndarray, best: tuple[float, float], names: Sequence[str]
) -> None:
    """Plot F1 against the confidence for every class, and for all classes together with their best point.

    Args:
        path: the PNG file.
        confidence: `[N]`.
        f1: `[C + 1, N]`, the last row for all classes together; NaN for classes without objects.
        best: the confidence with the best F1 of all classes together, and this F1.
        names: `[C]` class names.
    """
    figure, axes = _axes("confidence", "F1", "F1 at IoU 0.50")
    names = words(names)
    _class_lines(axes, confidence, [(names[c], f1[c]) for c in range(len(names)) if not np.isnan(f1[c]).all()])
    axes.plot(confidence, f1[-1], color="black", linewidth=2.5, label="all objects together")
    if not np.isnan(f1[-1]).all():
        axes.plot(*best, "o", color="black", label=f"best: {best[1]:.3f} at {best[0]:.3f}")
    figure.legend(loc="outside right upper", fontsize=9)
    save(figure, path)


def plot_confusion(path: Path, matrix: np.ndarray, names: Sequence[str], confidence: float) -> None:
    """Plot a confusion matrix: a row per true class, a column per detected class, the last of both for background.

    The colour is the share of the row. Of more than 30 classes only those with the most confusions are shown.

    Args:
        path: the PNG file.
        matrix: `[C + 1, C + 1]` counts.
        names: `[C]` class names.
        confidence: the detections have a higher score; for the title.
    """
    # Shares are those of whole rows, whether or not all columns are shown.
    shown, names = _most_confused(matrix), words(names)
    part = matrix[np.ix_(shown, shown)]
    share = part / matrix[shown].sum(axis=1, keepdims=True).clip(min=1)
    labels = [*(names[c] for c in shown[:-1]), "background"]
    side = max(5.5, 0.36 * len(shown) + 2.5)
    figure = Figure(figsize=(side + 1, side), layout="constrained", dpi=110)
    axes = figure.subplots()
    drawn = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(shown)), labels, rotation=90)
    axes.set_yticks(range(len(shown)), labels)
    axes.set_xlabel("detected class (background: not found)")
    axes.set_ylabel("true class (background: nothing there)")
    left_out = len(names) + 1 - len(shown)
    note = f"\nthe {len(shown) - 1} classes with most confusions, {left_out} are left out" if left_out else ""
    axes.set_title(f"Confusions at IoU 0.50, confidence above {confidence:g}{note}", fontsize=11)
    # Background is separated by lines, and the counts are written into the cells.
    axes.hlines(len(shown) - 1.5, -0.5, len(shown) - 0.5, color="grey", linewidth=0.8)
    axes.vlines(len(shown) - 1.5, -0.5, len(shown) - 0.5, color="grey", linewidth=0.8)
    for row, column in zip(*np.nonzero(part), strict=True):
        ink = "white" if share[row, column] > 0.55 else "black"
        size = 9 if len(shown) <= FEW else 6
        axes.text(column, row, f"{part[row, column]}", ha="center", va="center", color=ink, fontsize=size)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.7, label="share of the row")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
    save(figure, path)


def plot_errors(path: Path, ap: float, cost: Mapping[str, float], number: Mapping[str, int]) -> None:
    """Plot the gain in AP50 without each kind of error. `cost`: the gains as fractions, `number`: the error counts."""
    title = "AP50 is not defined without objects" if ap == -1 else f"What AP50 = {ap:.3f} lacks"
    figure, axes = _axes("AP50 gained without these errors (number of them)", "", title, limits=False)
    kinds = sorted(cost, key=lambda kind: cost[kind])
    bars = axes.barh(kinds, [cost[kind] for kind in kinds], color=colormaps["tab10"](0))
    axes.bar_label(bars, [f"{cost[kind]:+.3f}  ({number[kind]:,})" for kind in kinds], padding=4, fontsize=9)
    low, high = min(0.0, *cost.values()), max(0.01, *cost.values())
    axes.set_xlim(low, high * 1.3)
    axes.grid(visible=False, axis="y")
    save(figure, path)


def words(names: Sequence[str]) -> list[str]:
    """Return names that matplotlib shows as they are: `$` starts no formula and a leading `_` does not hide a line.

    Letters that the font lacks become boxes.
    """
    known = _letters()
    return [
        ("" if name[:1] != "_" else " ")
        + "".join(c if ord(c) in known else "□" for c in drawable(name)).replace("$", r"\$")
        for name in names
    ]


@cache
def _letters() -> frozenset[int]:
    """Return the code points of the font, which comes with matplotlib."""
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def _axes(x: str, y: str, title: str, limits: bool = True) -> tuple[Figure, Axes]:
    """Return a page with one diagram. `limits`: both axes go from 0 to 1."""
    figure = Figure(figsize=(9, 5.5), layout="constrained", dpi=110)
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y, title=title)
    if limits:
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _class_lines(axes: Axes, x: np.ndarray, lines: Sequence[tuple[str, np.ndarray]]) -> None:
    """Draw a line per class, given as label and values: coloured and named if there are few, else thin and pale."""
    for n, (label, y) in enumerate(lines):
        if len(lines) <= FEW:
            axes.plot(x, y, color=colormaps["tab10"](n), linewidth=1.3, label=label)
        else:
            axes.plot(x, y, color="tab:blue", linewidth=0.7, alpha=0.3, label="one class each" if n == 0 else None)


def _most_confused(matrix: np.ndarray) -> list[int]:
    """Return the rows to show, ascending: all, or the classes with most counts off the diagonal, and background."""
    classes = len(matrix) - 1
    between = matrix[:-1, :-1] - np.diag(np.diag(matrix[:-1, :-1]))
    confusions = between.sum(axis=0) + between.sum(axis=1)
    chosen = np.argsort(-confusions, kind="stable")[:MANY]
    return [*sorted(chosen.tolist()), classes]


def save(figure: Figure, path: Path) -> None:
    """Write the page to a PNG file."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
