"""Perfect predictions of a tiny Faster R-CNN: detection finds the objects in them, and what is lost has its cause."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign, box_iou

from yolo.rcnn.perfect import perfect
from yolo.rcnn.targets import RoiOutputs
from yolo.size import Size

SIZE, CLASSES = Size(64, 96), 3
SHAPES = [(8, 12), (4, 6)]
"""Two levels of strides 8 and 16."""


class Pyramid(nn.Module):
    """Two feature maps of 4 channels."""

    out_channels = 4

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps of strides 8 and 16."""
        return {str(k): nn.functional.avg_pool2d(x[:, :1].expand(-1, 4, -1, -1), 8 << k) for k in range(2)}


def network(*sides: int, **more: Any) -> FasterRCNN:
    """Return a network with one anchor side per level, in three proportions."""
    anchors = AnchorGenerator(tuple((side,) for side in sides), ((0.5, 1.0, 2.0),) * len(sides))
    pool = MultiScaleRoIAlign(["0", "1"], output_size=2, sampling_ratio=1)
    return FasterRCNN(
        Pyramid(), CLASSES + 1, rpn_anchor_generator=anchors, box_roi_pool=pool, box_score_thresh=0.001,
        box_nms_thresh=0.6, **more,
    )  # fmt: skip


def target(*objects: tuple[int, float, float, float, float], crowd: tuple[int, ...] = ()) -> Any:
    """Return a target of objects (label, x1, y1, x2, y2)."""
    rows = torch.tensor(objects, dtype=torch.float32).reshape(-1, 5)
    is_crowd = torch.tensor([k in crowd for k in range(len(rows))], dtype=torch.bool)
    return {"boxes": rows[:, 1:], "labels": rows[:, 0].long(), "iscrowd": is_crowd}


def answer(model: FasterRCNN, *targets: Any) -> tuple[RoiOutputs, list[list[str]], str]:
    """Return the perfect predictions for the targets."""
    return perfect(model.rpn, model.roi_heads, SHAPES, CLASSES, targets, SIZE)


def detected(model: FasterRCNN, outputs: RoiOutputs) -> list[tuple[Tensor, Tensor]]:
    """Return boxes and labels from 0 of the detections in each image, by torchvision's own postprocessing."""
    sizes = [tuple(outputs.size)] * len(outputs.proposals)
    boxes, _, labels = model.roi_heads.postprocess_detections(*outputs[:3], sizes)
    return [(box, label - 1) for box, label in zip(boxes, labels, strict=True)]


def drawn(seed: int, images: int = 3) -> list[dict[str, Any]]:
    """Return targets with 0 to 5 objects of 6 to 60 pixels in the input, that overlap each other by 0.5 at most."""
    numbers, targets = torch.Generator().manual_seed(seed), []
    for _ in range(images):
        own = target()
        for _ in range(int(torch.randint(6, (), generator=numbers))):
            sides = 6 * 10 ** torch.rand(2, generator=numbers)
            corner = torch.rand(2, generator=numbers) * (torch.tensor(SIZE.wh) - sides)
            box = torch.cat((corner, corner + sides))[None]
            if not bool((box_iou(box, own["boxes"]) > 0.5).any()):
                label = torch.randint(CLASSES, (1,), generator=numbers)
                more = {"boxes": box, "labels": label, "iscrowd": torch.zeros(1, dtype=torch.bool)}
                own = {key: torch.cat((own[key], more[key])) for key in own}
        targets.append(own)
    return targets


@pytest.mark.parametrize("seed", range(20))
def test_detection_finds_what_training_teaches(seed: int) -> None:
    """Every object that is not lost is detected with its class to a thousandth of a pixel, and nothing else is. In
    training mode too: the limits are those of detection."""
    model, targets = network(16, 32), drawn(seed)
    model.rpn._post_nms_top_n["training"] = 1
    outputs, lost, _ = answer(model, *targets)
    assert model.rpn.training
    assert outputs.logits.shape == (sum(map(len, outputs.proposals)), CLASSES + 1)
    for own, reasons, (boxes, labels) in zip(targets, lost, detected(model, outputs), strict=True):
        kept = [k for k, reason in enumerate(reasons) if not reason]
        near = (boxes[:, None] - own["boxes"][kept]).abs().amax(-1) < 1e-3
        near &= labels[:, None] == own["labels"][kept]
        assert bool(near.any(0).all())
        assert bool(near.any(1).all())
    assert sum(reason != "" for reasons in lost for reason in reasons) <= 1


def test_the_network_has_such_outputs() -> None:
    """Shapes and order are those of torchvision's own forward pass with the same proposals."""
    model = network(16, 32, min_size=64, max_size=96).eval()
    outputs, _, _ = answer(model, target((0, 10, 10, 30, 30)), target())
    features = model.backbone(torch.rand(2, 3, *SIZE))
    assert [tuple(level.shape[2:]) for level in features.values()] == SHAPES
    pooled = model.roi_heads.box_roi_pool(features, outputs.proposals, [tuple(SIZE)] * 2)
    logits, deltas = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))
    assert (logits.shape, deltas.shape) == (outputs.logits.shape, outputs.deltas.shape)


def test_weak_anchors() -> None:
    """An object of 4 x 4 has an IoU of 16/256 with anchors of 16: it is found by its best one and counted."""
    outputs, lost, remedy = answer(model := network(16, 32), target((1, 20, 20, 24, 24), (0, 40, 20, 56, 36)))
    assert lost == [["", ""]]
    assert sorted(detected(model, outputs)[0][1].tolist()) == [0, 1]
    expected = (
        "1 of 2 objects have no anchor with an IoU of 0.3, only their best one: their median side is 4 pixels, those "
        "of the anchors are 16 to 32: give smaller --anchors"
    )
    assert remedy == expected
    assert answer(network(8, 16), target((1, 4, 4, 60, 60)))[2].endswith("are 8 to 16: give larger --anchors")


def test_lost_objects() -> None:
    """Every anchor has a larger IoU with a small object than with one inside of that; of equal boxes the
    first has all anchors; crowds and boxes without area are not trained."""
    model = network(16, 32)
    _, lost, _ = answer(model, target((0, 20, 20, 24, 24), (1, 20.5, 20.5, 23.5, 23.5)))
    assert lost == [["", "no anchor has an IoU of 0.3 with it"]]
    _, lost, remedy = answer(model, target((0, 20, 20, 36, 36), (1, 20, 20, 36, 36)))
    assert (lost, remedy) == ([["", "no proposal is left for it"]], "")
    _, lost, _ = answer(model, target((0, 20, 20, 36, 36), (0, 20, 20, 36, 36), (0, 5, 5, 5, 9), crowd=(0,)), target())
    assert lost == [["a crowd is not trained", "", "its box has no area"], []]


def test_too_few_proposals() -> None:
    """With one proposal per image, one object of two is found."""
    model = network(16, 32, rpn_post_nms_top_n_test=1)
    outputs, lost, _ = answer(model, target((0, 8, 8, 24, 24), (1, 60, 30, 76, 46)))
    assert sorted(lost[0]) == ["", "no proposal is left for it"]
    assert len(detected(model, outputs)[0][0]) == 1
