"""The network has torchvision's losses and detections, in every mode, and its tensors have torchvision's names."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

from tests.support.tiny_rcnn import objects, tiny_rcnn
from yolo.options.detection import Filter
from yolo.rcnn.losses import BoxLoss
from yolo.rcnn.network import FasterRcnnNetwork
from yolo.rcnn.targets import RoiOutputs, select


def both() -> tuple[FasterRCNN, FasterRcnnNetwork, Tensor]:
    """Return torchvision's network, ours with the same weights, and three images."""
    theirs = tiny_rcnn(spread=0.1)
    return theirs, FasterRcnnNetwork(deepcopy(theirs), BoxLoss()), torch.rand(3, 3, 64, 64)


def losses_of(network: FasterRcnnNetwork, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the losses from the seed 5 on."""
    torch.manual_seed(5)
    losses, _ = network(images, targets)
    return losses


@pytest.mark.parametrize("counts", [(2, 0, 5), (0, 0, 0), (1, 1, 1)])
def test_losses_are_torchvisions(counts: tuple[int, ...]) -> None:
    """The four losses and all gradients equal those of torchvision on the same random numbers, bit for bit."""
    theirs, ours, images = both()
    theirs.transform._skip_resize = True  # it draws a random number for each image, to choose among its sizes
    targets = objects(counts)
    torch.manual_seed(5)
    expected = theirs.train()(list(images), deepcopy(targets))
    found = losses_of(ours.train(), images, targets)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    torch.stack(list(expected.values())).sum().backward()
    torch.stack(list(found.values())).sum().backward()
    for (name, own), (other, parameter) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other
        assert own.grad is not None
        assert torch.equal(own.grad, parameter.grad), name


def test_detections_are_torchvisions() -> None:
    """Boxes, scores and labels equal those of torchvision, the labels one lower."""
    theirs, ours, images = both()
    theirs.roi_heads.score_thresh = 0.2
    with torch.no_grad():
        expected = theirs.eval()(list(images))
        outputs = ours.eval()(images)
    assert isinstance(outputs, RoiOutputs)
    found = select(outputs, ours.roi_heads.box_coder, Filter(confidence=0.2, nms=0.5, max_detections=100))
    assert sum(len(one["scores"]) for one in expected) > 10
    for (boxes, scores, labels), other in zip(found, expected, strict=True):
        assert torch.equal(boxes, other["boxes"])
        assert torch.equal(scores, other["scores"])
        assert torch.equal(labels + 1, other["labels"])


def test_losses_in_evaluation_mode() -> None:
    """Batch norm uses its running statistics and keeps them; the flags of all modules stay as they were."""
    _, ours, images = both()
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
    targets, before = objects((2, 1, 0)), deepcopy(ours.state_dict())
    evaluated = losses_of(ours.eval(), images, targets)
    assert not any(module.training for module in ours.modules())
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())
    again = losses_of(ours, images, targets)
    assert all(torch.equal(evaluated[name], again[name]) for name in evaluated)
    trained = losses_of(ours.train(), images, targets)
    assert all(module.training for module in ours.modules())
    assert not torch.equal(trained["loss_objectness"], evaluated["loss_objectness"])


@pytest.mark.parametrize("size", [(64, 96), (32, 32), (96, 64)])
def test_any_size(size: tuple[int, int]) -> None:
    """The size of the images is that of the input: nothing is resized to the size of the transform."""
    theirs, ours, _ = both()
    theirs.transform.min_size, theirs.transform.max_size = (min(size),), max(size)
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        expected, outputs = theirs.eval()(list(images)), ours.eval()(images)
    found = select(outputs, ours.roi_heads.box_coder, Filter(confidence=0.05, nms=0.5, max_detections=100))
    for (boxes, _, _), other in zip(found, expected, strict=True):
        assert torch.equal(boxes, other["boxes"])


@pytest.mark.parametrize(("term", "moved"), [
    ("loss_objectness", {"rpn.head.cls_logits"}),
    ("loss_rpn_box_reg", {"rpn.head.bbox_pred"}),
    ("loss_classifier", {"roi_heads.box_predictor.cls_score"}),
    ("loss_box_reg", {"roi_heads.box_predictor.bbox_pred"}),
])  # fmt: skip
def test_what_each_loss_trains(term: str, moved: set[str]) -> None:
    """A loss trains its own last layer and none of the other three, and reaches the backbone."""
    _, ours, images = both()
    losses_of(ours.train(), images, objects((2, 3, 1)))[term].backward()
    last = {"rpn.head.cls_logits", "rpn.head.bbox_pred", "roi_heads.box_predictor.cls_score",
            "roi_heads.box_predictor.bbox_pred"}  # fmt: skip
    reached = {name for name, p in ours.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {name.rpartition(".")[0] for name in reached} & last == moved
    assert "backbone.fine.0.weight" in reached
