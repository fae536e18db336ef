"""Boxes: overlaps against torchvision and the oracle, placements against darknet's formulas and their inverse."""

from __future__ import annotations

import math
import sys

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tests.support import oracles
from yolo.boxes import Detections, cxcywh_to_xyxy, diou, iou, xyxy_to_cxcywh
from yolo.images.placement import Placement
from yolo.size import Size

SEEDS = st.integers(0, 2**32)
SIZES = st.builds(Size, st.integers(1, 3000), st.integers(1, 3000))
INPUTS = st.builds(lambda h, w: Size(h * 32, w * 32), st.integers(1, 25), st.integers(1, 25))
SMALL = st.integers(0, 4)
GRID_BOXES = st.tuples(SMALL, SMALL, SMALL, SMALL)  # many touch, contain one another, are equal or have no area


def random_boxes(seed: int, n: int = 30) -> Tensor:
    """cxcywh `[n, 4]` float64 on and around the unit square, with sizes from 0.01 to 1."""
    g = torch.Generator().manual_seed(seed)
    boxes = torch.rand(n, 4, generator=g, dtype=torch.float64)
    return torch.cat((boxes[:, :2], 0.01 + 0.99 * boxes[:, 2:].square()), dim=-1)


# formats


@given(SEEDS)
def test_formats_round_trip(seed: int) -> None:
    """There and back, both ways, for any leading dimensions. The arguments are not changed."""
    boxes = random_boxes(seed).reshape(2, 15, 4)
    before = boxes.clone()
    assert_close(xyxy_to_cxcywh(cxcywh_to_xyxy(boxes)), boxes, rtol=0, atol=1e-15)
    assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes, rtol=0, atol=1e-15)
    assert boxes.equal(before)
    assert_close(cxcywh_to_xyxy(boxes), torchvision.ops.box_convert(boxes, "cxcywh", "xyxy"))


def test_formats_by_hand() -> None:
    """A box that a reader can check."""
    assert cxcywh_to_xyxy(torch.tensor([10.0, 20, 4, 6])).tolist() == [8, 17, 12, 23]
    assert xyxy_to_cxcywh(torch.tensor([8.0, 17, 12, 23])).tolist() == [10, 20, 4, 6]


# overlaps


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((1, 1, 2, 2), (1, 1, 2, 2), 1),
        ((1, 1, 2, 2), (2, 1, 2, 2), 1 / 3),
        ((1, 1, 2, 2), (2, 2, 2, 2), 1 / 7),
        ((1, 1, 2, 2), (3, 1, 2, 2), 0),  # they touch
        ((1, 1, 2, 2), (9, 9, 2, 2), 0),
        ((2, 2, 4, 4), (2, 2, 2, 2), 1 / 4),  # one within the other
        ((1, 1, 0, 2), (1, 1, 2, 2), 0),  # no area
        ((1, 1, 0, 0), (1, 1, 0, 0), 0),
    ],
)
def test_iou_by_hand(a: tuple[float, ...], b: tuple[float, ...], expected: float) -> None:
    """Boxes that a reader can check, in both orders; the oracle agrees."""
    first, second = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    assert iou(first, second).item() == iou(second, first).item() == oracles.iou(a, b) == expected


@pytest.mark.parametrize(
    ("a", "b", "beta", "expected"),
    [
        ((1, 1, 2, 2), (1, 1, 2, 2), 1, 1),
        ((1, 1, 2, 2), (2, 1, 2, 2), 1, 1 / 3 - 1 / 13),
        ((1, 1, 2, 2), (2, 1, 2, 2), 0.5, 1 / 3 - math.sqrt(1 / 13)),
        ((1, 1, 2, 2), (4, 5, 2, 2), 1, -25 / 61),
        ((1, 1, 0, 0), (1, 1, 0, 0), 0.6, 0),
        ((1, 1, 0, 0), (4, 5, 0, 0), 0.6, -1),  # two points: the distance is the diagonal
    ],
)
def test_diou_by_hand(a: tuple[float, ...], b: tuple[float, ...], beta: float, expected: float) -> None:
    """Boxes that a reader can check; the oracle agrees."""
    first, second = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    assert diou(first, second, beta).item() == pytest.approx(expected, abs=1e-15)
    assert oracles.diou(a, b, beta) == pytest.approx(expected, abs=1e-15)


@given(SEEDS)
def test_against_torchvision(seed: int) -> None:
    """The whole table, IoU and DIoU, and DIoU row by row."""
    a, b = random_boxes(seed), random_boxes(seed + 1)
    corners_a, corners_b = cxcywh_to_xyxy(a), cxcywh_to_xyxy(b)
    assert_close(iou(a[:, None], b), torchvision.ops.box_iou(corners_a, corners_b), rtol=1e-12, atol=1e-14)
    theirs = torchvision.ops.distance_box_iou(corners_a, corners_b, eps=0.0)
    assert_close(diou(a[:, None], b), theirs, rtol=1e-12, atol=1e-14)
    loss = torchvision.ops.distance_box_iou_loss(corners_a, corners_b, eps=0.0)
    assert_close(1 - diou(a, b), loss, rtol=1e-12, atol=1e-14)
    assert_close(iou(a.float()[:, None], b.float()).double(), iou(a[:, None], b), rtol=0, atol=2e-5)


@given(SEEDS, st.sampled_from([0.3, 0.6, 1.0, 2.0]))
def test_against_the_oracle(seed: int, beta: float) -> None:
    """Row by row, every exponent. Both are symmetric, and IoU does not depend on the scaling of the axes."""
    a, b = random_boxes(seed), random_boxes(seed + 1)
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    ious = torch.tensor([oracles.iou(*pair) for pair in pairs], dtype=torch.float64)
    dious = torch.tensor([oracles.diou(*pair, beta) for pair in pairs], dtype=torch.float64)
    assert_close(iou(a, b), ious, rtol=1e-13, atol=1e-15)
    assert_close(diou(a, b, beta), dious, rtol=1e-13, atol=1e-14)
    assert iou(b, a).equal(iou(a, b))
    assert diou(b, a, beta).equal(diou(a, b, beta))
    pixels = a.new_tensor([640, 480, 640, 480])
    assert_close(iou(a * pixels, b * pixels), iou(a, b))


@given(GRID_BOXES, GRID_BOXES)
def test_grid_boxes(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """On small integers the oracle's values are equal: for touching, nested, equal and empty boxes."""
    first, second = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    assert iou(first, second).item() == oracles.iou(a, b)
    assert diou(first, second).item() == oracles.diou(a, b)


def test_no_boxes() -> None:
    """Zero boxes on either side or both."""
    none, some = torch.empty(0, 4), torch.rand(3, 4)
    for measure in (iou, diou):
        assert measure(none, none).shape == (0,)
        assert measure(none[:, None], some).shape == (0, 3)
        assert measure(some[:, None], none).shape == (3, 0)
    for convert in (cxcywh_to_xyxy, xyxy_to_cxcywh, Placement.stretch(Size(4, 4), Size(8, 8)).relative):
        assert convert(none).shape == (0, 4)


def test_infinite_boxes() -> None:
    """An overflowing exp gives infinite boxes. The IoU with a finite box is 0, that of two infinite ones NaN."""
    inf = math.inf
    endless, finite, line = torch.tensor([[0.5, 0.5, inf, inf], [0.5, 0.5, 1, 1], [0.5, 0.5, inf, 0]]).unbind(0)
    assert iou(endless, finite).item() == iou(line, finite).item() == iou(line, endless).item() == 0
    assert diou(endless, finite, 0.6).item() == 0
    assert not bool(iou(endless, endless) > 0.45)  # NaN exceeds no threshold, as in darknet


# placements


@pytest.mark.parametrize(
    ("image", "size", "placed", "offset", "darknet_undo"),
    [
        ((640, 480), (416, 416), (416, 312), (0, 52), (0, 52)),
        ((480, 640), (416, 416), (312, 416), (52, 0), (52, 0)),
        ((768, 576), (416, 416), (416, 312), (0, 52), (0, 52)),
        ((100, 100), (416, 416), (416, 416), (0, 0), (0, 0)),
        ((353, 500), (416, 416), (293, 416), (61, 0), (61.5, 0)),
        ((500, 353), (416, 416), (416, 293), (0, 61), (0, 61.5)),
        ((640, 480), (608, 320), (426, 320), (91, 0), (91, 0)),
        ((640, 480), (320, 608), (320, 240), (0, 184), (0, 184)),
        ((640, 424), (416, 416), (416, 275), (0, 70), (0, 70.5)),
        ((1, 1), (416, 416), (416, 416), (0, 0), (0, 0)),
        ((1, 1), (64, 32), (32, 32), (16, 0), (16, 0)),
        ((1, 1000), (416, 416), (1, 416), (207, 0), (207.5, 0)),
        ((1000, 1), (416, 416), (416, 1), (0, 207), (0, 207.5)),
    ],
)
def test_letterbox_table(
    image: tuple[int, int],
    size: tuple[int, int],
    placed: tuple[int, int],
    offset: tuple[int, int],
    darknet_undo: tuple[float, float],
) -> None:
    """Sizes and offsets by hand. All sizes of the table are (width, height)."""
    ours, darknet = (Placement.letterbox(Size(*image[::-1]), Size(*size[::-1]), darknet=d) for d in (False, True))
    assert (ours.placed.wh, ours.offset, ours.undo_offset) == (placed, offset, offset)
    assert (darknet.placed.wh, darknet.offset, darknet.undo_offset) == (placed, offset, darknet_undo)
    stretch = Placement.stretch(Size(*image[::-1]), Size(*size[::-1]))
    assert (stretch.placed.wh, stretch.offset, stretch.undo_offset) == (size, (0, 0), (0, 0))


def test_boxes_by_hand() -> None:
    """640 x 480 into 416 x 416: factor 0.65, 52 rows of grey above."""
    box, inside = torch.tensor([100.0, 200, 300, 400]), torch.tensor([65.0, 182, 195, 312])
    placement = Placement.letterbox(Size(480, 640), Size(416, 416))
    assert_close(placement.to_input(box), inside)
    assert_close(placement.to_image(inside), box)
    stretch = Placement.stretch(Size(480, 640), Size(416, 416))
    assert_close(stretch.to_input(box), torch.tensor([65.0, 520 / 3, 195, 1040 / 3]))


@given(SIZES, INPUTS, st.sampled_from(["letterbox", "darknet", "stretch"]), SEEDS)
def test_placement_inverse(image: Size, size: Size, mode: str, seed: int) -> None:
    """`to_image` is the inverse of `to_input`, both ways. `relative` gives the same in fractions."""
    placement = (
        Placement.stretch(image, size)
        if mode == "stretch"
        else Placement.letterbox(image, size, darknet=mode == "darknet")
    )
    fractions = random_boxes(seed)
    in_image = cxcywh_to_xyxy(fractions) * fractions.new_tensor(image.wh * 2)
    in_input = cxcywh_to_xyxy(fractions) * fractions.new_tensor(size.wh * 2)
    assert_close(placement.to_image(placement.to_input(in_image)), in_image, rtol=1e-9, atol=1e-7)
    assert_close(placement.to_input(placement.to_image(in_input)), in_input, rtol=1e-9, atol=1e-7)
    relative = cxcywh_to_xyxy(placement.relative(fractions)) * fractions.new_tensor(image.wh * 2)
    assert_close(relative, placement.to_image(in_input), rtol=1e-9, atol=1e-7)


@given(SIZES, INPUTS)
def test_image_fills_its_place(image: Size, size: Size) -> None:
    """The corners of the image are the corners of the pasted part, which is inside the input."""
    placement = Placement.letterbox(image, size)
    (h, w), (left, top) = placement.placed, placement.offset
    whole = torch.tensor([0, 0, *image.wh], dtype=torch.float64)
    assert_close(placement.to_input(whole), torch.tensor([left, top, left + w, top + h], dtype=torch.float64))
    assert 0 <= left <= left + w <= size.width
    assert 0 <= top <= top + h <= size.height
    assert size == (h, size.width) or size.width == w
    assert min(w, h) >= 1


@given(SIZES, INPUTS, SEEDS)
def test_darknet_formulas(image: Size, size: Size, seed: int) -> None:
    """Sizes, offsets and corrected boxes are darknet's, unless darknet leaves no pixel of the image."""
    placement = Placement.letterbox(image, size, darknet=True)
    placed, offset = oracles.letterbox(image.wh, size.wh)
    assert placement.placed.wh == (max(placed[0], 1), max(placed[1], 1))
    if min(placed) == 0:
        return
    assert placement.offset == offset
    boxes = random_boxes(seed, 10)
    expected = torch.tensor(
        [oracles.correct_box(box, image.wh, size.wh) for box in boxes.tolist()], dtype=torch.float64
    )
    assert_close(placement.relative(boxes), expected, rtol=1e-9, atol=1e-9)


def test_darknet_half_pixel() -> None:
    """With an odd margin darknet's boxes are half an input pixel further left. With an even one they are ours."""
    box = torch.tensor([100.0, 100, 200, 200], dtype=torch.float64)
    ours, darknet = (Placement.letterbox(Size(500, 353), Size(416, 416), darknet=d) for d in (False, True))
    shift = 0.5 * 353 / 293
    assert_close(ours.to_image(box) - darknet.to_image(box), box.new_tensor([shift, 0, shift, 0]))
    ours, darknet = (Placement.letterbox(Size(480, 640), Size(416, 416), darknet=d) for d in (False, True))
    assert ours == darknet


# detections


@pytest.mark.parametrize("n", [0, 3])
def test_detections(n: int) -> None:
    """Length and device, also without any detection."""
    found = Detections(torch.rand(n, 4), torch.rand(n), torch.arange(n))
    assert len(found) == n
    moved = found.to("meta")
    assert moved.boxes.is_meta
    assert moved.scores.is_meta
    assert moved.labels.is_meta
    assert len(moved) == n
    assert found.to("cpu").boxes.equal(found.boxes)


def test_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The conversion if the package is installed, the remedy if it is not."""
    found = Detections(torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([0.5]), torch.tensor([1]))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "supervision", None)
        with pytest.raises(ImportError, match=r"pip install 'exact-yolov3\[supervision\]'"):
            found.to_supervision()
    pytest.importorskip("supervision", reason="the extra supervision is not installed: conversion not checked")
    theirs = found.to_supervision(["cat", "dog"])
    assert theirs.xyxy.tolist() == [[1, 2, 3, 4]]
    assert theirs.class_id is not None
    assert theirs.class_id.tolist() == [1]
    assert theirs.data["class_name"].tolist() == ["dog"]
    empty = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long)).to_supervision(["cat"])
    assert len(empty) == 0
