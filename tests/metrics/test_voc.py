"""VOC's AP and darknet's map: a published example, cases worked out by hand, and plain loops as references."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.darknet.test_golden import SHARED, needs_shared
from tests.support import oracles
from tests.support.coco_problems import Detection, Object, Problem, problems
from tests.support.many import examples
from yolo.metrics.darknet_map import darknet_map
from yolo.metrics.precision import envelope
from yolo.metrics.records import Records
from yolo.metrics.voc import voc_ap


def example() -> Records:
    """Return the published example: 7 images, 15 objects, 24 detections of one class."""
    data = json.loads((SHARED / "ap" / "example.json").read_text())

    def box(corners: list[float]) -> tuple[float, float, float, float]:
        x1, y1, x2, y2 = corners
        return x1, y1, x2 - x1, y2 - y1

    objects = [Object(data["images"].index(o["image"]), 0, box(o["box"])) for o in data["groundtruths"]]
    found = [Detection(data["images"].index(d["image"]), 0, box(d["box"]), d["score"]) for d in data["detections"]]
    assert (len(objects), len(found)) == (15, 24)
    return Problem(objects, found, images=7).records()


@needs_shared
@pytest.mark.parametrize(
    ("threshold", "inclusive", "whole", "eleven"),
    [(0.3, True, 24.57, 26.84), (0.3, False, 22.54, 26.84), (0.5, True, 2.22, 3.03)],
)
def test_the_published_example(threshold: float, inclusive: bool, whole: float, eleven: float) -> None:
    """Two published figures, with inclusive pixels; the others were computed by hand from the same matches."""
    records = example()
    assert round(100 * float(voc_ap(records, threshold, inclusive=inclusive)), 2) == whole
    assert round(100 * float(voc_ap(records, threshold, points=11, inclusive=inclusive)), 2) == eleven


@needs_shared
def test_the_published_example_in_darknet() -> None:
    """Darknet's `-points 0` is the area under the curve: the continuous figure, to 1e-12."""
    golden = json.loads((SHARED / "ap" / "example.json").read_text())["computed"]["iou_0.3_continuous"]
    found = darknet_map(example(), 0.3)
    assert found.map == pytest.approx(golden["ap_darknet_points_0"], abs=1e-12)
    assert found.tp == golden["true_positives"]


def ap(objects: list[Object], detections: list[Detection], points: int = 0) -> float:
    """Return VOC's AP of the only class."""
    return float(voc_ap(Problem(objects, detections, images=2).records(), points=points))


def test_by_hand_correct_false_correct() -> None:
    """Two objects, three detections: correct (0.9), false (0.8), correct (0.7).

    recall     1/2   1/2   1        whole curve: 1/2 · 1 + 1/2 · 2/3 = 5/6
    precision  1     1/2   2/3      11 points: recalls 0 to 0.5 have 1 (six), 0.6 to 1 have 2/3 (five):
                                    (6 + 10/3) / 11 = 28/33
    """
    objects = [Object(0, 0, (0, 0, 10, 10)), Object(1, 0, (0, 0, 10, 10))]
    found = [
        Detection(0, 0, (0, 0, 10, 10), 0.9),
        Detection(0, 0, (50, 50, 10, 10), 0.8),
        Detection(1, 0, (0, 0, 10, 10), 0.7),
    ]
    assert ap(objects, found) == pytest.approx(5 / 6, abs=1e-12)
    assert ap(objects, found, points=11) == pytest.approx(28 / 33, abs=1e-12)


def test_by_hand_no_second_choice() -> None:
    """Two objects side by side; both detections overlap the first one most. The second detection is false, although it
    overlaps the other object too. COCO's rule would give it that object.

    Object A from 0 to 10, B from 2 to 12, detections from 0 to 10 (IoU with A 1, with B 8/12) and from 0.5 to 10.5
    (with A 9.5/10.5, with B 8.5/11.5). Recall 1/2 with precision 1, then no more: 1/2 · 1 = 1/2.
    COCO: both are correct, AP 1.
    """
    objects = [Object(0, 0, (0, 0, 10, 10)), Object(0, 0, (2, 0, 10, 10))]
    found = [Detection(0, 0, (0, 0, 10, 10), 0.9), Detection(0, 0, (0.5, 0, 10, 10), 0.8)]
    assert ap(objects, found) == pytest.approx(1 / 2, abs=1e-12)
    assert Problem(objects, found).metrics().compute().ap(0.5) == pytest.approx(1, abs=1e-12)


def test_by_hand_difficult_and_absent() -> None:
    """An object that does not count removes its detection (0.9). A false (0.8) and a correct one (0.7) remain.

    One object counts: recall 0, 1 and precision 0, 1/2: 1 · 1/2. The second class has no objects: -1.
    Darknet has no such objects: the detection in the crowd is false, 1 · 1/3, and the mean is over both classes.
    """
    objects = [Object(0, 0, (0, 0, 10, 10), crowd=True), Object(1, 0, (0, 0, 10, 10))]
    found = [
        Detection(0, 0, (0, 0, 10, 10), 0.9),
        Detection(0, 0, (50, 50, 10, 10), 0.8),
        Detection(1, 0, (0, 0, 10, 10), 0.7),
    ]
    records = Problem(objects, found, images=2, classes=2).records()
    assert voc_ap(records).tolist() == pytest.approx([1 / 2, -1], abs=1e-12)
    assert darknet_map(records).map == pytest.approx((1 / 3 + 0) / 2, abs=1e-12)


def test_darknets_counts_by_hand() -> None:
    """Above 0.25: a correct one (IoU 1), one with IoU 2/3, a second one of the first object. At 0.25: a correct one.

    TP 2, FP 1, of four objects FN 2: precision 2/3, recall 1/2, F1 4/7, mean IoU (1 + 2/3) / 3.
    """
    objects = [Object(0, 0, (100 * k, 0, 12, 10)) for k in range(4)]
    found = [
        Detection(0, 0, (0, 0, 12, 10), 0.9),
        Detection(0, 0, (100, 0, 8, 10), 0.8),
        Detection(0, 0, (0, 0, 12, 10), 0.7),
        Detection(0, 0, (200, 0, 12, 10), 0.25),
    ]
    counted = darknet_map(Problem(objects, found).records(), confidence=0.25)
    assert (counted.tp, counted.fp, counted.fn) == (2, 1, 2)
    expected = (2 / 3, 1 / 2, 4 / 7, 5 / 9)
    assert (counted.precision, counted.recall, counted.f1, counted.iou) == pytest.approx(expected, abs=1e-12)
    half = Problem([Object(0, 0, (0, 0, 10, 10))], [Detection(0, 0, (0, 0, 5, 10), 0.9)]).records()
    assert darknet_map(half).tp == 0  # IoU 0.5 does not exceed 0.5
    assert float(voc_ap(half)) == 1


@examples(60)
@given(problem=problems(), threshold=st.sampled_from([0.3, 0.5, 0.75]), inclusive=st.booleans())
def test_voc_is_the_plain_loop(problem: Problem, threshold: float, inclusive: bool) -> None:
    """The AP of every class equals that of a plain loop, also with objects that do not count."""
    truths = [oracles.Truth(o.image, o.label, o.box, o.crowd) for o in problem.objects]
    hits = [oracles.Hit(*d) for d in problem.detections]
    records = problem.records()
    for points in (0, 11, 101):
        own = voc_ap(records, threshold, points=points, inclusive=inclusive).tolist()
        loop = [oracles.voc_ap(truths, hits, c, threshold, points, inclusive) for c in range(problem.classes)]
        assert own == pytest.approx(loop, abs=1e-12), points


@examples(60)
@given(problem=problems(crowds=False), threshold=st.sampled_from([0.3, 0.5, 0.75]))
def test_darknet_is_its_own_loop(problem: Problem, threshold: float) -> None:
    """The AP of every class equals that of darknet's loop over one list of all classes."""
    truths = [oracles.Truth(o.image, o.label, o.box) for o in problem.objects]
    hits = [oracles.Hit(*d) for d in problem.detections]
    records = problem.records()
    for points in (0, 11, 101):
        own = darknet_map(records, threshold, points=points)
        loop = oracles.darknet_ap(truths, hits, problem.classes, threshold, points)
        assert own.ap.tolist() == pytest.approx(loop, abs=1e-12), points
        assert own.map == pytest.approx(sum(loop) / problem.classes, abs=1e-12)


@examples(40)
@given(rows=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), max_size=40))
def test_envelope(rows: list[tuple[int, float]]) -> None:
    """The envelope is the maximum from each place to the end of its ranking."""
    rows.sort(key=lambda row: row[0])
    ranking = torch.tensor([r for r, _ in rows], dtype=torch.int64)
    precision = torch.tensor([p for _, p in rows], dtype=torch.float64)
    expected = [max(q for s, q in rows[k:] if s == r) for k, (r, _) in enumerate(rows)]
    assert envelope(precision, ranking).tolist() == expected
