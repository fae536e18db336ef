"""Perfect predictions: detection finds the objects in them, and what is lost has the right cause."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor
from torch.testing import assert_close

from tests.support.loss_problems import RULES, Problem, problems, real_head
from tests.support.oracles import YoloHead
from yolo.boxes import Detections, cxcywh_to_xyxy
from yolo.darknet.heads import Head
from yolo.detection.perfect import FATES, blank, perfect
from yolo.detection.postprocess import postprocess
from yolo.images.placement import Placement
from yolo.options.detection import Filter
from yolo.size import Size

SIZE = Size(64, 128)
BOARD = [YoloHead([(40, 40), (80, 20)], stride=32, classes=2), YoloHead([(10, 10), (20, 40)], stride=16, classes=2)]
NO_ANCHOR, SHARES, BEYOND, FOUND = FATES


def target(*boxes: tuple[float, float, float, float], crowd: tuple[int, ...] = ()) -> dict[str, Any]:
    """Return a target with boxes cxcywh in pixels, of classes 0, 1, 0, 1, ..."""
    corners = cxcywh_to_xyxy(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    is_crowd = torch.tensor([k in crowd for k in range(len(boxes))], dtype=torch.bool)
    return {"boxes": corners, "labels": torch.arange(len(boxes)) % 2, "iscrowd": is_crowd}


def on_board(*targets: dict[str, Any], rule: str, heads: list[YoloHead] = BOARD) -> tuple[list[list[str]], str]:
    """Return what is lost, and the remedy."""
    real = [real_head(head) for head in heads]
    _, lost, remedy = perfect(blank(real, SIZE, len(targets)), targets, real, SIZE, rule)
    return lost, remedy


def detected(raw: list[Tensor], heads: list[Head], size: Size) -> list[Detections]:
    """Return the detections in pixels of the input, without NMS."""
    placements = [Placement.stretch(size, size)] * len(raw[0])
    return postprocess(raw, heads, size, placements, Filter(confidence=0.001, nms=1))


def fates(problem: Problem, rule: str) -> list[str]:
    """Return the fates of the labels by the oracle's assignment: of labels that share a slot the last one has it."""
    rows = [row for row in problem.rows(rule) if row.matched]
    owner = {(row.s, row.b, row.a, row.i, row.j): row.n for row in rows}
    assigned = {row.n for row in rows}
    return [
        FOUND if n in owner.values() else SHARES if n in assigned else NO_ANCHOR for n in range(len(problem.labels))
    ]


def snapped(problem: Problem) -> tuple[Problem, Size]:
    """Return the problem with labels in order of images, whose centres are whole multiples of 1/64 and whose sizes of
    1/32 pixels, and the size of its input: these boxes and their cells are the same in float32."""
    h, w = (side * problem.facts[0].stride for side in problem.raw[0].shape[2:4])
    labels = problem.labels[problem.labels[:, 0].argsort(kind="stable")]
    labels[:, 1:3] = (labels[:, 1:3] * (64 * w, 64 * h)).round() / (64 * w, 64 * h)
    labels[:, 3:5] = (labels[:, 3:5] * (32 * w, 32 * h)).round().clip(1) / (32 * w, 32 * h)
    return Problem(problem.raw, labels, problem.facts), Size(h, w)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=60)
@given(problem=problems())
def test_detection_finds_what_training_teaches(rule: str, problem: Problem) -> None:
    """Every label that is not lost is detected with its class to a thousandth of a pixel, and nothing else is; what is
    lost, and why, is what the oracle's assignment says."""
    problem, size = snapped(problem)
    assume(problem.gap(rule) > 1e-4)
    heads, labels = [real_head(head) for head in problem.facts], problem.targets()
    targets: list[dict[str, Any]] = []
    for b in range(len(problem.raw[0])):
        own = labels[labels[:, 0] == b]
        boxes = cxcywh_to_xyxy(own[:, 1:5] * torch.tensor(size.wh * 2)).float()
        no_crowd = torch.zeros(len(own), dtype=torch.bool)
        targets.append({"boxes": boxes, "labels": own[:, 5].long(), "iscrowd": no_crowd})
    raw = [scale.detach() for scale in problem.predictions(torch.float32)]
    predictions, lost, _ = perfect(raw, targets, heads, size, rule)
    assert [reason for reasons in lost for reason in reasons] == fates(problem, rule)
    assert [scale.shape for scale in predictions] == [scale.shape for scale in raw]
    for one, reasons, found in zip(targets, lost, detected(predictions, heads, size), strict=True):
        kept = [k for k, reason in enumerate(reasons) if not reason]
        near = (found.boxes[:, None] - one["boxes"][kept]).abs().amax(-1) < 1e-3
        near &= found.labels[:, None] == one["labels"][kept]
        assert bool(near.any(0).all())
        assert bool(near.any(1).all())


@pytest.mark.parametrize(
    ("rule", "boxes", "expected"),
    [
        # The second label has both slots of the first; of three, the last one.
        ("ratio", [(40, 40, 30, 30), (42, 42, 30, 30)], [SHARES, FOUND]),
        ("prior", [(40, 40, 30, 30), (42, 42, 30, 30), (41, 41, 30, 30)], [SHARES, SHARES, FOUND]),
        # On the finer grid they lie in different cells, which only `ratio` uses as well: 30 x 30 suits anchor 20 x 40.
        ("ratio", [(40, 40, 30, 30), (50, 40, 30, 30)], [FOUND, FOUND]),
        ("prior", [(40, 40, 30, 30), (50, 40, 30, 30)], [SHARES, FOUND]),
        # Another anchor is another slot.
        ("prior", [(40, 40, 30, 30), (42, 42, 80, 20)], [FOUND, FOUND]),
        # Distances of at least 4.3 from all anchors; `prior` always has an anchor.
        ("ratio", [(64, 40, 126, 60)], [NO_ANCHOR]),
        ("prior", [(64, 40, 126, 60)], [FOUND]),
        # A centre on the border of the image, and one on the border of two cells.
        ("ratio", [(128, 64, 10, 10), (64, 32, 40, 40)], [FOUND, FOUND]),
    ],
)
def test_causes(rule: str, boxes: list[tuple[float, float, float, float]], expected: list[str]) -> None:
    """By hand, in the second of two images."""
    assert on_board(target(), target(*boxes), rule=rule)[0] == [[], expected]


def test_out_of_reach() -> None:
    """With scale_x_y = 0.1 a centre is at most 1.6 pixels from the middle of its cell: a box of 10 pixels whose centre
    lies 15 pixels from there is lost, one of 100 pixels comes back with an IoU above 0.5."""
    head = [YoloHead([(40, 40)], stride=32, classes=2, k=0.1)]
    boxes = [(33, 33, 10, 10), (80, 48, 10, 10), (97, 31, 100, 60)]
    assert on_board(target(*boxes), rule="prior", heads=head)[0] == [[BEYOND, FOUND, FOUND]]


def test_what_is_not_trained() -> None:
    """Crowds and boxes without area do not displace an object in their slots."""
    boxes = [(40, 40, 30, 30), (41, 41, 30, 30), (42, 42, 30, 0)]
    lost, remedy = on_board(target(*boxes, crowd=(1,)), rule="prior")
    assert lost == [["", "a crowd is not trained", "its box has no area"]]
    assert remedy == ""


def test_remedies() -> None:
    """Every setting that loses fewer is named with its number: three pairs share a slot by `prior`; one is apart on a
    grid twice as fine, another on the second scale, where `ratio` looks as well."""
    pairs = [[(40, 40, 30, 30), (50, 40, 30, 30)], [(8, 8, 10, 10), (9, 9, 10, 10)]]
    lost, remedy = on_board(*(target(*pair) for pair in pairs), rule="prior")
    assert [reasons.count(SHARES) for reasons in lost] == [1, 1]
    assert remedy == "--assign ratio would lose 1 instead of 2, --size 256x128 would lose 1 instead of 2"
    assert on_board(target((64, 40, 126, 60)), rule="ratio")[1] == "--assign prior would lose 0 instead of 1"


def test_an_empty_batch() -> None:
    """Nothing is predicted, nothing is lost."""
    heads = [real_head(head) for head in BOARD]
    predictions, lost, remedy = perfect(blank(heads, SIZE, 2), [target(), target()], heads, SIZE, "ratio")
    assert (lost, remedy) == ([[], []], "")
    assert [len(found) for found in detected(predictions, heads, SIZE)] == [0, 0]


def test_the_values_are_moderate() -> None:
    """No value is infinite, even for a centre on a border."""
    heads = [real_head(head) for head in BOARD]
    raw, _, _ = perfect(blank(heads, SIZE, 1), [target((128, 64, 10, 10), (0, 0, 8, 8))], heads, SIZE, "ratio")
    assert_close(torch.cat([scale.flatten() for scale in raw]).abs().max(), torch.tensor(20.0))
