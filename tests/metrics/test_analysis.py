"""Curves, confusions, errors and intervals: cases worked out by hand, and counts that must add up."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.coco_problems import Detection, Object, Problem, problems
from tests.support.many import examples
from yolo.metrics import weighted
from yolo.metrics.bootstrap import bootstrap, resampled
from yolo.metrics.coco import CocoResult, Rules
from yolo.metrics.confusion import confusion_matrix
from yolo.metrics.curves import confidence_curves
from yolo.metrics.darknet_map import darknet_map
from yolo.metrics.errors import KINDS, error_breakdown
from yolo.metrics.precision import COCO_POINTS
from yolo.metrics.referee import referee
from yolo.metrics.verdict import verdict
from yolo.metrics.weighted import Weighted

BOX = (0.0, 0.0, 10.0, 10.0)
FAR = (500.0, 500.0, 10.0, 10.0)


def result_of(objects: list[Object], detections: list[Detection], images: int = 1, classes: int = 2) -> CocoResult:
    """Return the evaluation by COCO's rules."""
    return Problem(objects, detections, images, classes).metrics().compute()


# curves


def test_curves_by_hand() -> None:
    """Two objects; scores 0.8 (correct), 0.6 (false), 0.4 (correct).

    Above 0.7: one of one correct, one of two found, F1 2·1/(1 + 2) = 2/3. Above 0.5: 2/4. Above 0.3: 2·2/(3 + 2) = 4/5.
    """
    objects = [Object(0, 0, BOX), Object(1, 0, BOX)]
    found = [Detection(0, 0, BOX, 0.8), Detection(0, 0, FAR, 0.6), Detection(1, 0, BOX, 0.4)]
    curves = confidence_curves(result_of(objects, found, images=2))
    rows = [(9, 1, 0, 0), (7, 1, 1 / 2, 2 / 3), (5, 1 / 2, 1 / 2, 1 / 2), (3, 2 / 3, 1, 4 / 5)]
    for tenth, precision, recall, f1 in rows:
        for row in (0, 2):  # class 0, and all classes together
            own = [float(curve[row, 100 * tenth]) for curve in (curves.precision, curves.recall, curves.f1)]
            assert own == pytest.approx([precision, recall, f1], abs=1e-12)
    assert bool(curves.f1[1].isnan().all())  # no objects
    assert curves.best[2] == pytest.approx((0.2, 4 / 5, 2 / 3, 1), abs=1e-12)  # halfway from 0.4 to 0
    assert tuple(curves.best[1]) == (0, 0, 0, 0)


def test_the_best_confidence_cannot_separate_equal_scores() -> None:
    """A correct and a false detection with the same score count together: F1 2·1/(2 + 1), not 1."""
    found = [Detection(0, 0, BOX, 0.5), Detection(0, 0, FAR, 0.5)]
    best = confidence_curves(result_of([Object(0, 0, BOX)], found)).best[0]
    assert best == pytest.approx((0.25, 2 / 3, 1 / 2, 1), abs=1e-12)


@examples(40)
@given(problem=problems())
def test_the_best_f1_is_the_best(problem: Problem) -> None:
    """Counting the scores above a confidence gives the best F1 at its own confidence, and no more at any other."""
    result = problem.metrics().compute()
    found, curves = verdict(result), confidence_curves(result)
    scores, label = found.records.found.scores, found.records.found.label
    for c in range(problem.classes + 1):
        own = found.counted & ((label == c) | (c == problem.classes))
        objects = float(found.objects.sum() if c == problem.classes else found.objects[c])

        def f1(confidence: float, own: torch.Tensor = own, objects: float = objects) -> float:
            sure = own & (scores > confidence)
            return 2 * int((found.hit & sure).sum()) / (int(sure.sum()) + objects)

        if objects and bool(own.any()):
            assert f1(curves.best[c].confidence) == pytest.approx(curves.best[c].f1, abs=1e-12)
            assert max(f1(x) for x in (0.0, 0.2, 0.4, 0.6, 0.8)) <= curves.best[c].f1 + 1e-12
            assert [f1(x) for x in curves.confidence[::100].tolist()] == pytest.approx(curves.f1[c, ::100].tolist())


# confusions


def test_confusions_by_hand() -> None:
    """Class 0 correct, class 0 detected as 1, class 1 missed, background detected as 0, and a low score."""
    objects = [Object(0, 0, BOX), Object(1, 0, BOX), Object(2, 1, BOX), Object(0, 1, FAR, crowd=True)]
    found = [
        Detection(0, 0, BOX, 0.9),
        Detection(1, 1, BOX, 0.8),
        Detection(2, 0, FAR, 0.7),
        Detection(2, 1, BOX, 0.2),
        Detection(0, 1, FAR, 0.9),  # lies in the crowd
    ]
    matrix = confusion_matrix(result_of(objects, found, images=3), confidence=0.25)
    assert matrix.tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert confusion_matrix(result_of(objects, found, images=3), confidence=0.1)[1].tolist() == [0, 1, 0]


def test_the_correct_class_comes_first() -> None:
    """A wrong class with a higher score does not take the object from the correct one."""
    found = [Detection(0, 1, BOX, 0.9), Detection(0, 0, BOX, 0.5)]
    matrix = confusion_matrix(result_of([Object(0, 0, BOX)], found), confidence=0.25)
    assert matrix.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


@examples(50)
@given(problem=problems(), confidence=st.sampled_from([0.0, 0.3, 0.6]))
def test_confusions_account_for_everything(problem: Problem, confidence: float) -> None:
    """Rows add up to the objects of a class and columns to its detections. The diagonal holds COCO's matches."""
    result = problem.metrics().compute()
    matrix, found = confusion_matrix(result, confidence), verdict(result)
    sure = found.counted & (found.records.found.scores > confidence)
    classes = problem.classes
    counts = torch.bincount(found.records.found.label[sure], minlength=classes)
    assert matrix[:-1].sum(1).tolist() == found.objects.tolist()
    assert matrix[:, :-1].sum(0).tolist() == counts.tolist()
    hits = torch.bincount(found.records.found.label[found.hit & sure], minlength=classes)
    assert matrix.diagonal()[:-1].tolist() == hits.tolist()
    assert int(matrix[-1, -1]) == 0


# errors

NEAR_BOX = (0.0, 0.0, 3.0, 10.0)  # IoU 0.3 with BOX
ERRORS = {
    "duplicate": [Detection(0, 0, BOX, 0.9), Detection(0, 0, BOX, 0.95)],
    "classification": [Detection(0, 1, BOX, 0.9)],
    "localisation": [Detection(0, 0, NEAR_BOX, 0.9)],
    "both": [Detection(0, 1, NEAR_BOX, 0.9)],
    "background": [Detection(0, 0, FAR, 0.9)],
    "missed": [],
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_error_alone(kind: str) -> None:
    """One error of each kind. `both` and `background` also leave their object missed."""
    objects = [Object(0, 0, BOX), Object(1, 1, BOX)]
    errors = error_breakdown(result_of(objects, [*ERRORS[kind], Detection(1, 1, BOX, 0.5)], images=2))
    expected = dict.fromkeys(KINDS, 0) | {kind: 1}
    expected |= {"missed": 1} if kind in ("both", "background", "missed") else {}
    assert errors.number == expected


def test_costs_by_hand() -> None:
    """Class 0: an object nearly found (IoU 0.3, score 0.9), one taken for class 1 (0.8); class 1: one found (0.5).

    AP50: class 0 has 0; class 1 has a false and a correct one, 1/2. Their mean is 1/4.
    With the box corrected, class 0 has recall 1/2 with precision 1, which is 51 of 101 points: gain 51/202.
    With the class corrected, class 0 has the same after one false detection: precision 1/2 up to recall 1/2, 51/202.
    Class 1 loses its false detection and has 1. The gain is (51/202 + 1)/2 - 1/4. Nothing is missed.
    """
    objects = [Object(0, 0, BOX), Object(1, 0, BOX), Object(2, 1, BOX)]
    found = [Detection(0, 0, NEAR_BOX, 0.9), Detection(1, 1, BOX, 0.8), Detection(2, 1, BOX, 0.5)]
    errors = error_breakdown(result_of(objects, found, images=3))
    assert errors.ap == pytest.approx(1 / 4, abs=1e-12)
    assert errors.cost["localisation"] == pytest.approx(51 / 202, abs=1e-12)
    assert errors.cost["classification"] == pytest.approx((51 / 202 + 1) / 2 - 1 / 4, abs=1e-12)
    assert [errors.cost[kind] for kind in ("duplicate", "both", "background", "missed")] == [0, 0, 0, 0]


def test_a_class_without_detections() -> None:
    """Class 0 has no detection, class 1 is found: AP50 is 1/2, and only the missed object keeps it below 1."""
    errors = error_breakdown(result_of([Object(0, 0, BOX), Object(0, 1, BOX)], [Detection(0, 1, BOX, 0.5)]))
    assert errors.number == dict.fromkeys(KINDS, 0) | {"missed": 1}
    assert errors.cost["missed"] == pytest.approx(1 / 2, abs=1e-12)


def test_only_the_best_is_corrected() -> None:
    """Of two near misses of one object the better becomes correct and the other is removed; of a found object, both are
    removed."""
    near = [Detection(0, 0, NEAR_BOX, 0.9), Detection(0, 0, NEAR_BOX, 0.8)]
    errors = error_breakdown(result_of([Object(0, 0, BOX)], near, classes=1))
    assert errors.number["localisation"] == 2
    assert errors.cost["localisation"] == pytest.approx(1, abs=1e-12)
    errors = error_breakdown(result_of([Object(0, 0, BOX)], [*near, Detection(0, 0, BOX, 0.1)], classes=1))
    assert errors.ap == pytest.approx(1 / 3, abs=1e-12)
    assert errors.cost["localisation"] == pytest.approx(2 / 3, abs=1e-12)


@examples(50)
@given(problem=problems())
def test_errors_account_for_everything(problem: Problem) -> None:
    """Every false detection has one kind, AP is COCO's AP50, and removing errors never lowers it."""
    result = problem.metrics().compute()
    errors, found = error_breakdown(result), verdict(result)
    false = int((found.counted & ~found.hit).sum())
    assert sum(errors.number.values()) - errors.number["missed"] == false
    assert errors.number["missed"] <= int(found.missed.sum())
    assert errors.ap == pytest.approx(result.ap(0.5), abs=1e-12)
    assert all(errors.cost[kind] >= -1e-12 for kind in ("duplicate", "both", "background", "missed", "localisation"))


def test_ap_is_read_at_cocos_own_recalls() -> None:
    """Of 100 objects 35 are found. COCO's point 0.35 is 35 steps of 0.01 in float64, slightly more than 35 / 100.

    So COCO counts the points 0 to 0.34. Darknet's point is 35 / 100 itself, so it counts one more.
    """
    objects = [Object(0, 0, (20.0 * k, 0, 10, 10)) for k in range(100)]
    problem = Problem(objects, [Detection(0, 0, (20.0 * k, 0, 10, 10), 0.9) for k in range(35)])
    result = problem.metrics().compute()
    assert result.ap(0.5) == pytest.approx(35 / 101, abs=1e-12)
    assert error_breakdown(result).ap == pytest.approx(35 / 101, abs=1e-12)
    assert darknet_map(problem.records(), points=101).map == pytest.approx(36 / 101, abs=1e-12)


def test_another_threshold() -> None:
    """The errors depend on the threshold. One that the rules do not have is an error."""
    result = Problem([Object(0, 0, BOX)], [Detection(0, 0, (0, 0, 6, 10), 0.9)]).metrics(Rules((0.5, 0.75))).compute()
    assert error_breakdown(result, 0.5).number["localisation"] == 0
    assert error_breakdown(result, 0.75).number["localisation"] == 1
    with pytest.raises(ValueError, match=r"IoU 0.6: expected one of the evaluated thresholds, \(0.5, 0.75\)"):
        verdict(result, 0.6)


# intervals


def drawn_problem(seed: int, images: int = 6) -> Problem:
    """Return a problem whose scores all differ."""
    g = torch.Generator().manual_seed(seed)

    def box() -> tuple[float, float, float, float]:
        x, y, w, h = torch.randint(0, 4, (4,), generator=g).tolist()
        return 10.0 * x, 10.0 * y, 10.0 * w + 10, 10.0 * h + 10

    def where() -> tuple[int, int]:
        return int(torch.randint(images, (1,), generator=g)), int(torch.randint(2, (1,), generator=g))

    objects = [Object(*where(), box(), k % 9 == 0) for k in range(6 * images)]
    scores = torch.rand(20 * images, generator=g).tolist()
    return Problem(objects, [Detection(*where(), box(), score) for score in scores], images, 2)


SMALL = Rules((0.5, 0.75), {"small": (0.0, 500.0), "all": (0.0, 1e10)})
"""Rules whose first area range leaves detections and objects out."""


def copies(problem: Problem, row: list[int]) -> Problem:
    """Return a data set of the images of a resample, each as often as it was drawn, under new ids."""
    objects = [o._replace(image=k) for k, image in enumerate(row) for o in problem.objects if o.image == image]
    found = [d._replace(image=k) for k, image in enumerate(row) for d in problem.detections if d.image == image]
    return Problem(objects, found, len(row), problem.classes)


def drawn_rows(images: int, count: int, seed: int) -> tuple[torch.Tensor, list[list[int]]]:
    """Return the weights `[count, images]` of resamples and the images of each, ascending."""
    drawn = torch.randint(images, (count, images), generator=torch.Generator().manual_seed(seed))
    return torch.stack([torch.bincount(row, minlength=images) for row in drawn]), drawn.sort(1).values.tolist()


@pytest.mark.parametrize(("seed", "images"), [(0, 6), (1, 6), (2, 6), (3, 6), (0, 60)])
def test_a_resample_is_pycocotools_on_copies(seed: int, images: int) -> None:
    """The copies of the images have the AP of the resample at every threshold, to 1e-12."""
    problem = drawn_problem(seed, images)
    weights, rows = drawn_rows(images, 5, seed)
    own = Weighted(problem.metrics().compute()).ap(weights)
    for row, aps in zip(rows, own.tolist(), strict=True):
        copied = copies(problem, row)
        precision = referee(copied.annotations(), copied.rows()).precision[..., 0]
        assert aps == pytest.approx([float(p[p > -1].mean()) for p in precision], abs=1e-12)


@given(problems())
@examples(25)
def test_weights_by_other_rules(problem: Problem) -> None:
    """Crowds, classes without anything, and a first area range that not all boxes are in.

    Scores differ: equal ones are sorted by image, and copies of an image would have others between them.
    """
    detections = [d._replace(score=(k + 1) / 20) for k, d in enumerate(problem.detections)]
    problem = Problem(problem.objects, detections, problem.images, problem.classes)
    weights, rows = drawn_rows(problem.images, 4, 0)
    own = Weighted(problem.metrics(SMALL).compute()).ap(weights)
    assert own.shape == (4, 2)
    for row, aps in zip(rows, own.nan_to_num(-1).tolist(), strict=True):
        copied = copies(problem, row).metrics(SMALL).compute()
        assert aps == pytest.approx([copied.ap(threshold) for threshold in SMALL.thresholds], abs=1e-12)


def test_resamples_do_not_depend_on_portions_and_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """One portion of the resamples or several, float32 sums or float64 ones: the same numbers within rounding."""
    result = drawn_problem(0, 60).metrics().compute()
    whole = resampled(result, 40)
    monkeypatch.setattr(weighted, "_ELEMENTS", 1)
    assert Weighted(result).portion == 8
    torch.testing.assert_close(resampled(result, 40), whole, rtol=0, atol=1e-15)
    monkeypatch.setattr(weighted, "_EXACT", 1)
    torch.testing.assert_close(resampled(result, 40), whole, rtol=0, atol=1e-15)


def test_points_are_multiples() -> None:
    """The k-th recall is k times the first in floating point, which counting the points of a recall relies on."""
    assert tuple(k * COCO_POINTS[1] for k in range(101)) == COCO_POINTS


def test_intervals() -> None:
    """Intervals hold the value, depend on the seed alone, and are narrower with more images or a lower level."""
    few, many = (drawn_problem(0, images).metrics().compute() for images in (6, 60))
    own = bootstrap(few, 400)
    assert list(own) == ["AP", "AP50"]
    assert own["AP50"].low < few.ap(0.5) < own["AP50"].high
    assert own == bootstrap(few, 400)
    assert own != bootstrap(few, 400, seed=1)
    narrow, half = bootstrap(many, 400)["AP50"], bootstrap(few, 400, level=0.5)["AP50"]
    assert narrow.high - narrow.low < 0.6 * (own["AP50"].high - own["AP50"].low)
    assert own["AP50"].low < half.low < half.high < own["AP50"].high


def test_intervals_of_certain_things() -> None:
    """If all is found, the width is 0. Without objects there is no interval, without the threshold 0.5 only AP's."""
    objects = [Object(k, 0, BOX) for k in range(5)]
    found = [Detection(k, 0, BOX, 0.9 - k / 10) for k in range(5)]
    sure = bootstrap(result_of(objects, found, images=5), 50)
    assert sure["AP"] == pytest.approx((1, 1), abs=1e-12)
    assert bootstrap(result_of([], found, images=5), 50) == {}
    other = Problem(objects, found, images=5).metrics(Rules((0.6,))).compute()
    assert list(bootstrap(other, 50)) == ["AP"]
