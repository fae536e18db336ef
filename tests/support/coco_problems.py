"""Small detection problems: as COCO's two json files, as tensors, and drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from random import Random
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from yolo.boxes import Detections
from yolo.metrics.coco import CocoMetrics, Rules
from yolo.metrics.records import Found, Records, Truths

Box = tuple[float, float, float, float]


class Object(NamedTuple):
    """An object: image index, class, box (left, top, width, height), crowd, area (None: that of the box)."""

    image: int
    label: int
    box: Box
    crowd: bool = False
    area: float | None = None


class Detection(NamedTuple):
    """A detection: image index, class, box (left, top, width, height), score."""

    image: int
    label: int
    box: Box
    score: float


@dataclass(frozen=True)
class Problem:
    """Objects and detections in images with the ids 10, 20, ..., of classes with the ids 3, 6, ..."""

    objects: Sequence[Object]
    detections: Sequence[Detection]
    images: int = 1
    classes: int = 1
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", [f"class {k}" for k in range(self.classes)])

    def annotations(self) -> dict[str, Any]:
        """Return the content of the annotation file."""
        return {
            "images": [{"id": 10 * k + 10, "file_name": f"{k}.png"} for k in range(self.images)],
            "categories": [{"id": 3 * k + 3, "name": name} for k, name in enumerate(self.names)],
            "annotations": [
                {
                    "id": n + 1,
                    "image_id": 10 * o.image + 10,
                    "category_id": 3 * o.label + 3,
                    "bbox": list(o.box),
                    "area": o.box[2] * o.box[3] if o.area is None else o.area,
                    "iscrowd": int(o.crowd),
                }
                for n, o in enumerate(self.objects)
            ],
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the results file."""
        return [
            {"image_id": 10 * d.image + 10, "category_id": 3 * d.label + 3, "bbox": list(d.box), "score": d.score}
            for d in self.detections
        ]

    def metrics(self, rules: Rules | None = None) -> CocoMetrics:
        """Return our metrics with all objects and detections added."""
        metrics = CocoMetrics(self.names, rules=rules)
        areas = [o.box[2] * o.box[3] if o.area is None else o.area for o in self.objects]
        truths = Truths(
            torch.tensor([o.image for o in self.objects], dtype=torch.int64),
            torch.tensor([o.label for o in self.objects], dtype=torch.int64),
            torch.tensor([o.box for o in self.objects], dtype=torch.float64).reshape(-1, 4),
            torch.tensor(areas, dtype=torch.float64),
            torch.tensor([o.crowd for o in self.objects], dtype=torch.bool),
        )
        found = Found(
            torch.tensor([d.image for d in self.detections], dtype=torch.int64),
            torch.tensor([d.label for d in self.detections], dtype=torch.int64),
            torch.tensor([d.box for d in self.detections], dtype=torch.float64).reshape(-1, 4),
            torch.tensor([d.score for d in self.detections], dtype=torch.float64),
        )
        metrics.add(torch.arange(10, 10 * self.images + 10, 10), truths, found)
        return metrics

    def records(self) -> Records:
        """Return the sorted records."""
        return self.metrics().records()

    def samples(self) -> tuple[list[Detections], list[dict[str, Any]]]:
        """Return a `Detections` and a target per image, as a detector and a loader give them."""
        detections, targets = [], []
        for k in range(self.images):
            found = [d for d in self.detections if d.image == k]
            scores, labels = torch.tensor([d.score for d in found]), torch.tensor([d.label for d in found])
            detections.append(Detections(xyxy([d.box for d in found]), scores, labels.long()))
            objects = [o for o in self.objects if o.image == k]
            target = {
                "boxes": xyxy([o.box for o in objects]),
                "labels": torch.tensor([o.label for o in objects], dtype=torch.int64),
                "image_id": 10 * k + 10,
                "iscrowd": torch.tensor([o.crowd for o in objects], dtype=torch.bool),
                "area": torch.tensor([o.box[2] * o.box[3] if o.area is None else o.area for o in objects]),
            }
            targets.append(target)
        return detections, targets


def xyxy(boxes: Sequence[Box]) -> Tensor:
    """Return the corners float32 `[n, 4]` of boxes (left, top, width, height)."""
    return torch.tensor([[x, y, x + w, y + h] for x, y, w, h in boxes]).reshape(-1, 4)


# Two objects, at 0 and at 4. A detection at 2 overlaps both equally, another at -2 only the first.
TIE = Problem(
    [Object(0, 0, (0, 0, 8, 8)), Object(0, 0, (4, 0, 8, 8))],
    [Detection(0, 0, (2, 0, 8, 8), 0.9), Detection(0, 0, (-2, 0, 8, 8), 0.8)],
)


# What problems are drawn from. Each table is drawn from in one step, which is far faster than number by number.
ROW = [(x, 0, w, 4) for x in range(7) for w in range(1, 5)]
GRID = list(product(range(6), range(6), range(5), range(5)))
FRACTIONS = list(product((0.0, 0.5, 1.25, 10.1, 33.3), repeat=4))
SCORES = (0.1, 0.5, 0.5, 0.9, 0.3, 0.7)
AREAS = (None, None, None, 0.0, 500.0, 1024.0, 5000.0, 9216.0)


def boxes() -> st.SearchStrategy[Box]:
    """Draw a box on a coarse grid, so that equal boxes, equal overlaps and boxes without area are frequent; or a large
    one, or one with fractions."""
    row = st.sampled_from(ROW)
    large = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(20, 130)] * 2)
    return st.one_of(row, row, st.sampled_from(GRID), large, st.sampled_from(FRACTIONS))


@st.composite
def problems(draw: st.DrawFn, crowds: bool = True) -> Problem:
    """Draw up to 4 images and 3 classes. Half of the detections are near an object, and many scores are equal."""
    images, classes = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    places = list(product(range(images), range(classes)))
    crowd = (False, False, False, True) if crowds else (False,)
    kind = st.sampled_from(list(product(places, crowd, AREAS)))
    objects = [
        Object(*place, box, is_crowd, area)
        for (place, is_crowd, area), box in draw(st.lists(st.tuples(kind, boxes()), max_size=12))
    ]
    anywhere = st.tuples(st.sampled_from(list(product(places, SCORES))), boxes())
    detections = [Detection(*place, box, score) for (place, score), box in draw(st.lists(anywhere, max_size=9))]
    if objects:
        # Near an object: moved to the right, narrower, or exactly on it.
        change = st.sampled_from(list(product((0, 0, 1, 0.5), (0, 0, 1), SCORES)))
        near = st.tuples(st.sampled_from(objects), change)
        detections += [
            Detection(o.image, o.label, (o.box[0] + right, o.box[1], max(0, o.box[2] - less), o.box[3]), score)
            for o, (right, less, score) in draw(st.lists(near, max_size=9))
        ]
    # The order decides between equal scores.
    Random(draw(st.integers(0, 1000))).shuffle(detections)
    return Problem(objects, detections, images, classes)
