"""The losses of boxes against formulas of this program's own, and hard negatives against a loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from yolo.boxes import ciou, cxcywh_to_xyxy, diou, giou, xyxy_to_cxcywh
from yolo.data.order import torch_chance
from yolo.rcnn.losses import BoxLoss, hard_negatives

CODERS = [BoxCoder((1.0, 1.0, 1.0, 1.0)), BoxCoder((10.0, 10.0, 5.0, 5.0))]
"""Those of the proposals and of the detections."""

MEASURES = {"giou": giou, "diou": diou, "ciou": ciou}


def boxes(seed: int, P: int = 50) -> Tensor:
    """Boxes xyxy `[P, 4]` of 5 to 65 pixels, in an image of about 100."""
    with torch_chance(seed):
        return cxcywh_to_xyxy(torch.rand(P, 4) * 60 + torch.tensor([20.0, 20, 5, 5]))


@pytest.mark.parametrize("coder", CODERS)
def test_offsets_and_boxes_are_each_others_inverse(coder: BoxCoder) -> None:
    """So the loss of the true offsets is 0, whatever the kind."""
    truths, references = boxes(0), boxes(1)
    offsets = coder.encode_single(truths, references)
    torch.testing.assert_close(coder.decode_single(offsets, references), truths, rtol=1e-5, atol=1e-5)
    assert BoxLoss()(offsets, truths, references, coder) == 0
    for kind in MEASURES:
        assert abs(BoxLoss(kind)(offsets, truths, references, coder)) < 1e-3  # type: ignore[arg-type]


@pytest.mark.parametrize("beta", [1 / 9, 1.0])
def test_smooth_l1(beta: float) -> None:
    """A sum over boxes and offsets, one by one."""
    truths, references, coder = boxes(0), boxes(1), CODERS[0]
    with torch_chance(2):
        deltas = torch.randn(len(truths), 4)
    expected = 0.0
    for delta, truth, box in zip(deltas.tolist(), xyxy_to_cxcywh(truths), xyxy_to_cxcywh(references), strict=True):
        (x, y, w, h), (rx, ry, rw, rh) = truth.tolist(), box.tolist()
        offsets = ((x - rx) / rw, (y - ry) / rh, math.log(w / rw), math.log(h / rh))
        for difference in (abs(one - other) for one, other in zip(delta, offsets, strict=True)):
            expected += difference**2 / 2 / beta if difference < beta else difference - beta / 2
    assert float(BoxLoss(beta=beta)(deltas, truths, references, coder)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("kind", MEASURES)
def test_overlaps(kind: str, coder: BoxCoder) -> None:
    """1 minus the measure of `yolo/boxes.py`, of the boxes that the offsets give; `gain` is a factor."""
    truths, references, predicted = boxes(0), boxes(1), boxes(2)
    deltas = coder.encode_single(predicted, references)
    expected = (1 - MEASURES[kind](xyxy_to_cxcywh(predicted), xyxy_to_cxcywh(truths))).sum()
    found = BoxLoss(kind)(deltas, truths, references, coder)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(BoxLoss(kind, gain=3)(deltas, truths, references, coder), 3 * found)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["smooth-l1", *MEASURES])
def test_boxes_that_do_not_meet_have_a_gradient(kind: str) -> None:
    """It moves the box to the truth, here to the right; 1 - IoU has none."""
    reference, truth = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[30.0, 0, 40, 10]])
    deltas = torch.zeros(1, 4, requires_grad=True)
    BoxLoss(kind)(deltas, truth, reference, CODERS[0]).backward()  # type: ignore[arg-type]
    assert deltas.grad is not None
    assert deltas.grad[0, 0] < 0


@pytest.mark.parametrize("kind", ["smooth-l1", *MEASURES])
def test_without_boxes(kind: str) -> None:
    """0 with a gradient of zeros, not NaN."""
    deltas = torch.ones(3, 4, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    loss = BoxLoss(kind)(deltas[none], boxes(0)[none], boxes(1)[none], CODERS[0])  # type: ignore[arg-type]
    loss.backward()
    assert loss == 0
    assert deltas.grad is not None
    assert torch.equal(deltas.grad, torch.zeros(3, 4))


@pytest.mark.parametrize("n", [0, 1, 7, 18])
def test_hard_negatives(n: int) -> None:
    """Among background, those to which the network gives the lowest probability of background; never objects (label
    above 0) or ignored ones (-1)."""
    with torch_chance(3):
        logits, labels = torch.randn(60, 4), torch.randint(-1, 3, (60,))
    background = logits.softmax(1)[:, 0].tolist()
    rows = [row for row in range(60) if labels[row] == 0]
    assert len(rows) == 18
    expected = sorted(sorted(rows, key=lambda row: background[row])[:n])
    assert torch.where(hard_negatives(logits, labels, n))[0].tolist() == expected


def test_of_equal_negatives_the_first_are_chosen() -> None:
    """So the choice does not depend on how a device sorts."""
    labels = torch.tensor([1, 0, -1, 0, 0])
    assert hard_negatives(torch.zeros(5, 2), labels, 2).tolist() == [False, True, False, True, False]
