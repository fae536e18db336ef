"""What a run shows after its end: its curves, its metrics, and the gap between training images and others."""

from __future__ import annotations

from pathlib import Path

from yolo.data.datasets import ImageDataset
from yolo.data.sheet import spread
from yolo.models.load import load
from yolo.options.presets import read_options
from yolo.options.training import Training
from yolo.preflight.line import Line, Row, judged
from yolo.training.run_folder import OPTIONS, read_metrics
from yolo.training.sets import training_of
from yolo.training.totals import Best
from yolo.training.trend import CHANGED, FEWEST, OVERFITTING, Rows, series, trend_of
from yolo.training.validation import coco_metrics

IMAGES = 200
"""The most training images that are evaluated."""

GAP = 0.3
"""AP on training images that is higher by more than this is memory."""


def after(folder: Path) -> list[Line]:
    """Return the lines "end", "training loss", "validation loss", "detections", "metric", "gap" on the run in a folder.

    Its best weights are evaluated on training images. Raises FileNotFoundError without the options and metrics of a
    run, ValueError for damaged ones.
    """
    rows, options = read_metrics(folder), read_options(folder / OPTIONS)
    if not rows:
        remedy = "was the loss finite? The end of the output has the cause"
        return [Line("FAIL", "end", "no epoch was finished", remedy)]
    done, (_, ap) = f"{len(rows)} of {options.epochs} epochs", series(rows, "AP")
    _, trend, causes, overfits = trend_of(rows)
    broken = [str(row["epoch"] + 1) for row in rows if row.get("train/loss") is None]
    ends: list[Row] = [
        (broken, "FAIL", f"{done}; train/loss is not finite in epoch {', '.join(broken[:5])}",
         "a lower learning rate, --clip 10, or --precision fp32"),
        (len(rows) < options.epochs and options.early_stop is None, "WARN", f"{done}: the run did not reach its end",
         "--resume continues it, unless its output says that the loss was not finite"),
    ]  # fmt: skip
    found: list[Row] = [
        (not len(ap), "WARN", "AP is n/a: no epoch was evaluated, or there are no objects to evaluate on",
         "--eval-every 1, or images with objects by --val"),
        (not ap.any(), "FAIL", f"AP is 0 in all {len(ap)} evaluations",
         "python -m yolo check looks for the cause before a training; or train longer"),
    ]  # fmt: skip
    return [
        judged("end", f"{done}, all losses finite", ends),
        judged("training loss", trend, [(causes, "WARN", trend, causes)]),
        judged("validation loss", "val/loss does not rise", [(overfits, "WARN", overfits, OVERFITTING)]),
        judged("detections", f"AP is {ap.max(initial=0):.3f} at best", found),
        _metric(rows, options),
        _gap(folder, rows, options),
    ]


def _metric(rows: Rows, options: Training) -> Line:
    """Return the line on the metric that chose the best weights: still rising, or long past its best."""
    name = options.early_metric
    epochs, values = series(rows, name)
    if len(values) < FEWEST:
        few = f"too few evaluations to judge {name}: {len(values)}, at least {FEWEST} are needed"
        return Line("PASS", "metric", few)
    better = -values if "/" in name else values
    best, tail = int(better.argmax()), max(1, len(values) // 5)
    least = CHANGED * abs(values[best])
    words = f"{name} is {values[best]:.4g} at best, in epoch {epochs[best]}"
    ends = f"{words}, and {values[-tail:].mean():.4g} at the end: it overfits from epoch {epochs[best]} on"
    rising = better[best] > better[:-tail].max() + least
    falling = best < len(values) / 2 and better[-tail:].mean() < better[best] - least
    judgement: list[Row] = [
        (rising, "WARN", f"{words}, and is still improving", "train longer (--epochs)"),
        (falling, "WARN", ends, OVERFITTING),
    ]
    return judged("metric", words, judgement)


def _gap(folder: Path, rows: Rows, options: Training) -> Line:
    """Return the line on AP of the best weights on training images beside that of the run's evaluation."""
    best = Best(options.early_metric)
    chosen = [row for row in rows if options.early_metric in row and best.better(row["epoch"], row)]
    val = chosen[-1].get("AP") if chosen else None
    if val is None or options.eval_on == "train":
        return Line("SKIP", "gap", "not compared: there is no AP on other images than those of training")
    try:
        detector, data = load(folder), training_of(folder)
    except (OSError, ValueError) as problem:
        return Line("SKIP", "gap", f"not compared: {problem}")
    images = spread(len(data), IMAGES)
    train = coco_metrics(detector, ImageDataset(data.index.with_images(images)))["AP"] or 0.0
    found = f"AP is {train:.3f} on {len(images)} training images, {val:.3f} on others"
    remedy = "augment, freeze early layers (--freeze), train fewer epochs, or raise --weight-decay; or more images"
    return judged("gap", found, [(train - val > GAP, "WARN", found, remedy)])
