"""The report of one evaluation: tables, metrics.json, per_class.csv, plots.

Letters: `C` classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from yolo.files.atomic import replacing
from yolo.files.harmless import csv_lines
from yolo.files.shown import one_line
from yolo.metrics.bootstrap import Interval, bootstrap
from yolo.metrics.coco import LIMITS, CocoResult, Metric, evaluate
from yolo.metrics.confusion import confusion_matrix
from yolo.metrics.curves import Best, Curves, confidence_curves
from yolo.metrics.darknet_map import DarknetMap, darknet_map
from yolo.metrics.errors import Errors, error_breakdown
from yolo.metrics.precision import defined, in_words, mean_over_classes
from yolo.metrics.records import Records
from yolo.metrics.voc import voc_ap


@dataclass(frozen=True, kw_only=True)
class Report:
    """The metrics of one set of detections.

    `conditions`: what the numbers depend on, as words to print by topic. `voc`: AP50 float64 `[C]` by the number of
    points, 0 for the whole curve. `darknet`: by `-points`. `confusion`: int64 `[C + 1, C + 1]` at `confidence`.
    """

    result: CocoResult
    conditions: Mapping[str, str]
    intervals: dict[str, Interval]
    voc: dict[int, Tensor]
    darknet: dict[int, DarknetMap]
    curves: Curves
    confusion: Tensor
    confidence: float
    errors: Errors


def make_report(
    records: Records, names: list[str], conditions: Mapping[str, str], *, confidence: float, resamples: int
) -> Report:
    """Compute COCO's metrics, and all others by their own rules at IoU 0.5.

    Args:
        records: objects and detections.
        names: `[C]` class names.
        conditions: what the numbers depend on, as words to print by topic.
        confidence: of the confusion matrix and of darknet's counts.
        resamples: number of resamples for the intervals; 0 for no intervals.
    """
    result = evaluate(records, names)
    return Report(
        result=result,
        conditions=conditions,
        intervals=bootstrap(result, resamples) if resamples else {},
        voc={points: voc_ap(records, points=points) for points in (0, 11)},
        darknet={points: darknet_map(records, points=points, confidence=confidence) for points in (0, 11, 101)},
        curves=confidence_curves(result),
        confusion=confusion_matrix(result, confidence),
        confidence=confidence,
        errors=error_breakdown(result),
    )


def table(report: Report) -> str:
    """Return the report as text: the conditions, COCO's twelve, the other metrics."""
    result, darknet, best, errors = report.result, report.darknet[0], report.curves.best[-1], report.errors
    truths, metrics = result.records.truths, result.rules.metrics()
    coco = [_coco_line(name, metrics[name], n, report.intervals.get(name)) for name, n in result.numbers().items()]
    there = bool((~truths.crowd).any())  # where there is nothing to find, there is no share of it
    maps = ", ".join(f"{in_words(found.map if there else None)} (points {n})" for n, found in report.darknet.items())
    costs = sorted(errors.cost.items(), key=lambda item: -item[1])
    lines = [
        f"{result.records.images:,} images, {len(truths.label):,} objects ({int(truths.crowd.sum())} crowds), "
        f"{len(result.names)} classes, {len(result.records.found.label):,} detections",
        "conditions: " + ", ".join(f"{key} {value}".strip() for key, value in report.conditions.items()),
        "",
        "          IoU        area    limit   value" + ("   95 % of resampled images" if report.intervals else ""),
        *coco,
        "",
        f"VOC AP50      {in_words(mean_over_classes(report.voc[0]))} (whole curve), "
        f"{in_words(mean_over_classes(report.voc[11]))} (11 points)",
        f"darknet map   {maps}",
        f"  above {darknet.confidence:g}: TP {darknet.tp}, FP {darknet.fp}, FN {darknet.fn}, "
        f"precision {darknet.precision:.2f}, recall {darknet.recall:.2f}, F1 {darknet.f1:.2f}, IoU {darknet.iou:.2%}",
    ]
    if there:
        lines += [
            f"best F1       {best.f1:.4f} at confidence {best.confidence:.4f}: "
            f"precision {best.precision:.4f}, recall {best.recall:.4f} (all classes together, IoU 0.5)",
            "AP50 lost     " + ", ".join(f"{kind} {cost:.4f} ({errors.number[kind]:,})" for kind, cost in costs),
        ]
    return "\n".join(lines)


def class_table(report: Report) -> str:
    """Return a line for each class, with `-` instead of numbers for a class without objects."""
    rows = [row | {"class": one_line(row["class"])} for row in class_rows(report)]
    width = max([5, *(len(row["class"]) for row in rows)])
    lines = [f"{'class':<{width}}  objects  detections      AP    AP50    AP75   AR100  best F1  at confidence"]
    for row in rows:
        cells = [f"{row['objects']:8,}", f"{row['detections']:11,}"]
        cells += [_cell(row[key], 7) for key in ("AP", "AP50", "AP75", "AR100")]
        cells += [_cell(row["best_f1"], 8), _cell(row["best_confidence"], 14)]
        lines.append(f"{row['class']:<{width}} {' '.join(cells)}")
    return "\n".join(lines)


def class_rows(report: Report) -> list[dict[str, Any]]:
    """Return a row for each class: `class objects detections AP AP50 AP75 AR100 voc_AP50 darknet_AP50`, and the
    confidence with the best F1, `best_confidence best_f1 precision recall`. Without objects numbers are -1."""
    voc, darknet = report.voc[0].tolist(), report.darknet[0].ap.tolist()
    rows = []
    for c, row in enumerate(report.result.per_class()):
        best = report.curves.best[c] if row["objects"] else Best(-1.0, -1.0, -1.0, -1.0)
        rows.append(
            {
                "class": row["name"],
                **{key: row[key] for key in ("objects", "detections", "AP", "AP50", "AP75")},
                "AR100": row["AR"],
                "voc_AP50": voc[c],
                "darknet_AP50": darknet[c],
                "best_confidence": best.confidence,
                "best_f1": best.f1,
                "precision": best.precision,
                "recall": best.recall,
            }
        )
    return rows


def summary_dict(report: Report) -> dict[str, Any]:
    """Return the content of metrics.json: COCO's twelve as fractions under their names, then the other metrics.

    A metric of objects that the data does not have is None.
    """
    records, errors = report.result.records, report.errors
    return {
        **{name: defined(value) for name, value in report.result.numbers().items()},
        "interval95": {key: list(ends) for key, ends in report.intervals.items()},
        "conditions": dict(report.conditions),
        "images": records.images,
        "objects": len(records.truths.label),
        "crowds": int(records.truths.crowd.sum()),
        "detections": len(records.found.label),
        "voc_AP50": {
            "whole_curve": defined(mean_over_classes(report.voc[0])),
            "11_points": defined(mean_over_classes(report.voc[11])),
        },
        "darknet": {
            "map": {f"points_{points}": found.map for points, found in report.darknet.items()},
            **{key: value for key, value in report.darknet[0]._asdict().items() if key not in ("map", "ap")},
        },
        "best_f1": report.curves.best[-1]._asdict(),
        "errors": {kind: {"number": errors.number[kind], "cost_AP50": errors.cost[kind]} for kind in errors.cost},
    }


def write_report(report: Report, folder: Path, content: Mapping[str, Any]) -> None:
    """Write metrics.json, per_class.csv (with empty cells where a class has no objects) and four plots into a folder.

    `content` is that of metrics.json.

    Raises:
        OSError: A file cannot be written.
    """
    # Matplotlib takes half a second to import, and an evaluation without files needs none of it.
    from yolo.evaluation.plots import plot_confusion, plot_errors, plot_f1, plot_precision_recall

    with replacing(folder / "metrics.json") as temporary:
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        temporary.write_text(text, "utf-8", "backslashreplace")  # half a UTF-16 pair becomes an escape of json
    rows = class_rows(report)
    cells = [["" if value == -1 else value for value in row.values()] for row in rows]
    with replacing(folder / "per_class.csv") as temporary:
        temporary.write_text(csv_lines([list(rows[0]), *cells]), "utf-8", "backslashreplace", newline="")
    names, curves, best = report.result.names, report.curves, report.curves.best[-1]
    precision = report.result.precision[report.result.rules.thresholds.index(0.5), :, :, 0].numpy()
    plot_precision_recall(folder / "precision_recall.png", precision, [row["AP50"] for row in rows], names)
    plot_f1(folder / "f1.png", curves.confidence.numpy(), curves.f1.numpy(), (best.confidence, best.f1), names)
    plot_confusion(folder / "confusion.png", report.confusion.numpy(), names, report.confidence)
    plot_errors(folder / "errors.png", report.errors.ap, report.errors.cost, report.errors.number)


def _coco_line(name: str, metric: Metric, value: float, interval: Interval | None) -> str:
    """Return the line of one of COCO's twelve: its name, what it is the mean of, its value and its interval."""
    threshold = "0.50:0.95" if metric.threshold is None else f"{metric.threshold:.2f}"
    ends = f"   {interval.low:.4f} to {interval.high:.4f}" if interval else ""
    return f"{name:<8}{threshold:<13}{metric.area or 'all':<8}{metric.limit or LIMITS[-1]:>4}{in_words(value):>9}{ends}"


def _cell(value: float, width: int) -> str:
    """Return a number for a column, `-` if it does not exist (-1)."""
    return f"{value:{width}.4f}" if value >= 0 else f"{'-':>{width}}"
