"""What an exported file costs against its detector, measured on a data set: AP, single detections, and with what.

Letters: `C` classes, `G` groups: an image and a class.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yolo.data.datasets import ImageDataset
from yolo.evaluation.detect_all import detect_with_each, truths_in
from yolo.files.atomic import replacing
from yolo.metrics.bootstrap import centred, resampled
from yolo.metrics.coco import CocoResult, evaluate
from yolo.metrics.match import overlap
from yolo.metrics.precision import defined
from yolo.metrics.records import Found, lexsort, make_records
from yolo.models.detector import Detector
from yolo.models.exported import ExportedDetector, RawDetector
from yolo.options.detection import EVALUATION, Filter
from yolo.process.machine import processor
from yolo.version import VERSION

SAME = 0.5
"""The smallest IoU of two boxes that are the same detection."""

WORST = 3
"""Number of classes that are named."""

DIGITS = 4


class Differences(NamedTuple):
    """How two lists of detections in the same images differ.

    Two detections are the same if image and class are, and the IoU of their boxes is at least `SAME`. By descending
    score, each of the reference's takes the one that it overlaps most of those that are left. `lost` are the
    reference's that find none, `won` those that are left over; `score` and `box` are the largest differences of a score
    and of an edge in pixels between the same ones, 0 if there are none.
    """

    same: int
    lost: int
    won: int
    score: float
    box: float

    def changed(self, confidence: float) -> str:
        """Return how many of them changed, as a sentence with a space before it; empty if none did.

        An AP that cannot be told from the reference's may still be made of other detections.
        """
        if not self.lost + self.won:
            return ""
        before = self.same + self.lost
        return (
            f" At confidence {confidence:g}, {self.lost:,} of {before:,} detections are lost and {self.won:,} are new."
        )


@dataclass(frozen=True)
class Certificate:
    """Figures with a sentence that says what they mean. `content` is json: a value that is not defined is null."""

    content: dict[str, Any]

    @property
    def verdict(self) -> str:
        """What the file costs, in a sentence or two."""
        return str(self.content["verdict"])

    def write(self, path: Path) -> Path:
        """Write it as json, whole or not at all, and return the path."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        return path

    def page(self) -> str:
        """Return it as text of at most 80 columns, names of classes and files excepted."""
        c, file, data, counts = (self.content, *(self.content[key] for key in ("file", "data", "detections")))
        lines = [
            f"certificate of {file['path']}, {file['computed by']}",
            f"on {data['images']:,} images of {data['path']}{', ' + data['split'] if data['split'] else ''}, "
            f"{data['objects']:,} objects",
            "",
            f"{'':<12}{'AP':<30}AP50",
        ]
        for key, words in (("reference", "PyTorch"), ("file", "the file"), ("difference", "difference")):
            cells = [_interval(c[name][key], sign=key == "difference") for name in ("AP", "AP50")]
            lines.append(f"{words:<12}{cells[0]:<30}{cells[1]}")
        lines += ["in brackets: 95 % of resampled images, the same ones for both", "", fill(self.verdict, 80), ""]
        lines += [
            f"at confidence {counts['confidence']:g}, NMS {counts['nms']:g}: {counts['same']:,} detections are the "
            f"same, {counts['lost']:,} lost, {counts['won']:,} won",
            f"  (same: the class, and IoU from {SAME:g}); the scores of the same ones differ by up to",
            f"  {counts['score']:.2g}, the edges of their boxes by up to {counts['box']:.3g} pixels",
        ]
        for row in c["classes"]:
            change = f"{row['reference']:.{DIGITS}f} -> {row['file']:.{DIGITS}f}"
            lines.append(f"  AP of {row['name']}: {change} ({row['objects']:,} object{'s' * (row['objects'] != 1)})")
        return "\n".join([*lines, f"{c['machine']}; {c['date']}"])


def certify(
    reference: Detector,
    exported: ExportedDetector | RawDetector,
    data: ImageDataset,
    path: str,
    *,
    batch_size: int = 16,
    resamples: int = 1000,
) -> Certificate:
    """Run a detector and its exported file on the same images and return what differs.

    Args:
        reference: the detector that the file was made from, in its own arithmetic.
        exported: the file, with the engine and the arithmetic that it will be used with.
        data: the images, and the objects in them.
        path: where the data are, in words.
        batch_size: images per batch.
        resamples: number of resamples of the images for the intervals.

    AP is that of the thresholds of evaluation, single detections are those of the thresholds of detection.
    """
    fixed: dict[str, Any] = {"agnostic": exported.agnostic} if isinstance(exported, ExportedDetector) else {}
    asked = [replace(EVALUATION, **fixed), usual := replace(Filter(), **fixed)]
    found = [detect_with_each(model, data, batch_size, asked) for model in (reference, exported)]
    ids, truths = torch.from_numpy(data.index.image_ids), truths_in(data)
    one, other = (evaluate(make_records(ids, truths, _on_cpu(own[0]), len(data.names)), data.names) for own in found)
    figures = compared(one, other, resamples)
    metadata, counts = exported.session.metadata, differences(*(_on_cpu(own[1]) for own in found))
    content: dict[str, Any] = {
        "verdict": f"{verdict(figures['AP'], len(data))}{counts.changed(usual.confidence)}",
        **figures,
        "detections": {
            "confidence": usual.confidence,
            "nms": usual.nms,
            **counts._asdict(),
        },
        "classes": worst_classes(one, other),
        "data": {
            "path": path,
            "split": data.part.split if data.part else None,
            "images": len(data),
            "objects": len(truths.label),
        },
        "file": {
            "path": str(exported.session.path),
            "sha256": sha256(Path(exported.session.path).read_bytes()).hexdigest(),
            "sha256 of the weights": metadata.get("sha256"),
            "precision": metadata.get("precision", "fp32"),
            "computed by": exported.conditions(EVALUATION)["computed by"],
            "written by version": metadata.get("version"),
        },
        "conditions": reference.conditions(asked[0]),
        "versions": {"exact-yolov3": VERSION, "torch": torch.__version__, "onnx": version("onnx")},
        "machine": processor(),
        "date": date.today().isoformat(),
    }
    return Certificate(content)


def compared(one: CocoResult, other: CocoResult, resamples: int = 1000) -> dict[str, dict[str, Any]]:
    """Return AP and AP50 of both and of the difference, each with the ends of an interval; None where not defined.

    The resamples of both have the same images, so what is hard about an image does not widen the interval of the
    difference. An interval is the central 95 % of the resamples, moved so that their mean is at the value, as those of
    `bootstrap` are.
    """
    drawn = [resampled(result, resamples) for result in (one, other)]  # [resamples, thresholds]
    half = one.rules.thresholds.index(0.5)
    found: dict[str, dict[str, Any]] = {"AP": {}, "AP50": {}}
    for name, threshold, columns in (("AP", None, slice(None)), ("AP50", 0.5, slice(half, half + 1))):
        values = [defined(result.ap(threshold)) for result in (one, other)]
        means = [rows[:, columns].mean(1) for rows in drawn]
        for key, value, rows in zip(("reference", "file"), values, means, strict=True):
            found[name][key] = _with_ends(value, rows, low=0.0)
        gap = None if values[0] is None or values[1] is None else values[1] - values[0]
        found[name]["difference"] = _with_ends(gap, means[1] - means[0], low=-1.0)
    return found


def _with_ends(value: float | None, resamples: Tensor, low: float) -> dict[str, float | None]:
    """Return a value with the ends of its interval, which are clipped to `low` to 1."""
    there = resamples[~resamples.isnan()]
    if value is None or not len(there):
        return {"value": value, "low": None, "high": None}
    return {"value": value, **centred(value, there, lowest=low)._asdict()}


def verdict(figures: dict[str, Any], images: int) -> str:
    """Return what a difference of AP with its interval means, in one sentence."""
    value, low, high = (figures["difference"][key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "AP is not defined: there are no objects to find."
    shown = _interval(figures["difference"], sign=True)
    if not any(round(number, DIGITS) for number in (value, low, high)):
        return f"AP is the same to {DIGITS} digits on {images:,} images."
    if high - low < 1e-9:  # every resample with objects has the same ones, so it says nothing about other images
        return (
            f"AP differs by {value:+.{DIGITS}f}: too few of the {images:,} images have objects to say whether it costs."
        )
    if low <= 0 <= high:
        return f"AP differs by {shown}: not distinguishable on {images:,} images."
    return f"The file {'costs' if value < 0 else 'gains'} AP: {shown}, measured on {images:,} images."


def differences(reference: Found, other: Found) -> Differences:
    """Compare the detections of two detectors in the same images, as `Differences` says."""
    groups = [_groups(found) for found in (reference, other)]
    same, score, box = 0, 0.0, 0.0
    for key in groups[0].keys() & groups[1].keys():
        mine, theirs = groups[0][key], groups[1][key]
        overlaps = overlap(reference.boxes[mine, None], other.boxes[theirs])
        edges = (_edges(reference.boxes[mine, None]) - _edges(other.boxes[theirs])).abs().amax(2)
        scores = (reference.scores[mine, None] - other.scores[theirs]).abs()
        for k in range(len(mine)):  # by descending score
            best = int(overlaps[k].argmax())
            if overlaps[k, best] >= SAME:
                overlaps[:, best] = -1
                same, score, box = same + 1, max(score, float(scores[k, best])), max(box, float(edges[k, best]))
    return Differences(same, len(reference.label) - same, len(other.label) - same, score, box)


def _groups(found: Found) -> dict[tuple[int, int], Tensor]:
    """Return the indices of the detections of each image and class, by descending score."""
    order = lexsort(found.image, found.label, -found.scores)
    keys = torch.stack((found.image, found.label), 1)[order]
    unique, counts = torch.unique_consecutive(keys, dim=0, return_counts=True)
    parts = order.split(counts.tolist())
    return {(image, label): part for (image, label), part in zip(unique.tolist(), parts, strict=True)}


def worst_classes(one: CocoResult, other: CocoResult) -> list[dict[str, Any]]:
    """Return the classes that lose most AP, the worst first, and at most `WORST`; only those that lose."""
    rows = [
        {"name": a["name"], "objects": a["objects"], "reference": a["AP"], "file": b["AP"]}
        for a, b in zip(one.per_class(), other.per_class(), strict=True)
        if round(a["AP"], DIGITS) > round(b["AP"], DIGITS)
    ]
    return sorted(rows, key=lambda row: row["file"] - row["reference"])[:WORST]


def _interval(figures: dict[str, Any], *, sign: bool = False) -> str:
    """Return `0.1954 (0.1702 to 0.2201)`."""
    shown = [
        "n/a"
        if number is None or math.isnan(number)
        else f"{round(number, DIGITS) + 0.0:{'+' if sign else ''}.{DIGITS}f}"
        for number in (figures[key] for key in ("value", "low", "high"))
    ]
    return f"{shown[0]} ({shown[1]} to {shown[2]})" if figures["low"] is not None else shown[0]


def _edges(boxes: Tensor) -> Tensor:
    """Return left, top, right, bottom of boxes left, top, width, height."""
    return torch.cat((boxes[..., :2], boxes[..., :2] + boxes[..., 2:]), dim=-1)


def _on_cpu(found: Found) -> Found:
    return Found._make(field.cpu() for field in found)
