"""Small detection problems: as COCO's two json files, as flat tensors, and drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st

from yolo.metrics.coco import CocoMetrics, Rules
from yolo.metrics.records import Found, Records, Truths

Box = tuple[float, float, float, float]


class Object(NamedTuple):
    """An object: index of its image, class, box left top width height, crowd, area (None: that of the box)."""

    image: int
    label: int
    box: Box
    crowd: bool = False
    area: float | None = None


class Detection(NamedTuple):
    """A detection: index of its image, class, box left top width height, score."""

    image: int
    label: int
    box: Box
    score: float


@dataclass(frozen=True)
class Problem:
    """Objects and detections in `images` images, whose ids are 10, 20, ..., and classes with the ids 3, 6, ..."""

    objects: Sequence[Object]
    detections: Sequence[Detection]
    images: int = 1
    classes: int = 1
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", [f"class {k}" for k in range(self.classes)])

    def annotations(self) -> dict[str, Any]:
        """The annotation file."""
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
        """The results file."""
        return [
            {"image_id": 10 * d.image + 10, "category_id": 3 * d.label + 3, "bbox": list(d.box), "score": d.score}
            for d in self.detections
        ]

    def metrics(self, rules: Rules | None = None) -> CocoMetrics:
        """Our metrics with everything added."""
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
        """The sorted records."""
        return self.metrics().records()


def boxes() -> st.SearchStrategy[Box]:
    """On a coarse grid, so that equal boxes, equal overlaps and boxes without area are frequent; some are large."""
    row = st.tuples(st.integers(0, 6), st.just(0), st.integers(1, 4), st.just(4))
    grid = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 4), st.integers(0, 4))
    large = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(20, 130)] * 2)
    halves = st.tuples(*[st.sampled_from([0.0, 0.5, 1.25, 10.1, 33.3])] * 4)
    return st.one_of(row, row, grid, large, halves)


@st.composite
def problems(draw: st.DrawFn, crowds: bool = True) -> Problem:
    """Up to 4 images and 3 classes; half of the detections lie on an object, many scores are equal."""
    images, classes = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    place = st.tuples(st.integers(0, images - 1), st.integers(0, classes - 1))
    area = st.sampled_from([None, None, None, 0.0, 500.0, 1024.0, 5000.0, 9216.0])
    crowd = st.sampled_from([False, False, False, True]) if crowds else st.just(False)
    objects = [
        Object(*where, box, is_crowd, size)
        for where, box, is_crowd, size in draw(st.lists(st.tuples(place, boxes(), crowd, area), max_size=9))
    ]
    score = st.sampled_from([0.1, 0.5, 0.5, 0.9, 0.3, 0.7])
    detections = [
        Detection(*where, box, value)
        for where, box, value in draw(st.lists(st.tuples(place, boxes(), score), max_size=9))
    ]
    if objects:
        near = st.tuples(st.sampled_from(objects), st.sampled_from([0, 0, 1, 0.5]), st.sampled_from([0, 0, 1]), score)
        detections += [
            Detection(o.image, o.label, (o.box[0] + right, o.box[1], max(0, o.box[2] - less), o.box[3]), value)
            for o, right, less, value in draw(st.lists(near, max_size=9))
        ]
    return Problem(objects, draw(st.permutations(detections)), images, classes)
