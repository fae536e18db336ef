"""The steps from predictions to detections: they give the detections of `postprocess`, and every box has its place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.detection.test_postprocess import SIZE, assert_same_detections, make_head, make_region, random_raw
from yolo.detection.postprocess import postprocess
from yolo.explain.trace import trace
from yolo.images.placement import Placement
from yolo.options.detection import Filter
from yolo.size import Size

PLACEMENT = Placement.letterbox(Size(77, 90), SIZE)


@pytest.mark.parametrize("kind", ["default", "greedynms", "diounms"])
@given(
    seed=st.integers(0, 2**32),
    levels=st.sampled_from([0, 2]),
    confidence=st.sampled_from([0.01, 0.25, 0.5]),
    nms=st.sampled_from([0.0, 0.2, 0.45, 1.0]),
    agnostic=st.booleans(),
    single=st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_the_detections_of_postprocess(
    kind: str, seed: int, levels: int, confidence: float, nms: float, agnostic: bool, single: bool
) -> None:
    """They are equal bit for bit, in float32, with equal scores among them, for three kinds of heads."""
    classes = 1 if single else 4
    heads = [make_head(32, classes, new_coords=1), make_region(16, classes), make_head(16, classes, nms_kind=kind)]
    raws = [raw.float() for raw in random_raw(heads, seed, levels)]
    options = Filter(confidence=confidence, nms=nms, agnostic=agnostic)
    [expected] = postprocess(raws, heads, SIZE, [PLACEMENT], options)
    slots, found = trace([raw[0] for raw in raws], heads, SIZE, PLACEMENT, options)
    assert_same_detections(found.detections(), expected)
    assert len(slots.place) == sum(raw[0, ..., 0].numel() for raw in raws)
    decoded = [head.decode(raw, SIZE) for head, raw in zip(heads, raws, strict=True)]
    for place, objectness, label, score in zip(
        slots.place[found.slot].tolist(), slots.objectness[found.slot], found.labels, found.scores, strict=True
    ):
        s, i, j, a = place
        expected_objectness = decoded[s].objectness[0, a, i, j]
        torch.testing.assert_close(objectness, expected_objectness)
        torch.testing.assert_close(score, expected_objectness * decoded[s].classes[0, a, i, j, label])
    for k, by in enumerate(found.suppressed_by.tolist()):
        assert by < k
        assert by < 0 or (found.suppressed_by[by] < 0 and found.overlap[k] > nms)


def test_every_slot_is_at_its_place() -> None:
    """Slots are ordered by row, column and anchor, and the box of a slot is in its cell."""
    heads = [make_head(32), make_head(16)]
    raws = [torch.zeros_like(raw[0]).float() for raw in random_raw(heads, 0)]
    slots, found = trace(raws, heads, SIZE, Placement.stretch(Size(64, 96), Size(64, 96)), Filter())
    assert len(found.slot) == 0
    assert slots.place[:4].tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 1, 0]]
    s, i, j, a = slots.place.unbind(1)
    stride = torch.tensor([32.0, 16.0])[s]
    centres = (slots.boxes[:, :2] + slots.boxes[:, 2:]) / 2
    torch.testing.assert_close(centres, torch.stack(((j + 0.5) * stride, (i + 0.5) * stride), 1))
    torch.testing.assert_close(slots.boxes[:, 2] - slots.boxes[:, 0], heads[0].anchors[a, 0])
    assert slots.scores.eq(0.25).all()
