"""`Detector.perfect` of the models: what a perfect network predicts, and what it loses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.train_problems import tiny_cfg
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.models.single import build_simple
from yolo.models.yolo import YoloDetector
from yolo.options.loss import LossOptions
from yolo.options.single import Simple
from yolo.size import Size

IMAGES = torch.full((2, 3, 64, 64), 127, dtype=torch.uint8)


def target(*boxes: tuple[float, float, float, float]) -> Any:
    """Return a target of class 1 with boxes xyxy in an input of 64 x 64 pixels."""
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "boxes": corners,
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "iscrowd": torch.zeros(len(boxes), dtype=torch.bool),
        "size": Size(64, 64),
    }


def yolo(cfg: Path, rule: str = "prior") -> YoloDetector:
    """Return a detector with random weights."""
    torch.manual_seed(0)
    return YoloDetector(Darknet(read_cfg(cfg)), list("abcdef"), loss=LossOptions(assign=rule))  # type: ignore[arg-type]


def test_yolo_answers_by_the_rule_of_its_loss(tmp_path: Path) -> None:
    """One slot by `prior`; by `prediction` the slot whose box the network predicts best, here a large anchor whose
    bias makes its box as small as the object."""
    targets = [target((16, 16, 26, 26)), target()]
    expected = [(1, 0, 1, 2, 2)]  # scale, image, anchor 10 x 10, row, column
    assert positives(yolo(tiny_cfg(tmp_path)), targets) == expected
    detector = yolo(tiny_cfg(tmp_path), "prediction").replace(network=silent(tmp_path))
    before = {name: value.clone() for name, value in detector.network.state_dict().items()}
    assert positives(detector, targets) == [(0, 0, 2, 1, 1)]
    assert all(before[name].equal(value) for name, value in detector.network.state_dict().items())


def silent(folder: Path) -> Darknet:
    """Return a network in evaluation mode that predicts the anchors, but for that of 50 x 50, which is 10 x 10."""
    network = Darknet(read_cfg(tiny_cfg(folder))).eval()
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    biases = [parameter for parameter in network.parameters() if parameter.shape == (33,)]
    with torch.no_grad():
        biases[0].view(3, 11)[2, :4] = torch.tensor([-1.0, -1.0, -1.609, -1.609])
    return network


def positives(detector: YoloDetector, targets: list[Any]) -> list[tuple[int, ...]]:
    """Return scale, image, anchor, row and column of all perfect predictions that are certain."""
    perfect = detector.perfect(IMAGES, targets)
    assert perfect is not None
    assert perfect.lost == [[""], []]
    return [(s, *place) for s, raw in enumerate(perfect.predictions) for place in (raw[..., 4] > 0).nonzero().tolist()]


@pytest.mark.parametrize(("old", "new"), [("classes=6", "classes=6\nnew_coords=1"), ("[yolo]", "[region]")])
def test_networks_whose_training_is_refused(old: str, new: str, tmp_path: Path) -> None:
    """They have no perfect predictions."""
    text = tiny_cfg(tmp_path).read_text()
    if new == "[region]":  # which has one head, and all of its anchors
        text = text[: text.index("[route]")].replace("mask=3,4,5\n", "").replace("num=6", "num=3\nsoftmax=1")
        text = text.replace("6,6, 10,10, 16,16, ", "")
    (tmp_path / "other.cfg").write_text(text.replace(old, new))
    assert yolo(tmp_path / "other.cfg").perfect(IMAGES, [target(), target()]) is None


def test_one_object() -> None:
    """The largest object of an image is the answer; others are lost, and so is a box without area."""
    detector = build_simple(Simple(model="simple", size="64"), ["a", "b"])
    small, large = (0, 0, 8, 8), (16, 0, 48, 64)
    (scores, labels, boxes), lost, remedy = detector.perfect(
        IMAGES, [target(small, large), target(), target((*small[:3], 0))]
    )
    assert (scores.tolist(), labels.tolist()) == ([1, 0, 1], [1, 0, 1])
    assert boxes[0].tolist() == [0.25, 0, 0.75, 1]
    assert lost == [["it is not the largest object of its image", ""], [], ["its box has no area"]]
    assert remedy == ""
