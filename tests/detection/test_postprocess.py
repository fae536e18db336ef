"""Candidates, and the steps from predictions to detections, against naive loops; exact edges of every threshold."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tests.support import oracles
from tests.support.many import examples
from yolo.boxes import Detections, cxcywh_to_xyxy
from yolo.darknet.heads import Decoded, Head
from yolo.darknet.sections import Region, Yolo
from yolo.detection import postprocess as module
from yolo.detection.nms import Suppression, nms
from yolo.detection.postprocess import candidates, postprocess
from yolo.images.placement import Placement
from yolo.options.detection import Filter
from yolo.size import Size

SEEDS = st.integers(0, 2**32)
ANCHORS = ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0))
SIZE = Size(64, 96)  # the input, height and width: grids of 2 x 3 and 4 x 6
STRIDES = (32, 16)


def make_head(
    stride: int = 16, classes: int = 5, *, new_coords: int = 0, nms_kind: str = "default", anchors: int = 3
) -> Head:
    """Return a `[yolo]` head with the first of ANCHORS."""
    numbers = tuple(number for pair in ANCHORS[:anchors] for number in pair)
    section = Yolo(classes=classes, num=anchors, anchors=numbers, new_coords=new_coords, nms_kind=nms_kind)
    return Head(section, (Fraction(stride), Fraction(stride)))


def make_region(stride: int = 16, classes: int = 5) -> Head:
    """Return a `[region]` head with two anchors."""
    section = Region(classes=classes, num=2, anchors=(1.0, 2.0, 2.5, 1.5), softmax=1)
    return Head(section, (Fraction(stride), Fraction(stride)))


def random_raw(heads: Sequence[Head], seed: int, levels: int = 0, batch: int = 1) -> list[Tensor]:
    """Return raw predictions, float64 `[B, A, H, W, 5+C]`; `levels` rounds the logits, so many scores are equal."""
    g = torch.Generator().manual_seed(seed)
    raws = []
    for head in heads:
        grid = (SIZE[0] // head.stride, SIZE[1] // head.stride)
        raw = torch.randn(batch, len(head.anchors), *grid, 5 + head.classes, generator=g, dtype=torch.float64)
        raw = (raw * levels).round() / levels if levels else raw * 1.5
        raws.append(raw.sigmoid() if head.new_coords else raw)
    return raws


def decoded(raws: Sequence[Tensor], heads: Sequence[Head]) -> list[oracles.Decoded]:
    """Decode one image by the oracle, from `[A, H, W, 5+C]`."""
    decoded_heads = []
    for raw, head in zip(raws, heads, strict=True):
        kind = "region" if head.region else "new_coords" if head.new_coords else "yolo"
        unit = head.stride if head.region else 1
        anchors = [(w / unit, h / unit) for w, h in head.anchors.tolist()]
        decoded_heads.append(oracles.decode_head(raw.double().numpy(), kind, anchors, SIZE, head.scale_x_y))
    return decoded_heads


def assert_same_candidates(ours: module.Candidates, expected: list[oracles.Candidate]) -> None:
    """Check for the same boxes, scores and labels in the same order."""
    assert ours.labels.tolist() == [candidate.label for candidate in expected]
    scores = torch.tensor([candidate.score for candidate in expected], dtype=torch.float64)
    boxes = torch.tensor([candidate.box for candidate in expected], dtype=torch.float64)
    assert_close(ours.scores.double(), scores, rtol=1e-12, atol=0)
    assert_close(ours.boxes.double(), boxes.reshape(-1, 4), rtol=1e-12, atol=1e-12)


def assert_same_detections(ours: Detections, expected: Detections) -> None:
    """Check that all bits are equal."""
    assert ours.labels.equal(expected.labels)
    assert ours.scores.equal(expected.scores)
    assert ours.boxes.equal(expected.boxes)


# candidates


@given(SEEDS, st.sampled_from([0.0, 0.001, 0.25, 0.5, 0.9]))
@examples(20)
def test_candidates_equal_the_oracle(seed: int, confidence: float) -> None:
    """Three kinds of heads on grids that are not square, with several classes per box, in darknet's order."""
    heads = [make_head(32), make_head(16, new_coords=1), make_region(16)]
    raws = [raw[0] for raw in random_raw(heads, seed)]
    expected = oracles.candidates(decoded(raws, heads), confidence)
    assert_same_candidates(candidates(raws, heads, SIZE, confidence), expected)


def test_candidates_in_any_layout() -> None:
    """The memory layout does not matter: channels first, as a convolution makes it, or last, as the inference copy."""
    heads = [make_head(stride) for stride in STRIDES]
    raws = [raw[0] for raw in random_raw(heads, 7)]
    plain = candidates(raws, heads, SIZE, 0.2)
    assert len(plain.scores) > 50
    for dims, back in (((0, 3, 1, 2), (0, 2, 3, 1)), ((1, 2, 0, 3), (2, 0, 1, 3))):
        other = candidates([raw.permute(dims).contiguous().permute(back) for raw in raws], heads, SIZE, 0.2)
        assert_close(tuple(other), tuple(plain), rtol=1e-14, atol=0)


def one_cell(*values: float, classes: int = 2, new_coords: int = 0) -> tuple[list[Tensor], list[Head]]:
    """Return a head with a single slot that has these objectness and class values."""
    head = make_head(32, classes, new_coords=new_coords, anchors=1)
    return [torch.tensor([0.5, 0.5, 0.5, 0.5, *values]).reshape(1, 1, 1, -1)], [head]


def labels_of(raws: list[Tensor], heads: list[Head], confidence: float) -> list[int]:
    """Return the classes above a confidence. Any limit gives the first of them."""
    found = candidates(raws, heads, (32, 32), confidence).labels.tolist()
    placement = Placement.stretch(Size(32, 32), Size(32, 32))
    for limit in (None, 1, 2, 5):
        options = Filter(confidence=confidence, nms=1.0, max_detections=limit)
        limited = postprocess([raw[None] for raw in raws], heads, (32, 32), [placement], options)[0]
        assert len(limited) == len(found[:limit])
    return found


def test_score_edge() -> None:
    """A score equal to the threshold is out, the next number above is in: 0.5 times 0.5 against a quarter."""
    above = float(np.nextafter(np.float32(0.5), np.float32(1)))
    raws, heads = one_cell(0.5, 0.5, above, new_coords=1)
    assert labels_of(raws, heads, 0.25) == [1]
    assert labels_of(raws, heads, math.nextafter(0.25, 0.0)) == [1]  # there is no float32 number between
    assert labels_of(raws, heads, float(np.nextafter(np.float32(0.25), np.float32(0)))) == [0, 1]
    assert labels_of(raws, heads, 0.5 * above) == []


def test_score_edge_of_logits() -> None:
    """The same through the sigmoid: logit 0 is one half exactly."""
    raws, heads = one_cell(0.0, 0.0, 1e-3)
    assert labels_of(raws, heads, 0.25) == [1]


def test_objectness_edge() -> None:
    """Objectness at the threshold is out, whatever the classes (after a linear layer they can exceed 1)."""
    above = float(np.nextafter(np.float32(0.5), np.float32(1)))
    for objectness, expected in ((0.5, []), (above, [0, 1]), (0.4, [])):
        raws, heads = one_cell(objectness, 2.0, 1.0, new_coords=1)
        assert labels_of(raws, heads, 0.5) == expected


def test_confidence_zero() -> None:
    """A score of 0 is not a candidate even at confidence 0; the smallest positive score is."""
    raws, heads = one_cell(1.0, 0.0, 1e-30, new_coords=1)
    assert labels_of(raws, heads, 0.0) == [1]
    raws, heads = one_cell(0.0, 1.0, 1.0, new_coords=1)
    assert labels_of(raws, heads, 0.0) == []


def test_not_a_number() -> None:
    """NaN exceeds nothing: as objectness it excludes its box, as a class value only that class."""
    raws, heads = one_cell(0.9, math.nan, 0.9, new_coords=1)
    assert labels_of(raws, heads, 0.25) == [1]
    raws, heads = one_cell(math.nan, 0.9, 0.9, new_coords=1)
    assert labels_of(raws, heads, 0.25) == []


def test_no_candidates() -> None:
    """Without candidates the tensors are empty and have the right shapes and dtypes."""
    heads = [make_head(stride) for stride in STRIDES]
    found = candidates([raw[0] - 100 for raw in random_raw(heads, 0)], heads, SIZE, 0.001)
    assert (found.boxes.shape, found.scores.shape, found.labels.shape) == ((0, 4), (0,), (0,))
    assert found.labels.dtype == torch.int64


# predictions to detections


def plain(
    raws: Sequence[Tensor], heads: Sequence[Head], placement: Placement, options: Filter
) -> tuple[Detections, int]:
    """Process one image by `candidates` and NMS without limit, cut at the end. Also return how many boxes NMS kept."""
    boxes, scores, labels, _ = candidates(raws, heads, SIZE, options.confidence)
    boxes, last = placement.relative(boxes), heads[-1]
    rule = Suppression(options.nms, last.nms_kind, last.nms_beta, options.agnostic or last.classes == 1)
    kept = nms(boxes, scores, labels, rule)
    first = kept[: options.max_detections]
    pixels = boxes.new_tensor(placement.image.wh * 2)
    return Detections(cxcywh_to_xyxy(boxes[first]) * pixels, scores[first], labels[first]), len(kept)


@pytest.mark.parametrize("kind", ["default", "greedynms", "diounms"])
@given(SEEDS)
@settings(max_examples=15, deadline=None)
def test_postprocess_equals_the_oracle(kind: str, seed: int) -> None:
    """Two images of different shapes in one batch, letterboxed as darknet does it, on an input that is not square."""
    heads = [make_head(stride, nms_kind=kind) for stride in STRIDES]
    raws = random_raw(heads, seed, batch=2)
    images = [(353, 500), (1000, 201)]
    placements = [Placement.letterbox(Size(h, w), SIZE, darknet=True) for w, h in images]
    options = Filter(confidence=0.3, nms=0.45)
    found = postprocess(raws, heads, SIZE, placements, options)
    assert len(found) == 2
    for b, image in enumerate(images):
        all_candidates = oracles.candidates(decoded([raw[b] for raw in raws], heads), options.confidence)
        boxes = [oracles.correct_box(candidate.box, image, (SIZE[1], SIZE[0])) for candidate in all_candidates]
        scores, labels = [c.score for c in all_candidates], [c.label for c in all_candidates]
        kept = oracles.nms(boxes, scores, labels, options.nms, "iou" if kind == "default" else "diou", 0.6)
        expected = [[x * s for x, s in zip(oracles.corners(boxes[k]), [*image, *image], strict=True)] for k in kept]
        assert_close(found[b].boxes, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-7)
        assert_close(found[b].scores, torch.tensor([scores[k] for k in kept], dtype=torch.float64))
        assert found[b].labels.tolist() == [labels[k] for k in kept]


@pytest.mark.parametrize("hopeful", [2, 4])
@pytest.mark.parametrize("last", ["default", "greedynms", "new_coords", "region", "one class"])
def test_limit_changes_nothing_else(hopeful: int, last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding only the best boxes gives the first detections of the full search, bit for bit, with equal scores, too.

    Both cases occur: the first attempt fills the limit, or it does not.
    """
    monkeypatch.setattr(module, "_HOPEFUL", hopeful)
    decode, attempts = module._decode, []

    def counted(*arguments: Any) -> module.Candidates:
        attempts.append(arguments)
        return decode(*arguments)

    monkeypatch.setattr(module, "_decode", counted)
    heads = [
        make_head(32, 1 if last == "one class" else 5),
        {
            "default": make_head(16),
            "greedynms": make_head(16, nms_kind="greedynms"),
            "new_coords": make_head(16, new_coords=1),
            "region": make_region(16),
            "one class": make_head(16, 1),
        }[last],
    ]
    placement = Placement.letterbox(Size(500, 353), SIZE)
    seen = set()
    for seed in range(hopeful // 2 - 1, 150, 2):  # every second problem for each
        rng = random.Random(seed)
        raws = random_raw(heads, seed, levels=rng.choice([0, 1, 2]))
        if rng.random() < 0.5:
            raws = [raw.float() for raw in raws]
        options = Filter(
            confidence=rng.choice([0.0, 0.001, 0.25, 0.5]),
            nms=rng.choice([0.0, 0.1, 0.45, 1.0]),
            max_detections=rng.choice([1, 2, 5, 20, 60, 10**6]),
            agnostic=rng.random() < 0.3,
        )
        expected, unlimited = plain([raw[0] for raw in raws], heads, placement, options)
        attempts.clear()
        assert_same_detections(postprocess(raws, heads, SIZE, [placement], options)[0], expected)
        assert options.max_detections is not None
        seen.add((len(attempts), len(expected) < unlimited))
    assert {attempt for attempt, _ in seen} == {1, 2}
    assert (1, True) in seen


def test_limit_with_not_a_number() -> None:
    """With NaN among the predictions, a limit gives the same as without the shortcut."""
    heads = [make_head(stride) for stride in STRIDES]
    placement = Placement.stretch(Size(64, 96), Size(64, 96))
    for seed in range(50):
        raws = random_raw(heads, seed)
        g = torch.Generator().manual_seed(seed)
        for raw in raws:
            raw[..., 4:][torch.rand(raw[..., 4:].shape, generator=g) < 0.1] = math.nan
        options = Filter(confidence=0.1, max_detections=5)
        expected, _ = plain([raw[0] for raw in raws], heads, placement, options)
        assert len(expected) == 5
        assert_same_detections(postprocess(raws, heads, SIZE, [placement], options)[0], expected)


def test_limit_decodes_few_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit of 1 and far apart boxes, four boxes or fewer are decoded, not all 72 + 18."""
    heads = [make_head(stride) for stride in STRIDES]
    raws = random_raw(heads, 3)
    decoded_rows = []
    decode_at = Head.decode_at

    def counted(self: Head, raw: Tensor, *arguments: Any) -> Decoded:
        decoded_rows.append(len(raw))
        return decode_at(self, raw, *arguments)

    monkeypatch.setattr(Head, "decode_at", counted)
    placement = Placement.stretch(Size(64, 96), Size(64, 96))
    found = postprocess(raws, heads, SIZE, [placement], Filter(confidence=0.001, max_detections=1))
    assert len(found[0]) == 1
    assert 0 < sum(decoded_rows) <= 4


def test_nothing_found() -> None:
    """An image without detections is valid, with a limit or without; so is an empty batch."""
    heads = [make_head(stride) for stride in STRIDES]
    raws = [raw - 100 for raw in random_raw(heads, 0, batch=2)]
    placements = [Placement.letterbox(Size(480, 640), Size(64, 96)), Placement.stretch(Size(1, 1), Size(64, 96))]
    for limit in (None, 100):
        found = postprocess(raws, heads, SIZE, placements, Filter(max_detections=limit))
        assert [len(detections) for detections in found] == [0, 0]
        assert found[0].boxes.shape == (0, 4)
        assert found[0].labels.dtype == torch.int64
    assert postprocess([raw[:0] for raw in raws], heads, SIZE, [], Filter()) == []


def test_images_do_not_mix() -> None:
    """Every image of a batch has the detections that it has alone; heads may differ in their number of classes."""
    heads = [make_head(32, 7), make_head(16, 3)]
    raws = random_raw(heads, 5, batch=3)
    placements = [Placement.letterbox(Size(100, n), Size(64, 96)) for n in (50, 100, 200)]
    together = postprocess(raws, heads, SIZE, placements, Filter())
    for b, detections in enumerate(together):
        assert len(detections) > 0
        alone = postprocess([raw[b : b + 1] for raw in raws], heads, SIZE, placements[b : b + 1], Filter())
        assert_same_detections(alone[0], detections)


def test_boxes_are_not_clipped() -> None:
    """A box that extends over the border keeps its size; scores descend."""
    head = make_head(32, 1, anchors=1)
    raw = torch.zeros(1, 1, 2, 3, 6)
    raw[..., 2:4] = 3.0
    raw[..., 4:] = torch.arange(6.0).reshape(2, 3, 1)
    placement = Placement.stretch(Size(640, 960), Size(64, 96))
    found = postprocess([raw], [head], SIZE, [placement], Filter(nms=1.0, confidence=0.1))[0]
    assert len(found) == 6
    assert found.scores.diff().lt(0).all()
    w, h = 100 * math.exp(3), 130 * math.exp(3)
    assert_close(found.boxes[-1], torch.tensor([160 - w / 2, 160 - h / 2, 160 + w / 2, 160 + h / 2]))
