"""COCO's metrics: every number equals that of pycocotools, for any problem."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor
from torchvision import tv_tensors

from tests.support.coco_problems import TIE, Detection, Object, Problem, problems
from tests.support.coco_share import check_share
from tests.support.many import examples
from tests.support.paths import ROOT
from tests.support.train_problems import ended
from tests.support.warm import Warm
from yolo.boxes import Detections
from yolo.metrics import match
from yolo.metrics.coco import AREAS, LIMITS, METRICS, THRESHOLDS, CocoMetrics, CocoResult, Rules, evaluate
from yolo.metrics.records import make_records
from yolo.metrics.referee import referee

RULES = [
    Rules(),
    Rules(limits=(1, 2, 3)),
    Rules(thresholds=(0.0, 0.3, 1.0), limits=(2,)),
    Rules(areas={"all": (0, 1e10), "tiny": (0, 8), "other": (8, 8)}, thresholds=(0.25, 0.5)),
]

# An object of medium size, a small one and a crowd, all in the same place: each area range ignores some of them.
IGNORED_TIE = Problem(
    [Object(0, 0, (0, 0, 8, 8), area=2000), Object(0, 0, (0, 0, 8, 8)), Object(0, 0, (0, 0, 8, 8), crowd=True)],
    [Detection(0, 0, (0, 0, 8, 8), score) for score in (0.9, 0.8, 0.7, 0.6)],
)


@examples(60)
@given(problem=problems())
@example(problem=TIE)
@example(problem=IGNORED_TIE)
@example(problem=Problem([], [], images=2, classes=2))
@example(problem=Problem([], [Detection(0, 0, (0, 0, 5, 5), 0.5)]))
@example(problem=Problem([Object(0, 0, (0, 0, 5, 5))], []))
def test_every_number_is_pycocotools(problem: Problem) -> None:
    """All precisions, recalls and the twelve numbers, by all rules, to 1e-12. A match that differs would make a large
    error."""
    for rules in RULES:
        result = problem.metrics(rules).compute()
        assert referee(problem.annotations(), problem.rows(), rules).difference(result) < 1e-12, rules


@examples(20)
@given(seed=st.integers(0, 2**32 - 1))
def test_more_detections_than_the_limit(seed: int) -> None:
    """Of 150 detections of one class, 120 of them in one image and many with equal scores, the first 100 count."""
    g = torch.Generator().manual_seed(seed)
    boxes = torch.randint(0, 40, (170, 4), generator=g)
    scores = torch.randint(1, 6, (150,), generator=g) / 7
    objects = [Object(k % 2, 0, tuple(box.tolist()), k % 7 == 0) for k, box in enumerate(boxes[150:])]
    found = [Detection(k % 5 == 0, 0, tuple(box.tolist()), float(s)) for k, (box, s) in enumerate(zip(boxes, scores))]  # noqa: B905
    problem = Problem(objects, found, images=2)
    assert referee(problem.annotations(), problem.rows()).difference(problem.metrics().compute()) < 1e-12


def matched(problem: Problem, threshold: float, area: str = "all") -> list[int]:
    """Return the object that each detection takes, by descending score; -1 for none."""
    rules = Rules(thresholds=(threshold,))
    result = problem.metrics(rules).compute()
    taken = torch.full((len(problem.detections),), -1)
    taken[result.matches.found] = result.matches.truth[list(AREAS).index(area), 0]
    return taken.tolist()


@pytest.mark.parametrize(
    ("objects", "detections", "threshold", "taken"),
    [
        # 6 of 10 units in common: IoU 6 / 10 reaches a threshold of exactly that.
        ([(0, 0, 10, 1)], [(0, 0, 6, 1)], 0.6, [0]),
        ([(0, 0, 10, 1)], [(0, 0, 6, 1)], 0.6 + 1e-9, [-1]),
        # A threshold of 1 means 1 - 1e-10.
        ([(0, 0, 10, 1)], [(0, 0, 10, 1)], 1.0, [0]),
        # Of two equal overlaps (4 of 12) the last is taken; the next detection finds the first one free.
        ([(0, 0, 8, 1), (8, 0, 8, 1)], [(4, 0, 8, 1), (0, 0, 8, 1)], 0.3, [1, 0]),
        # The better detection takes the object that both want; the other takes its second choice, 4 of 12.
        ([(0, 0, 8, 1), (4, 0, 8, 1)], [(0, 0, 8, 1), (0, 0, 8, 1), (0, 0, 8, 1)], 0.3, [0, 1, -1]),
        # A chain: each detection is refused where a better one came first; for the last no object is left.
        (
            [(0, 0, 10, 1), (1, 0, 10, 1), (2, 0, 10, 1)],
            [(0, 0, 10, 1), (0, 0, 10, 1), (0, 0, 10, 1), (0, 0, 10, 1)],
            0.5,
            [0, 1, 2, -1],
        ),
        # Boxes without area overlap nothing.
        ([(5, 5, 0, 0)], [(5, 5, 0, 0)], 0.5, [-1]),
    ],
)
def test_matching_by_hand(
    objects: Sequence[tuple[float, float, float, float]],
    detections: Sequence[tuple[float, float, float, float]],
    threshold: float,
    taken: list[int],
) -> None:
    """The matching of each case equals the one worked out by hand."""
    found = [Detection(0, 0, box, 0.9 - k / 10) for k, box in enumerate(detections)]
    assert matched(Problem([Object(0, 0, box) for box in objects], found), threshold) == taken


def test_crowds_and_sizes_by_hand() -> None:
    """A crowd matches any number of detections that find no other object; an object of another size matches one."""
    box = (0, 0, 10, 10)
    twice = [Detection(0, 0, box, 0.9), Detection(0, 0, box, 0.8), Detection(0, 0, box, 0.7)]
    crowd = Problem([Object(0, 0, box, crowd=True), Object(0, 0, box)], twice)
    assert matched(crowd, 0.5) == [1, 0, 0]
    numbers = crowd.metrics().compute().numbers()
    assert numbers["AP"] == pytest.approx(1, abs=1e-12)
    assert numbers["AR1"] == 1
    sizes = Problem([Object(0, 0, box, area=5000), Object(0, 0, box, area=50)], twice)
    assert matched(sizes, 0.5, "small") == [1, 0, -1]
    assert matched(sizes, 0.5, "medium") == [0, 1, -1]
    # small: one correct, one that found an ignored object, one false (of this size): AP 1 at the first place.
    assert sizes.metrics().compute().numbers()["APs"] == pytest.approx(1, abs=1e-12)


def test_the_numbers_by_hand() -> None:
    """Three objects, four detections: correct, false, correct, false at IoU 0.5, and only the first correct at 0.75."""
    objects = [Object(0, 0, (100 * k, 0, 60, 60)) for k in range(3)]
    detections = [
        Detection(0, 0, (0, 0, 60, 60), 0.9),
        Detection(0, 0, (500, 0, 60, 60), 0.8),
        Detection(0, 0, (100, 0, 60, 40), 0.7),  # IoU 2/3
        Detection(0, 0, (500, 500, 60, 60), 0.6),
    ]
    result = Problem(objects, detections, classes=2).metrics().compute()
    # Recall 1/3 with precision 1 (recalls 0 to 0.33: 34 points), 2/3 with precision 2/3 (0.34 to 0.66: 33 points).
    assert result.ap(0.5) == pytest.approx((34 + 33 * 2 / 3) / 101, abs=1e-12)
    assert result.ap(0.75) == pytest.approx(34 / 101, abs=1e-12)
    assert result.ap() == pytest.approx((4 * (34 + 22) + 6 * 34) / 1010, abs=1e-12)  # 0.5 to 0.65 and 0.7 to 0.95
    assert result.ar() == pytest.approx((4 * 2 / 3 + 6 / 3) / 10, abs=1e-12)
    assert result.ar(limit=1) == pytest.approx(1 / 3, abs=1e-12)
    assert result.ap(area="large") == -1
    rows = result.per_class()
    assert rows[0] == {
        "name": "class 0", "objects": 3, "detections": 4, "AP": result.ap(), "AP50": result.ap(0.5),
        "AP75": result.ap(0.75), "AR": result.ar(),
    }  # fmt: skip
    assert rows[1]["AP"] == rows[1]["AP50"] == rows[1]["AR"] == -1


def test_names_of_the_numbers() -> None:
    """COCO's twelve numbers have their names, in pycocotools' order; other rules give other names."""
    problem = Problem([Object(0, 0, (0, 0, 9, 9))], [Detection(0, 0, (0, 0, 9, 9), 0.5)])
    assert tuple(problem.metrics().compute().numbers()) == METRICS == (
        "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
    )  # fmt: skip
    numbers = problem.metrics(Rules((0.3,), {"all": (0, 1e10), "tiny": (0, 99)}, (7,))).compute().numbers()
    assert list(numbers) == ["AP", "AP50", "AP75", "APt", "AR7", "ARt"]
    assert numbers["AP50"] == -1


def same(a: CocoResult, b: CocoResult) -> bool:
    """Return whether precision and recall are equal bit for bit."""
    return bool(a.precision.equal(b.precision)) and bool(a.recall.equal(b.recall))


def whole_numbers(problem: Problem) -> bool:
    """Return whether all corners are integers, which a float32 target holds exactly."""
    corners = [*(o.box for o in problem.objects), *(d.box for d in problem.detections)]
    return all(float(x).is_integer() for box in corners for x in box)


@examples(20)
@given(problem=problems().filter(whole_numbers), size=st.integers(1, 3), order=st.permutations(range(4)))
def test_batches_in_any_order(problem: Problem, size: int, order: list[int]) -> None:
    """Batches of any size, images in any order and repeated images give the same numbers."""
    detections, targets = problem.samples()
    expected = CocoMetrics(problem.names)
    expected.update(detections, targets)
    for target in targets:
        target["boxes"] = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=(200, 200))
    chosen = [k for k in order if k < problem.images]
    chosen += chosen[:2]  # as a sampler pads
    metrics = CocoMetrics(problem.names)
    for k in range(0, len(chosen), size):
        part = chosen[k : k + size]
        metrics.update([detections[b] for b in part], [targets[b] for b in part])
    assert same(metrics.compute(), expected.compute())


def test_area_and_crowd_are_optional() -> None:
    """By default area is w·h and nothing is a crowd. A batch where only some targets have them is an error."""
    detections, targets = TIE.samples()
    bare = [{key: target[key] for key in ("boxes", "labels", "image_id")} for target in targets]
    with_all, without = CocoMetrics(["a"]), CocoMetrics(["a"])
    with_all.update(detections, targets)
    without.update(detections, bare)
    assert same(with_all.compute(), without.compute())
    with pytest.raises(ValueError, match=r"targets of the images \[10\] have no 'area'"):
        without.update(detections * 2, [*bare, *targets])


def test_nothing_at_all() -> None:
    """With no image, or an empty batch, every number is -1."""
    metrics = CocoMetrics(["a", "b"])
    metrics.update([], [])
    assert set(metrics.compute().numbers().values()) == {-1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.tensor([2])}, "an object has the label 2; expected a class index from 0 to 1"),
        ({"labels": torch.tensor([-1])}, "an object has the label -1"),
        ({"labels": torch.tensor([0, 1])}, r"objects of the images \[7\]: lengths differ: .*'label': 2, 'boxes': 1"),
        ({"area": torch.tensor([float("nan")])}, "area of an object is not a finite number"),
    ],
)
def test_broken_targets(change: dict[str, Tensor], message: str) -> None:
    """The message names what is wrong."""
    target = {"boxes": torch.tensor([[0.0, 0, 5, 5]]), "labels": torch.tensor([0]), "image_id": 7}
    found = Detections(torch.zeros(1, 4), torch.tensor([0.5]), torch.tensor([1]))
    metrics = CocoMetrics(["a", "b"])

    def evaluate_it() -> None:
        metrics.update([found], [target | change])
        metrics.compute()

    with pytest.raises(ValueError, match=message):
        evaluate_it()


def test_broken_detections() -> None:
    """A score that is not finite, a label out of range, a target without detections, and descending limits."""
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "image_id": 7}
    metrics = CocoMetrics(["a"])
    with pytest.raises(ValueError, match="0 detections for 1 targets"):
        metrics.update([], [target])
    metrics.update([Detections(torch.zeros(1, 4), torch.tensor([float("nan")]), torch.tensor([0]))], [target])
    with pytest.raises(ValueError, match="the score is not a finite number"):
        metrics.compute()
    other = CocoMetrics(["a"])
    other.update([Detections(torch.zeros(1, 4), torch.tensor([0.5]), torch.tensor([1]))], [target])
    with pytest.raises(ValueError, match="a detection has the label 1; expected a class index from 0 to 0"):
        other.compute()
    with pytest.raises(ValueError, match="the limits ascending"):
        CocoMetrics(["a"], rules=Rules(limits=(10, 1)))


def test_boxes_of_a_broken_network() -> None:
    """Infinite and NaN boxes match nothing and break nothing."""
    nan, inf = float("nan"), float("inf")
    found = Detections(
        torch.tensor([[nan] * 4, [-inf, 0, inf, inf], [0.0, 0, 5, 5]]),
        torch.tensor([0.9, 0.8, 0.7]),
        torch.zeros(3).long(),
    )
    metrics = CocoMetrics(["a"])
    metrics.update([found], [{"boxes": torch.tensor([[0.0, 0, 5, 5]]), "labels": torch.tensor([0]), "image_id": 1}])
    # The NaN box has no area and is false. The infinite one is larger than every area range and does not count.
    assert metrics.compute().ap(0.5) == pytest.approx(0.5, abs=1e-12)


@examples(15)
@given(problem=problems())
def test_portions_do_not_matter(problem: Problem) -> None:
    """Portions of 3 pairs give the same numbers as one large portion."""
    expected = problem.metrics().compute()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(match, "_PORTION", 3)
        assert same(problem.metrics().compute(), expected)


def test_memory_is_linear_in_detections() -> None:
    """With 100 detections and 300 objects in one image, the 30,000 pairs are never compared all at once."""
    objects = [Object(0, 0, (float(k), 0, 1, 1)) for k in range(300)]
    found = [Detection(0, 0, (float(k % 300), 0, 1, 1), 0.5) for k in range(100)]
    problem = Problem(objects, found)
    largest = 0

    def overlap(a: Tensor, b: Tensor, crowd: Tensor | None = None) -> Tensor:
        nonlocal largest
        largest = max(largest, len(a))
        return original(a, b, crowd)

    original = match.overlap
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(match, "_PORTION", 1000)
        patch.setattr(match, "overlap", overlap)
        result = problem.metrics().compute()
    assert 300 <= largest <= 1300  # a portion, and what one detection adds to it
    assert len(result.matches.found) == 100


def test_equal_scores_go_by_image_id() -> None:
    """Equal scores are sorted by image id, as in pycocotools, not by the order in which images were added."""
    problem = Problem([Object(1, 0, (0, 0, 5, 5))], [Detection(k, 0, (0, 0, 5, 5), 0.5) for k in (0, 1)], images=2)
    detections, targets = problem.samples()
    metrics = CocoMetrics(problem.names)
    metrics.update(detections[::-1], targets[::-1])
    assert metrics.compute().ap(0.5) == pytest.approx(0.5, abs=1e-12)  # the false one comes first


def test_evaluate_takes_records() -> None:
    """`evaluate` gives the numbers of `compute`, and the same records can be evaluated again by other rules."""
    records = TIE.records()
    assert same(evaluate(records, TIE.names), TIE.metrics().compute())
    rules = Rules(THRESHOLDS[:2], AREAS, LIMITS)
    assert same(evaluate(records, TIE.names, rules), TIE.metrics(rules).compute())
    again = make_records(records.image_ids, records.truths, records.found, records.classes)
    assert all(a.equal(b) for a, b in zip(again.found, records.found, strict=True))


def test_pycocotools_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file imports it outside of a function, and all metrics run where it cannot be imported."""
    assert importlib.util.find_spec("pycocotools") is not None
    importers = []
    for path in sorted((ROOT / "yolo").rglob("*.py")):
        tree = ast.parse(path.read_text())
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        inner = {id(node) for function in functions for node in ast.walk(function)}
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and "pycocotools" in ast.unparse(node):
                importers.append(path.name)
                assert id(node) in inner, f"{path}:{node.lineno}"
    assert set(importers) == {"referee.py"}
    expected = TIE.metrics().compute().ap(0.5)
    for name in ("pycocotools", "pycocotools.coco", "pycocotools.cocoeval"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError):
        referee(TIE.annotations(), TIE.rows())
    assert TIE.metrics().compute().ap(0.5) == expected


def test_two_processes(tmp_path: Path) -> None:
    """Two processes with a share of the images each, one image in both, give the numbers of one process."""
    meeting = tmp_path / "meeting"
    other = Warm("-m", "tests.support.coco_share", meeting)
    try:
        check_share(meeting, 0)
    finally:
        _, errors = ended(other)
    assert other.returncode == 0, errors
