"""Non-maximum suppression against naive loops: which boxes are kept, and which kept box suppressed each other one."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tests.support import oracles
from tests.support.many import examples
from yolo.detection import nms as nms_module
from yolo.detection.nms import Suppression, nms, suppressors

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]


def random_case(rng: random.Random) -> tuple[list[list[float]], list[float], list[int], dict[str, Any]]:
    """Return boxes, scores, labels and options in which ties and degenerate boxes are frequent."""
    n = rng.choice([0, 1, 2, 5, 10, 24])
    classes = rng.choice([1, 1, 2, 20])
    step = rng.choice([0.5, 1.0])  # on such a grid many overlaps are equal, and equal to the thresholds below
    reach = rng.choice([2, 4, 8])
    boxes = [
        [rng.randrange(reach) * step for _ in range(2)] + [float(rng.randrange(4)) for _ in "wh"] for _ in range(n)
    ]
    if rng.random() < 0.5:
        boxes = [[value + rng.random() / 4 for value in box] for box in boxes]
    for _ in range(rng.choice([0, 0, n // 3])):
        boxes[rng.randrange(n)] = list(boxes[rng.randrange(n)])
    levels = rng.choice([1, 3, 8, 10**6])
    scores = [(1 + rng.randrange(levels)) / levels for _ in range(n)]
    labels = [rng.randrange(classes) for _ in range(n)]
    kind, beta = rng.choice([("iou", 1.0), ("iou", 1.0), ("diou", 1.0), ("diou", 0.6)])
    threshold = rng.choice([0.0, 0.25, 0.45, 0.6, 1 / 3, 0.5, 1.0])
    if n > 1 and beta == 1 and rng.random() < 0.4:  # the measure of one pair exactly (pow may differ in the last bit)
        a, b = rng.choice(boxes), rng.choice(boxes)
        threshold = oracles.iou(a, b) if kind == "iou" else oracles.diou(a, b)
    options = {"threshold": threshold, "kind": kind, "beta": beta, "agnostic": rng.random() < 0.3}
    return boxes, scores, labels, options


def as_tensors(
    boxes: Sequence[Sequence[float]], scores: Sequence[float], labels: Sequence[int], device: str = "cpu"
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the tensors that `nms` takes."""
    return (
        torch.tensor(boxes, dtype=torch.float64, device=device).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float64, device=device),
        torch.tensor(labels, dtype=torch.int64, device=device),
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("block", "kept_at_once", "cases"), [(256, 8192, 1500), (8, 5, 500), (3, 2, 300), (1, 1, 100)])
def test_nms_equals_the_naive_loop(
    device: str, block: int, kept_at_once: int, cases: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many random cases with blocks of several sizes; a limit gives the beginning of the result."""
    monkeypatch.setattr(nms_module, "_BLOCK", block)
    monkeypatch.setattr(nms_module, "_KEPT", kept_at_once)
    monkeypatch.setattr(nms_module, "_PORTION", block)
    for case in range(cases if device == "cpu" else cases // 10):
        rng = random.Random(case + 10_000 * block)
        boxes, scores, labels, options = random_case(rng)
        expected = oracles.nms(boxes, scores, labels, **options)
        limit = rng.choice([None, rng.randrange(1, len(boxes) + 2)])
        kept = nms(*as_tensors(boxes, scores, labels, device), Suppression(**options), limit)
        assert kept.tolist() == expected[:limit], f"case {case}, limit {limit}"


@pytest.mark.parametrize(
    ("n", "classes", "levels", "agnostic"),
    [(3000, 80, 7, False), (3000, 20, 10**6, False), (700, 1, 5, False), (700, 9, 50, True), (600, 1, 1, False)],
)
def test_nms_of_many(n: int, classes: int, levels: int, agnostic: bool) -> None:
    """Several blocks of the real size, with many equal scores."""
    rng = random.Random(n + classes + levels)
    boxes = [[rng.random(), rng.random(), 0.3 * rng.random(), 0.3 * rng.random()] for _ in range(n)]
    scores = [(1 + rng.randrange(levels)) / levels for _ in range(n)]
    labels = [rng.randrange(classes) for _ in range(n)]
    expected = oracles.nms(boxes, scores, labels, 0.45, agnostic=agnostic)
    tensors, rule = as_tensors(boxes, scores, labels), Suppression(0.45, agnostic=agnostic)
    assert nms(*tensors, rule).tolist() == expected
    for limit in (1, 100, 300):
        assert nms(*tensors, rule, limit).tolist() == expected[:limit]


def test_nms_chain() -> None:
    """Each box overlaps only its neighbours: every second one is kept, after the most rounds that there can be."""
    n = 1000
    boxes, scores, labels = as_tensors([[k, 0, 1.9, 1] for k in range(n)], [1 - k / n for k in range(n)], [0] * n)
    assert nms(boxes, scores, labels, Suppression(0.3)).tolist() == list(range(0, n, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nms_threshold_edge(dtype: torch.dtype) -> None:
    """An overlap equal to the threshold keeps the box, one just above drops it; float32 is compared in float64."""
    boxes, scores, labels = as_tensors([[1, 1, 2, 2], [2, 1, 2, 2]], [0.9, 0.8], [0, 0])  # IoU is a third
    boxes = boxes.to(dtype)
    for agnostic in (False, True):
        assert nms(boxes, scores, labels, Suppression(1 / 3, agnostic=agnostic)).tolist() == [0, 1]
        assert nms(boxes, scores, labels, Suppression(math.nextafter(1 / 3, 0), agnostic=agnostic)).tolist() == [0]


def test_nms_equal_scores() -> None:
    """Of two equal boxes with equal scores the first is kept. Classes are independent unless agnostic."""
    boxes, scores, labels = as_tensors([[1, 1, 2, 2]] * 3, [0.5] * 3, [1, 0, 1])
    assert nms(boxes, scores, labels, Suppression(0.45)).tolist() == [0, 1]
    assert nms(boxes, scores, labels, Suppression(0.45, agnostic=True)).tolist() == [0]
    assert nms(boxes, scores, labels, Suppression(1.0)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["iou", "diou"])
def test_nms_of_degenerate_boxes(kind: str) -> None:
    """Boxes without area or of infinite size suppress nothing."""
    inf = math.inf
    boxes, scores, labels = as_tensors(
        [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, inf, inf], [1, 1, inf, inf], [1, 1, 2, 2]],
        [0.9, 0.8, 0.7, 0.6, 0.5],
        [0] * 5,
    )
    assert nms(boxes, scores, labels, Suppression(0.45, kind=kind, beta=0.6)).tolist() == [0, 1, 2, 3, 4]
    assert nms(boxes.float(), scores.float(), labels, Suppression(0.45, kind), 2).tolist() == [0, 1]


@given(st.integers(0, 2**32), st.sampled_from(["iou", "diou"]), st.booleans())
@examples(20)
def test_order_of_candidates(seed: int, kind: str, agnostic: bool) -> None:
    """Without equal scores the order of the candidates does not matter."""
    rng = random.Random(seed)
    n = rng.randrange(1, 400)
    scores = [(k + 1) / n for k in range(n)]
    rng.shuffle(scores)
    boxes, all_scores, labels = as_tensors(
        [[rng.random() for _ in range(4)] for _ in range(n)], scores, [rng.randrange(3) for _ in range(n)]
    )
    rule = Suppression(0.4, kind, agnostic=agnostic)
    kept = nms(boxes, all_scores, labels, rule)
    order = torch.tensor(rng.sample(range(n), n))
    again = nms(boxes[order], all_scores[order], labels[order], rule)
    assert order[again].equal(kept)


@pytest.mark.parametrize("device", DEVICES)
def test_suppressors_equal_the_naive_loop(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random cases: every dropped box names the best kept one that overlaps it by more than the threshold."""
    monkeypatch.setattr(nms_module, "_BLOCK", 4)
    dropped = 0
    for case in range(1500 if device == "cpu" else 100):
        boxes, scores, labels, options = random_case(random.Random(case))
        kept = oracles.nms(boxes, scores, labels, **options)
        tensors = as_tensors(boxes, scores, labels, device)
        by, overlap = suppressors(
            tensors[0], tensors[2], torch.tensor(kept, device=device).long(), Suppression(**options)
        )
        for k, box in enumerate(boxes):
            rivals = [p for p in kept if options["agnostic"] or labels[p] == labels[k]]
            measures = [
                oracles.iou(boxes[p], box) if options["kind"] == "iou" else oracles.diou(boxes[p], box, options["beta"])
                for p in rivals
            ]
            expected = (-1, 0.0)
            if k not in kept:
                pairs = zip(rivals, measures, strict=True)
                expected = next((p, measure) for p, measure in pairs if measure > options["threshold"])
                dropped += 1
            assert by[k] == expected[0], f"case {case}, box {k}"
            assert_close(overlap[k].item(), expected[1], rtol=1e-12, atol=1e-12)
    assert dropped > 1000 if device == "cpu" else dropped > 50


def test_who_suppressed_whom() -> None:
    """A chain: B is suppressed by A and so spares C, which only B overlaps; D has another class."""
    boxes, scores, labels = as_tensors(
        [[10, 10, 10, 10], [14, 10, 10, 10], [18, 10, 10, 10], [10, 10, 10, 10]], [0.9, 0.8, 0.7, 0.6], [0, 0, 0, 1]
    )
    for agnostic, expected in ((False, [-1, 0, -1, -1]), (True, [-1, 0, -1, 0])):
        rule = Suppression(0.4, agnostic=agnostic)
        by, overlap = suppressors(boxes, labels, nms(boxes, scores, labels, rule), rule)
        assert by.tolist() == expected
        assert_close(overlap, torch.tensor([0, 6 / 14, 0, float(agnostic)], dtype=torch.float64))


def test_no_boxes() -> None:
    """No rows."""
    boxes, scores, labels = as_tensors([], [], [])
    kept = nms(boxes, scores, labels, Suppression(0.5))
    by, overlap = suppressors(boxes, labels, kept, Suppression(0.5))
    assert (len(kept), len(by), len(overlap)) == (0, 0, 0)
