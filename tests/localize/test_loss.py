"""The loss of a localizer against plain Python, its gradients, and the images without an object."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.support import oracles
from yolo.boxes import corners_in_order
from yolo.localize import loss as loss_module
from yolo.localize.loss import BOX_LOSSES, LocalizationLoss


def batch(seed: int, classes: int | None, images: int = 7) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return random float64 logits, boxes (some with swapped corners), labels (about half without object), truths."""
    rng = torch.Generator().manual_seed(seed)
    draw: dict[str, Any] = {"generator": rng, "dtype": torch.float64}
    low, size = torch.rand(images, 2, **draw) * 0.5, torch.rand(images, 2, **draw) * 0.4 + 0.05
    boxes, truths = torch.rand(images, 4, **draw) * 1.5, torch.cat((low, low + size), 1)
    if classes is None:
        return torch.randn(images, **draw) * 3, boxes, torch.randint(0, 2, (images,), generator=rng), truths
    labels = torch.randint(0, classes, (images,), generator=rng)
    labels = torch.where(torch.rand(images, **draw) < 0.5, labels, -1)
    return torch.randn(images, classes, **draw) * 3, boxes, labels, truths


def class_oracle(logits: list[Any], labels: list[int]) -> float:
    """Return the class term: binary cross entropy of each image, or softmax cross entropy of those with a class."""
    if isinstance(logits[0], float):
        return sum(oracles.cross_entropy(t, y) for t, y in zip(logits, labels, strict=True)) / len(labels)
    losses = [math.log(sum(math.exp(t) for t in row)) - row[y] for row, y in zip(logits, labels, strict=True) if y >= 0]
    return sum(losses) / max(len(losses), 1)


def box_oracle(kind: str, box: list[float], truth: list[float]) -> float:
    """Return the box loss of one positive."""
    differences = [abs(a - b) for a, b in zip(box, truth, strict=True)]
    losses = {
        "l1": sum(differences) / 4,
        "mse": sum(d * d for d in differences) / 4,
        "smooth-l1": sum(d * d / 2 if d < 1 else d - 0.5 for d in differences) / 4,
    }
    if kind in losses:
        return losses[kind]

    def centred(box: list[float]) -> tuple[float, ...]:
        left, right, top, bottom = *sorted(box[0::2]), *sorted(box[1::2])
        return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top

    return 1 - oracles.giou(centred(box), centred(truth)) + (losses["l1"] if kind == "giou+l1" else 0)


@pytest.mark.parametrize("classes", [None, 4])
@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_terms_equal_the_oracle(kind: str, classes: int | None) -> None:
    """Both terms, and the total with the gain, in float64 and from bfloat16 outputs, which are computed in float32."""
    for seed in range(20):
        logits, boxes, labels, truths = batch(seed, classes)
        positive = [row for row, label in enumerate(labels.tolist()) if label >= (classes is None)]
        box = sum(box_oracle(kind, boxes[row].tolist(), truths[row].tolist()) for row in positive)
        expected = class_oracle(logits.tolist(), labels.tolist()), box / max(len(positive), 1)
        criterion = LocalizationLoss(5, kind)
        terms = criterion.terms(logits, boxes, labels, truths)
        assert [float(term) for term in terms] == pytest.approx(expected, abs=1e-6)
        total = criterion((logits, boxes), (labels, truths))
        assert float(total) == pytest.approx(expected[0] + 5 * expected[1], abs=1e-6)
        halves = logits.bfloat16(), boxes.bfloat16(), labels, truths.float()
        rounded = criterion.terms(halves[0].float(), halves[1].float(), labels, truths.float())
        assert all(map(torch.equal, criterion.terms(*halves), rounded))


@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_gradients_are_those_of_finite_differences(kind: str, classes: int | None) -> None:
    """Of the logits and the boxes, in float64."""
    logits, boxes, labels, truths = batch(1, classes)
    criterion = LocalizationLoss(2, kind)
    inputs = logits.requires_grad_(), boxes.requires_grad_()
    assert torch.autograd.gradcheck(lambda *outputs: criterion(outputs, (labels, truths)), inputs)


@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_a_batch_without_positives(kind: str, classes: int | None) -> None:
    """The box term is 0, and no box has a gradient; an ignored image gives its logits none either."""
    logits, boxes, labels, truths = batch(0, classes)
    labels = torch.full_like(labels, 0 if classes is None else -1)
    terms = LocalizationLoss(1, kind).terms(logits.requires_grad_(), boxes.requires_grad_(), labels, truths)
    (terms.cls + terms.box).backward()
    assert terms.box == 0
    assert boxes.grad is not None
    assert not boxes.grad.any()
    assert logits.grad is not None
    if classes is None:
        assert terms.cls > 0
        assert logits.grad.all()
    else:
        assert terms.cls == 0
        assert not logits.grad.any()


@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_the_box_of_a_negative_is_not_read(kind: str, classes: int | None) -> None:
    """Another true box, or NaN, changes neither the terms nor a gradient, which is zero for that image's box."""
    logits, boxes, labels, truths = batch(2, classes)
    negative = labels < (classes is None)
    assert 0 < negative.sum() < len(labels)
    results = []
    for value in (0.5, -3.0, math.nan):
        there = boxes.clone().requires_grad_()
        terms = LocalizationLoss(1, kind).terms(
            logits, there, labels, torch.where(negative[:, None], torch.full_like(truths, value), truths)
        )
        terms.box.backward()
        assert there.grad is not None
        assert not there.grad[negative].any()
        results.append((*terms, there.grad))
    assert all(all(map(torch.equal, result, results[0])) for result in results)


def test_labels_of_presence_have_any_dtype() -> None:
    """0 and 1 as float32, int64, uint8 and bool give the same terms."""
    logits, boxes, labels, truths = batch(3, None)
    terms = LocalizationLoss().terms(logits, boxes, labels, truths)
    for dtype in (torch.float32, torch.uint8, torch.bool):
        assert LocalizationLoss().terms(logits, boxes, labels.to(dtype), truths) == terms


@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_a_point_has_a_finite_gradient(kind: str) -> None:
    """A box without area, inside and outside the truth, and one equal to the truth."""
    truth = torch.tensor([0.2, 0.3, 0.6, 0.7])
    boxes = torch.tensor([[0.4] * 4, [0.9] * 4, truth.tolist()], requires_grad=True)
    loss = LocalizationLoss(1, kind)((torch.zeros(3), boxes), (torch.ones(3), truth.expand(3, 4)))
    loss.backward()
    assert loss.isfinite()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()


def test_swapped_corners_are_put_in_order_for_giou() -> None:
    """GIoU takes the box between two corners, whichever comes first; the distances see the swap."""
    truths = torch.tensor([[0.1, 0.2, 0.5, 0.8]])
    for swapped in ([0.5, 0.2, 0.1, 0.8], [0.1, 0.8, 0.5, 0.2], [0.5, 0.8, 0.1, 0.2]):
        boxes = torch.tensor([swapped])
        assert torch.equal(corners_in_order(boxes), truths)
        losses = {
            kind: LocalizationLoss(1, kind).terms(torch.zeros(1), boxes, torch.ones(1), truths).box
            for kind in BOX_LOSSES
        }
        assert_close(losses.pop("giou"), torch.tensor(0.0))
        assert all(loss > 0.01 for loss in losses.values())


@pytest.mark.parametrize("classes", [None, 3])
def test_several_processes_share_the_loss_of_the_whole_batch(
    classes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean over two processes with unequal parts is the loss of one process with all images."""
    whole = batch(4, classes)
    criterion = LocalizationLoss(3)
    expected = criterion.terms(*whole)
    positives = (whole[2] >= (classes is None)).sum()
    counts = torch.stack((positives * 0 + 7 if classes is None else positives, positives)).double()
    monkeypatch.setattr(loss_module, "sum_over_ranks", lambda _: counts)
    monkeypatch.setattr(loss_module, "world_size", lambda: 2)
    parts = [criterion.terms(*(values[rows] for values in whole)) for rows in (slice(0, 2), slice(2, None))]
    assert_close(tuple(sum(terms) / 2 for terms in zip(*parts, strict=True)), tuple(expected))


def test_refusals() -> None:
    """What is wrong is named with what was expected."""
    logits, boxes, labels, truths = batch(5, 3)
    with pytest.raises(ValueError, match=r"bbox_loss='iou': expected one of smooth-l1, l1, mse, giou, giou\+l1"):
        LocalizationLoss(1, "iou")
    for gain in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"box_gain={gain}: expected a number from 0"):
            LocalizationLoss(gain)
    with pytest.raises(ValueError, match=r"labels \[7, 1\].*expected"):
        LocalizationLoss().terms(logits, boxes, labels[:, None], truths)
    with pytest.raises(ValueError, match=r"true boxes \[1, 4\]; expected"):
        LocalizationLoss().terms(logits, boxes, labels, truths[:1])
    with pytest.raises(ValueError, match=r"torch.float64 for logits \[7, 3\], expected int64"):
        LocalizationLoss().terms(logits, boxes, labels.double(), truths)
