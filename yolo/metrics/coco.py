"""COCO's detection metrics, equal to pycocotools' to the last digit.

Letters: `I` images, `G` objects, `D` detections, `O` detections that reach some object, `C` classes, `T` IoU
thresholds, `R` recall points, `A` area ranges, `M` limits on the number of detections.

Definitions: https://cocodataset.org/#detection-eval, and where the page is silent, the program pycocotools (COCOeval).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from yolo.metrics.collect import Collector
from yolo.metrics.match import Matches, class_pairs, match
from yolo.metrics.precision import COCO_POINTS, EPS, curve, mean_over_classes, running
from yolo.metrics.records import Records

THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())

AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}

LIMITS = (1, 10, 100)


class Metric(NamedTuple):
    """What a number is the mean of, over all classes.

    `recall`: of recall, else of precision. `threshold`: at this IoU, else over all of them. `area`: for objects of this
    range, else of the first. `limit`: with this number of detections per image and class, else with the largest.
    """

    recall: bool = False
    threshold: float | None = None
    area: str | None = None
    limit: int | None = None


class Rules(NamedTuple):
    """The rules of an evaluation.

    `thresholds`: smallest IoUs of a match; AP is the mean over them. `areas`: ranges in square pixels by name, both
    ends included; the first is the one of AP and AR. `limits`: largest numbers of detections per image and class,
    ascending.
    """

    thresholds: tuple[float, ...] = THRESHOLDS
    areas: Mapping[str, tuple[float, float]] = AREAS
    limits: tuple[int, ...] = LIMITS

    def metrics(self) -> dict[str, Metric]:
        """Return the numbers of an evaluation by name, in pycocotools' order.

        An area is named by its first letter, a limit by its number.
        """
        _, *areas = self.areas
        table = {"AP": Metric(), "AP50": Metric(threshold=0.5), "AP75": Metric(threshold=0.75)}
        table |= {f"AP{area[0]}": Metric(area=area) for area in areas}
        table |= {f"AR{limit}": Metric(recall=True, limit=limit) for limit in self.limits}
        return table | {f"AR{area[0]}": Metric(recall=True, area=area) for area in areas}


METRICS = tuple(Rules().metrics())
"""The names of COCO's twelve numbers: AP AP50 AP75 APs APm APl, AR1 AR10 AR100, ARs ARm ARl."""


@dataclass(frozen=True)
class CocoResult:
    """The numbers of one evaluation, and the matches that they come from.

    `precision` float64 `[T, R, C, A]` at the largest limit, `recall` float64 `[T, C, A, M]`; -1 where a class has no
    objects. Other metrics start from `records`, without the detections beyond the largest limit, and from `matches`.
    """

    names: list[str]
    rules: Rules
    precision: Tensor
    recall: Tensor
    records: Records
    matches: Matches

    def ap(self, threshold: float | None = None, area: str | None = None) -> float:
        """Return the mean precision over recall points, classes and thresholds, or at one threshold.

        -1 without objects, or if the rules do not have the threshold.
        """
        return mean_over_classes(self._precision(threshold)[..., self._area(area)])

    def ar(self, area: str | None = None, limit: int | None = None) -> float:
        """Return the mean recall over classes and thresholds, with at most `limit` detections per image and class.

        Without a limit it is the largest one. -1 without objects.
        """
        m = -1 if limit is None else self.rules.limits.index(limit)
        return mean_over_classes(self.recall[..., self._area(area), m])

    def numbers(self) -> dict[str, float]:
        """Return the numbers that `rules.metrics()` names, as fractions; COCO's twelve by default (`METRICS`).

        -1 without objects, and for AP50 and AP75 if the rules do not have this threshold.
        """
        return {
            name: self.ar(metric.area, metric.limit) if metric.recall else self.ap(metric.threshold, metric.area)
            for name, metric in self.rules.metrics().items()
        }

    def per_class(self) -> list[dict[str, Any]]:
        """Return for each class `name`, the number of `objects` that count and of `detections`, `AP`, `AP50`, `AP75`,
        and `AR` at the largest limit; -1 without objects."""
        classes = len(self.names)
        objects = torch.bincount(self.records.truths.label[~self.matches.ignored[0]], minlength=classes).tolist()
        detections = torch.bincount(self.records.found.label, minlength=classes).tolist()
        # A class is -1 in all places or in none, so a plain mean will do. Over no thresholds it is NaN.
        means = [self._precision(threshold)[..., 0].mean((0, 1)) for threshold in (None, 0.5, 0.75)]
        means.append(self.recall[:, :, 0, -1].mean(0))
        columns = (self.names, objects, detections, *(mean.nan_to_num(-1).tolist() for mean in means))
        keys = ("name", "objects", "detections", "AP", "AP50", "AP75", "AR")
        return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]

    def _precision(self, threshold: float | None) -> Tensor:
        """Return precision at one threshold, or at all: `[T or 1 or 0, R, C, A]`."""
        return self.precision[[threshold is None or value == threshold for value in self.rules.thresholds]]

    def _area(self, name: str | None) -> int:
        """Return the index of an area range, by default of the first."""
        return 0 if name is None else list(self.rules.areas).index(name)


class CocoMetrics(Collector):
    """Collects the detections of a data set (`update`, `add`) and computes COCO's metrics (`compute`).

    Args:
        class_names: `[C]`, a label is an index into it.
        device: where everything is kept and computed.
        rules: thresholds, area ranges, limits; COCO's by default.

    Under torch.distributed every process collects its images; `compute` gives all of them the same result.
    """

    def __init__(
        self, class_names: Sequence[str], device: torch.device | str = "cpu", rules: Rules | None = None
    ) -> None:
        super().__init__(class_names, device)
        self.rules = rules or Rules()
        if not self.rules.thresholds or not self.rules.areas or sorted(self.rules.limits) != list(self.rules.limits):
            raise ValueError(f"{self.rules}: expected at least one threshold, area and limit, the limits ascending")

    def compute(self) -> CocoResult:
        """Return the metrics of what all processes have added so far: a collective call."""
        return evaluate(self.records(), self.names, self.rules)


def evaluate(records: Records, names: list[str], rules: Rules | None = None) -> CocoResult:
    """Return COCO's metrics of a data set, by COCO's rules or by others. `names` `[C]` are its classes."""
    rules = rules or Rules()
    records = records.top(rules.limits[-1])
    truths, device = records.truths, records.image_ids.device
    # An IoU of 1 is rarely reached in floating point; pycocotools takes this for it.
    thresholds = torch.tensor([min(t, 1 - 1e-10) for t in rules.thresholds], dtype=torch.float64, device=device)
    # Objects outside the area range are ignored as crowds are.
    low, high = torch.tensor(list(rules.areas.values()), dtype=torch.float64, device=device).unsqueeze(-1).unbind(1)
    ignored = truths.crowd | (truths.area < low) | (truths.area > high)
    matches = match(records, class_pairs(records, float(thresholds.min())), thresholds, ignored)
    # One area range at a time bounds the memory.
    inside = records.found.within(low, high)
    points = torch.tensor(COCO_POINTS, dtype=torch.float64, device=device)
    pairs = [_precision_recall(records, matches, a, inside[a], points, rules.limits) for a in range(len(rules.areas))]
    precision, recall = (torch.stack(parts, dim=3 - k).cpu() for k, parts in enumerate(zip(*pairs, strict=True)))
    return CocoResult(names, rules, precision, recall, records, matches)


def _precision_recall(
    records: Records, matches: Matches, a: int, inside: Tensor, points: Tensor, limits: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return precision `[T, R, C]` and recall `[T, C, M]` in area range `a`.

    `inside` bool `[D]`: the detections whose size is in the range.
    """
    label, classes = records.found.label[matches.found], records.classes
    hit, skipped = matches.hits(a)
    rankings = len(hit) * classes

    # The detections that count, up to each one that reaches an object. First all of the right size, as if none were
    # matched. Then the exceptions: a hit counts at any size, a detection of an ignored object never.
    seen = running(inside, records.found.label, classes, matches.found)
    inside = inside[matches.found]
    seen = seen + running((hit & ~inside).int() - (skipped & inside).int(), label, classes)

    # Precision and recall at the hits, and the curve through them.
    t, o = hit.nonzero(as_tuple=True)
    ranking = t * classes + label[o]
    objects = torch.bincount(records.truths.label[~matches.ignored[a]], minlength=classes).double()
    count = running(hit, label, classes)[t, o].double()
    precision = curve(count / (seen[t, o] + EPS), count / objects[label[o]], ranking, rankings, points)

    # Recall with fewer detections: the hits among the best of an image.
    place = records.rank[matches.found][o]
    found = torch.stack([torch.bincount(ranking[place < limit], minlength=rankings) for limit in limits], dim=-1)
    empty = (objects == 0).unsqueeze(-1)
    recall = found.view(len(hit), classes, -1) / objects.unsqueeze(-1)
    precision = precision.view(len(hit), classes, -1).masked_fill(empty, -1)
    return precision.transpose(1, 2), recall.masked_fill(empty, -1)
