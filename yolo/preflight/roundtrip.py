"""The round trip: the predictions of a perfect network, through detection and metrics, must find every object.

Ground truth -> assignment -> perfect raw predictions -> decoding -> NMS -> AP50. What is lost on the way has a cause
that training cannot remove, such as two objects that share a prediction. What is lost without a cause is a fault of
the program: training and detection disagree about coordinates or classes.

Letters: `G` objects of all images, `T` IoU thresholds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from yolo.boxes import Detections, iou
from yolo.data.datasets import ImageDataset
from yolo.evaluation.detect_all import truths_in
from yolo.metrics.coco import CocoResult, Rules, evaluate
from yolo.metrics.collect import found_in
from yolo.metrics.records import Truths, lexsort, make_records, select
from yolo.metrics.verdict import verdict
from yolo.options.detection import EVALUATION
from yolo.preflight.line import Line, Row, judged
from yolo.preflight.subject import Subject
from yolo.preflight.trial import within

IMAGES = 64
"""The largest number of images that make the trip."""

MANY = 0.05
"""Share of lost objects from which it is a warning."""

EXACT = 0.95
"""A lower mean IoU of objects and boxes is a shift; arithmetic in bfloat16 loses less."""

UNLIMITED = replace(EVALUATION, max_detections=None)
FILTERS = (EVALUATION, UNLIMITED, replace(UNLIMITED, nms=1.0))
LIMIT = f"beyond the limit of {EVALUATION.max_detections} detections"
NMS = f"suppressed by NMS at {EVALUATION.nms:g}"
UNKNOWN = "for no known cause"

RULES = Rules(areas={"all": (0.0, float("inf"))}, limits=(10**9,))  # the limit on detections is that of the filter


@dataclass
class Trip:
    """What came back."""

    images: list[int] = field(default_factory=list)
    """Those that made the trip."""
    told: list[str] = field(default_factory=list)
    """The model's causes for each of their objects; empty where the model finds it."""
    detections: list[list[Detections]] = field(default_factory=lambda: [[] for _ in FILTERS])
    """Those of each image, by filter."""
    remedy: str = ""
    """What would lose fewer objects, of the first batch for which the model knows it."""


def round_trip(subject: Subject) -> list[Line]:
    """Return what becomes of the objects of some training images, without augmentation, in one line.

    No line if the model cannot tell, or if there are no objects.
    """
    with torch.no_grad():
        trip = _travel(subject)
    data = ImageDataset(subject.parts.data.index.with_images(trip.images))
    truths = truths_in(data)
    objects = int((~truths.crowd).sum())
    if not objects:
        return []
    results = [_evaluated(found, truths, data.names) for found in trip.detections]
    causes = _causes(trip.told, truths, [_missed(result, truths) for result in results])
    lost, which = causes.total(), f"{objects} objects in {len(data)} images"
    listed = "; ".join(f"{cause}: {count}, {count / objects:.1%}" for cause, count in causes.most_common())
    found = f"{lost} of {which} ({lost / objects:.1%}) cannot be found ({listed})" if lost else f"{which} are all found"
    what = f"{found}; perfect predictions have AP50 {results[0].ap(0.5):.3f}"
    overlap = _overlap(results[0])
    rows: list[Row] = [
        (UNKNOWN in causes, "FAIL", what,
         "training and detection disagree about coordinates or classes: compare `losses` and `select`"),
        (lost == objects, "FAIL", what, trip.remedy or "no training can find these objects"),
        (overlap < EXACT, "WARN", f"boxes come back shifted, mean IoU {overlap:.3f}; {what}",
         "compare the boxes of `losses` and `select`; training also clips boxes that stick out of their image"),
        (lost >= MANY * objects, "WARN", what, trip.remedy or "no training can exceed this AP50"),
    ]  # fmt: skip
    return [judged("round trip", what, rows)]


def _travel(subject: Subject) -> Trip:
    """Send some images through the model, those with objects first, until the time is used up."""
    detector, parts, trip = subject.detector(), subject.parts, Trip()
    chosen, size = sorted(subject.order[:IMAGES]), parts.options.batch_size
    for first in within(subject.left, range(0, len(chosen), size)):
        batch = chosen[first : first + size]
        images, targets = subject.plain(batch)
        with parts.arithmetic():
            perfect = detector.perfect(images.to(detector.device), targets)
        if perfect is None:
            break
        placements = [detector.prepared(parts.data, k)[1] for k in batch]
        for found, options in zip(trip.detections, FILTERS, strict=True):
            found += [one.to("cpu") for one in detector.select(perfect.predictions, placements, options)]
        trip.images += batch
        trip.told += [reason for image in perfect.lost for reason in image]
        if perfect.remedy and not trip.remedy:
            trip.remedy = f"{perfect.remedy} (in {len(batch)} of the images)"
    return trip


def _evaluated(detections: Sequence[Detections], truths: Truths, names: list[str]) -> CocoResult:
    """Return COCO's metrics of the detections in each image; those of unknown classes are left out."""
    found = found_in(detections)
    found = select(found, ((found.label >= 0) & (found.label < len(names))).nonzero().squeeze(1))
    return evaluate(make_records(torch.arange(len(detections)), truths, found, len(names)), names, RULES)


def _missed(result: CocoResult, truths: Truths) -> Tensor:
    """Return which `truths` no detection finds at IoU 0.5, bool `[G]`, in their order."""
    missed = torch.zeros_like(truths.crowd)
    missed[lexsort(truths.label, truths.image)] = verdict(result).missed
    return missed


def _causes(told: Sequence[str], truths: Truths, missed: Sequence[Tensor]) -> Counter[str]:
    """Return the number of lost objects by cause: first what the model told, then what other filters find.

    `missed` are the objects that each filter misses. If two objects of a class share a prediction, the one that it
    finds may be the one that the model takes for lost: the cause is that of the other one, then.
    """
    groups = list(zip(truths.image.tolist(), truths.label.tolist(), strict=True))
    rows = list(zip(groups, told, *(each.tolist() for each in missed), strict=True))
    spare: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    for (group, cause, lost, _, _), crowd in zip(rows, truths.crowd.tolist(), strict=True):
        spare[group] += [cause] if cause and not lost and not crowd else []
    causes: Counter[str] = Counter()
    for group, cause, lost, without_limit, without_nms in rows:
        if lost:
            filtered = LIMIT if not without_limit else NMS if not without_nms else UNKNOWN
            causes[cause or (spare[group].pop() if spare[group] else filtered)] += 1
    return causes


def _overlap(result: CocoResult) -> float:
    """Return the mean IoU of the objects that are found with the boxes that find them; NaN without any."""
    own, records = verdict(result), result.records
    pairs = records.found.boxes[own.hit], records.truths.boxes[own.truth[own.hit]]
    return float(iou(*(torch.cat((boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]), dim=1) for boxes in pairs)).mean())
