"""Labels on their way to torchvision and back, what is left out of targets, and detections equal to torchvision's."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection.roi_heads import RoIHeads

from tests.support.tiny_rcnn import tiny_rcnn
from yolo.data.sample import make_target
from yolo.options.detection import Filter
from yolo.rcnn.targets import RoiOutputs, select, to_torchvision
from yolo.size import Size

CPU = torch.device("cpu")


def test_labels_are_shifted_by_one() -> None:
    """Class c is label c + 1, so that no object is ever background; boxes stay as they are."""
    boxes = torch.tensor([[1.0, 2, 9, 8], [0, 0, 4, 4]])
    target = make_target(boxes, torch.tensor([0, 2]), 5, torch.zeros(2, dtype=torch.bool), boxes[:, 0], Size(16, 16))
    ((given,), flat) = to_torchvision([target], CPU)
    assert given["labels"].tolist() == [1, 3]
    assert torch.equal(given["boxes"], boxes)
    assert type(given["boxes"]) is torch.Tensor
    assert flat == 0


def test_what_is_left_out() -> None:
    """Crowds and boxes without area are not trained; only the latter are counted."""
    boxes = torch.tensor([[1.0, 2, 9, 8], [3, 3, 3, 9], [2, 5, 7, 5], [0, 0, 4, 4], [6, 6, 2, 9]])
    crowd = torch.tensor([False, False, False, True, True])
    target = make_target(boxes, torch.arange(5), 5, crowd, boxes[:, 0], Size(16, 16))
    nothing = make_target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 6, crowd[:0], crowd[:0], Size(16, 16))
    (given, flat) = to_torchvision([target, nothing], CPU)
    assert given[0]["labels"].tolist() == [1]
    assert flat == 2
    assert given[1]["boxes"].shape == (0, 4)
    assert given[1]["boxes"].dtype == torch.float32
    assert given[1]["labels"].shape == (0,)
    assert given[1]["labels"].dtype == torch.int64


@pytest.mark.parametrize("limit", [None, 3, 100])
@pytest.mark.parametrize("confidence", [0.05, 0.3])
def test_detections_are_torchvisions(confidence: float, limit: int | None) -> None:
    """Random outputs become torchvision's own detections bit for bit, with labels one lower."""
    heads = tiny_rcnn(classes=3).roi_heads
    assert isinstance(heads, RoIHeads)
    generator = torch.Generator().manual_seed(1)
    proposals = [torch.rand(k, 4, generator=generator) * 60 for k in (40, 0, 7)]
    proposals = [torch.cat((p[:, :2].minimum(p[:, 2:]), p[:, :2].maximum(p[:, 2:]) + 1), 1) for p in proposals]
    logits, deltas = torch.randn(47, 4, generator=generator) * 2, torch.randn(47, 16, generator=generator)
    heads.score_thresh, heads.nms_thresh, heads.detections_per_img = confidence, 0.5, limit or 10**6
    boxes, scores, labels = heads.postprocess_detections(logits, deltas, proposals, [(48, 64)] * 3)
    options = Filter(confidence=confidence, nms=0.5, max_detections=limit)
    found = select(RoiOutputs(logits, deltas, proposals, Size(48, 64)), heads.box_coder, options)
    assert sum(map(len, scores)) > 3
    for ours, *theirs in zip(found, boxes, scores, labels, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
        assert torch.equal(ours[2], theirs[2] - 1)


def test_agnostic() -> None:
    """With agnostic NMS two classes in one place are one detection."""
    coder = tiny_rcnn(classes=2).roi_heads.box_coder
    proposals = [torch.tensor([[10.0, 10, 30, 40]] * 2)]
    outputs = RoiOutputs(torch.tensor([[0.0, 3, 0], [0, 0, 2]]), torch.zeros(2, 12), proposals, Size(64, 64))
    ((_, _, both),) = select(outputs, coder, Filter())
    ((_, _, one),) = select(outputs, coder, Filter(agnostic=True))
    assert both.tolist() == [0, 1]
    assert one.tolist() == [0]


def test_no_proposals() -> None:
    """A batch in which no image has a proposal has no detections, as in torchvision."""
    coder = tiny_rcnn(classes=2).roi_heads.box_coder
    outputs = RoiOutputs(torch.zeros(0, 3), torch.zeros(0, 12), [torch.zeros(0, 4)] * 2, Size(64, 64))
    assert [len(boxes) for boxes, _, _ in select(outputs, coder, Filter())] == [0, 0]
