"""Figures of the answers of a localizer, as images: presence, and the overlap of the boxes."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from yolo.localize.metrics import Answers, class_metrics, precision_recall, presence_metrics


def presence_figure(answers: Answers) -> np.ndarray:
    """Return precision against recall of presence, uint8 `[h, w, 3]` RGB.

    The curve has steps, whose area is the average precision. A point marks the threshold 0.5, a line the share of
    images with the object, which is the precision of random scores.
    """
    precision, recall = (curve.numpy() for curve in precision_recall(answers))
    numbers = presence_metrics(answers, torch.zeros(4))  # those of boxes are not shown
    there = answers.true_label >= 0
    title = f"Presence: {int(there.sum()):,} of {len(there):,} images have the object"
    figure, axes = _axes("recall", "precision", title)
    axes.set_ylim(0, 1.02)
    if there.any():
        x, y = np.append(0, recall), np.append(precision[0], precision)
        area = f"average precision {numbers['AP_presence']:.3f}"
        axes.plot(x, y, drawstyle="steps-pre", color="tab:blue", linewidth=1.8, label=area)
        at = numbers["recall"], numbers["precision"]
        label = f"threshold 0.5: recall {at[0]:.3f}, precision {at[1]:.3f}"
        axes.plot(*at, "o", color="black", clip_on=False, label=label)
        share = float(there.double().mean())
        axes.axhline(share, color="grey", linestyle="dashed", label=f"share of images with the object {share:.3f}")
    return _image(figure, axes)


def iou_figure(answers: Answers, mean_box: Tensor) -> np.ndarray:
    """Return a histogram of the IoU of answered and true boxes, uint8 `[h, w, 3]` RGB.

    Lines mark the mean, that of always answering the mean box of the training set (`mean_box` `[4]`, xyxy as fractions
    of the image), and 0.5, from which on an object counts as found.
    """
    overlaps, numbers = answers.objects().overlaps(), class_metrics(answers, mean_box)
    figure, axes = _axes("IoU", "objects", f"IoU of the boxes of {len(overlaps):,} objects")
    axes.hist(overlaps.numpy(), bins=np.linspace(0, 1, 21).tolist(), color="tab:blue", alpha=0.6)
    if len(overlaps):
        axes.axvline(0.5, color="grey", linestyle="dotted", label=f"0.5 or more: {numbers['IoU50']:.1%} of the objects")
        axes.axvline(numbers["IoU"], color="black", label=f"mean {numbers['IoU']:.3f}")
        label = f"always the mean box: mean {numbers['IoU_mean_box']:.3f}"
        axes.axvline(numbers["IoU_mean_box"], color="tab:red", linestyle="dashed", label=label)
    return _image(figure, axes)


def _axes(x: str, y: str, title: str) -> tuple[Figure, Axes]:
    """Return a page with one diagram whose x axis goes from 0 to 1."""
    figure = Figure(figsize=(7, 5.5), layout="constrained", dpi=110)
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y, title=title, xlim=(0, 1))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _image(figure: Figure, axes: Axes) -> np.ndarray:
    """Return the page as pixels, uint8 `[h, w, 3]` RGB, with a legend below the diagram if anything is named."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        axes.text(0.5, 0.5, "not defined without objects", ha="center", va="center", transform=axes.transAxes)
    figure.legend(handles, labels, loc="outside lower center", fontsize=9, frameon=False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
