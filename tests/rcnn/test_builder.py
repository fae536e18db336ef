"""Networks of the builder: torchvision's own, with its weights, frozen as there, for the classes of the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import WeightsEnum, get_model, get_model_builder, get_model_weights
from torchvision.models.detection import FasterRCNN

from tests.support.tiny_rcnn import tiny_rcnn
from yolo.download import fetch as download
from yolo.download.fetch import DownloadError
from yolo.options.detection import Filter
from yolo.options.faster_rcnn import FasterRcnn
from yolo.rcnn import builder
from yolo.rcnn.builder import build_network, replace_predictor
from yolo.rcnn.losses import BoxLoss
from yolo.rcnn.network import FasterRcnnNetwork
from yolo.rcnn.targets import select

SMALL = "mobilenet_v3_large_320_fpn"


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every published file holds random weights, the same for torchvision and for this program."""
    made: dict[str, Mapping[str, Tensor]] = {}

    def tensors(weights: WeightsEnum | str, *_: Any, **__: Any) -> Mapping[str, Tensor]:
        url = weights if isinstance(weights, str) else weights.url
        if url not in made:
            torch.manual_seed(len(made))
            name = url.rpartition("/")[2].partition("-")[0].removesuffix("_coco")
            model = get_model(name, weights=None, **({"weights_backbone": None} if "rcnn" in name else {}))
            for key, tensor in model.state_dict().items():
                if key.endswith("running_var"):
                    tensor.uniform_(0.5, 1.5)
            made[url] = model.state_dict()
        return made[url]

    monkeypatch.setattr(WeightsEnum, "get_state_dict", tensors)
    monkeypatch.setattr(builder, "_tensors", tensors)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("network", [SMALL, "resnet50_fpn"])
def test_weights_of_coco(network: str) -> None:
    """With COCO's file the network detects what torchvision's own does, bit for bit."""
    theirs = get_model_builder(f"fasterrcnn_{network}")(
        weights=get_model_weights(f"fasterrcnn_{network}").DEFAULT, min_size=64, max_size=64, box_score_thresh=0.0
    ).eval()  # fmt: skip
    ours = build_network(FasterRcnn(network=network), classes=90)  # type: ignore[arg-type]
    ours.roi_heads.box_predictor.load_state_dict(theirs.roi_heads.box_predictor.state_dict())  # ours is a new one
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(list(images))
        outputs = FasterRcnnNetwork(ours, BoxLoss()).eval()(images)
    found = select(outputs, ours.roi_heads.box_coder, Filter(confidence=0, nms=0.5, max_detections=100))
    assert len(expected[0]["scores"]) == 100
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one[0], other["boxes"])
        assert torch.equal(one[1], other["scores"])
        assert torch.equal(one[2] + 1, other["labels"])


def trained(model: FasterRCNN) -> list[str]:
    """Return the names of the parameters that are trained."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("network", "layers"),
    [(SMALL, None), (SMALL, 0), (SMALL, 2), (SMALL, 6), ("resnet50_fpn", None), ("resnet50_fpn", 1)],
)
def test_frozen_stages(network: str, layers: int | None) -> None:
    """What is trained on a pretrained backbone is what torchvision trains; batch norm has fixed numbers there."""
    name = f"fasterrcnn_{network}"
    backbone = "ResNet50_Weights.IMAGENET1K_V1" if "resnet" in network else "MobileNet_V3_Large_Weights.IMAGENET1K_V1"
    theirs = get_model_builder(name)(weights=None, weights_backbone=backbone.rpartition(".")[2],
                                     trainable_backbone_layers=layers)  # fmt: skip
    ours = build_network(FasterRcnn(network=network, pretrained="imagenet", trainable_layers=layers), 90)  # type: ignore[arg-type]
    assert trained(ours) == trained(theirs)
    own, other = ours.backbone.body.state_dict(), theirs.backbone.body.state_dict()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[key], other[key]) for key in own)


def test_lite0() -> None:
    """Random weights are all trained, batch norm too; pretrained ones not at all, unless stages are asked for."""
    assert "backbone.body.0.conv_stem.weight" in trained(
        build_network(FasterRcnn(network="lite0", pretrained="none"), 2)
    )
    options = FasterRcnn(network="lite0", pretrained="imagenet", fetch=False)
    fixed = trained(build_network(options, 2))
    assert not [name for name in fixed if name.startswith("backbone.body")]
    assert "backbone.fpn.inner_blocks.0.0.weight" in fixed
    some = trained(
        build_network(FasterRcnn(network="lite0", pretrained="imagenet", trainable_layers=1, fetch=False), 2)
    )
    assert {name.split(".")[2] for name in some if name.startswith("backbone.body")} == {"12", "13", "14", "15", "16"}


def test_too_many_stages() -> None:
    """More stages than the backbone has are refused with their number."""
    with pytest.raises(ValueError, match="trainable_layers=4: expected at most 3"):
        build_network(FasterRcnn(network="lite0", pretrained="none", trainable_layers=4), 2)


def test_replace_predictor() -> None:
    """The last layer has a row for each class and one for the background."""
    model = replace_predictor(tiny_rcnn(classes=3), 5)
    assert model.roi_heads.box_predictor.cls_score.out_features == 6
    assert model.roi_heads.box_predictor.bbox_pred.out_features == 24


def test_anchors() -> None:
    """Anchors of one's own are shared out over the levels; another number is refused; the head has as many outputs."""
    options = FasterRcnn(network="lite0", pretrained="none", anchors=(8, 16, 32, 64))
    model = build_network(options, 2)
    assert model.rpn.anchor_generator.sizes == ((8,), (16,), (32,), (64,))
    assert model.rpn.head.cls_logits.out_channels == 3
    with pytest.raises(ValueError, match="same number for each of the 4 levels"):
        build_network(FasterRcnn(network="lite0", pretrained="none", anchors=(8, 16)), 2)


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without network the message has the address, the folder for the file, and the network that needs no download."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(download, "PAUSES", ())
    weights = get_model_weights(f"fasterrcnn_{SMALL}").DEFAULT
    monkeypatch.setattr(weights.value, "url", "http://127.0.0.1:9/net-12345678.pth")
    with pytest.raises(DownloadError) as problem:
        build_network(FasterRcnn(network="mobilenet_v3_large_320_fpn"), 2)
    for part in ("http://127.0.0.1:9/net-12345678.pth", f"into {tmp_path / 'hub' / 'checkpoints'};", "--network lite0"):
        assert part in str(problem.value)
