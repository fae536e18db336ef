"""The network with fixed shapes finds what the network finds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import batched_nms

from tests.support.tiny_rcnn import CLASSES, SIDE, tiny_rcnn
from yolo.boxes import cxcywh_to_xyxy
from yolo.options.detection import Filter
from yolo.rcnn import static, targets
from yolo.rcnn.losses import BoxLoss
from yolo.rcnn.network import FasterRcnnNetwork
from yolo.rcnn.static import StaticRcnn
from yolo.rcnn.targets import RoiOutputs, select
from yolo.size import Size

SIZE = Size(SIDE, SIDE)

NOTHING = {"score_thresh": 2.0}


def tiny(**thresholds: float) -> FasterRcnnNetwork:
    """Return the tiny network in evaluation mode, with other thresholds of its proposals."""
    network = FasterRcnnNetwork(tiny_rcnn(), BoxLoss()).eval()
    for name, value in thresholds.items():
        if name.endswith("nms_top_n"):
            getattr(network.rpn, name)["testing"] = value
        elif hasattr(network.rpn, name):
            setattr(network.rpn, name, value)
    return network


def detections(boxes: Tensor, scores: Tensor, options: Filter) -> tuple[Tensor, Tensor, Tensor]:
    """Return the detections of an image in all of its boxes `[1, N, 4]` and scores `[1, N]`."""
    boxes = cxcywh_to_xyxy(boxes[0]) * torch.tensor(SIZE.wh * 2)
    labels, scores = torch.arange(len(boxes)) % CLASSES, scores[0]
    sure = scores > options.confidence
    boxes, scores, labels = boxes[sure], scores[sure], labels[sure]
    keep = batched_nms(boxes, scores, labels, options.nms)
    return boxes[keep], scores[keep], labels[keep]


@pytest.mark.parametrize(
    ("thresholds", "number"),
    [
        pytest.param({"SMALLEST": 12.0}, 240, id="small detections"),
        pytest.param({}, 240, id="fewer proposals than rows"),
        pytest.param({"_post_nms_top_n": 20}, 20, id="as many proposals as rows"),
        pytest.param({"_pre_nms_top_n": 30}, 60, id="a limit for each level"),
        pytest.param({"score_thresh": 0.6}, 240, id="a threshold of proposals"),
        pytest.param({"min_size": 20.0}, 240, id="small proposals"),
        pytest.param(NOTHING, 240, id="no proposal"),
    ],
)
@pytest.mark.parametrize("at_once", [1000, 0])
def test_detections_are_those_of_the_network(
    thresholds: dict[str, float], number: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes, scores and labels are equal for images of noise; the number of rows is that of the options."""
    monkeypatch.setattr(static, "AT_ONCE", at_once)
    for module in (static, targets):
        monkeypatch.setattr(module, "SMALLEST", thresholds.get("SMALLEST", targets.SMALLEST))
    network, options = tiny(**thresholds), Filter(confidence=0.05)
    fixed = StaticRcnn(network, SIZE)
    for seed in range(3):
        images = torch.rand((1, 3, *SIZE), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            outputs, (boxes, scores) = network(images), fixed(images)
        assert isinstance(outputs, RoiOutputs)
        assert boxes.shape == (1, number * CLASSES, 4)
        assert scores.shape == (1, number * CLASSES)
        expected = select(outputs, network.roi_heads.box_coder, options)[0]
        found = detections(boxes, scores, options)
        assert (len(expected[1]) > 10) == (thresholds != NOTHING)
        assert torch.equal(found[1], expected[1])
        assert torch.equal(found[2], expected[2])
        torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-4)


def test_the_network_stays_as_it_is() -> None:
    """A network in training mode is neither changed nor shared."""
    network = tiny().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fixed = StaticRcnn(network, SIZE)
    assert network.training
    assert not any(module.training for module in fixed.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    own = {parameter.data_ptr() for parameter in network.parameters()}
    assert not own & {parameter.data_ptr() for parameter in fixed.parameters()}
