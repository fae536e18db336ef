"""The graph of thresholds, NMS and places against this program's own postprocessing, on random problems."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from yolo.boxes import cxcywh_to_xyxy
from yolo.detection.nms import Suppression, nms
from yolo.images.placement import Placement
from yolo.size import Size

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: NO ONNX TAIL WAS TRIED")
pytest.importorskip("onnx", reason="onnx is not installed: NO ONNX TAIL WAS TRIED")

from yolo.deploy.tail import Tail, tail  # noqa: E402
from yolo.models.engines import THRESHOLDS  # noqa: E402
from yolo.options.detection import Filter  # noqa: E402


def run(
    rule: Tail, feeds: dict[str, np.ndarray], confidence: float = 0.3, iou: float = 0.45, limit: int | None = None
) -> list[np.ndarray]:
    model = tail(rule, Filter(confidence=confidence, nms=iou, max_detections=limit))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, feeds)
    return found


def problem(seed: int, images: int, boxes: int, classes: int, shared: bool = True) -> dict[str, np.ndarray]:
    """Boxes in clusters, with scores that are often equal."""
    random = np.random.default_rng(seed)
    centres = random.random((images, 5, 2))[:, random.integers(5, size=boxes)]
    decoded = np.concatenate(
        [centres + random.normal(0, 0.02, (images, boxes, 2)), random.uniform(0.05, 0.3, (images, boxes, 2))], axis=2
    )
    scores = random.integers(1, 40, (images, boxes * (classes if shared else 1))) / 40
    return {"decoded": decoded.astype(np.float32), "rated": scores.astype(np.float32)}


def expected(
    rule: Tail,
    feeds: dict[str, np.ndarray],
    b: int,
    size: Size,
    confidence: float,
    iou: float,
    limit: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the steps of `postprocess` give for image b."""
    scores, C = torch.from_numpy(feeds["rated"][b]), rule.classes
    index = (scores > confidence).nonzero().squeeze(1)
    placement = Placement.of(size, Size(*rule.size), letterbox=rule.letterbox)
    boxes = placement.relative(torch.from_numpy(feeds["decoded"][b])[index // C if rule.shared else index])
    kind = "iou" if rule.standard else rule.kind
    kept = nms(boxes, scores[index], index % C, Suppression(iou, kind, rule.beta, rule.agnostic), limit)
    return cxcywh_to_xyxy(boxes[kept]) * boxes.new_tensor(size.wh * 2), scores[index][kept], (index % C)[kept]


def compare(rule: Tail, outputs: list[np.ndarray], feeds: dict[str, np.ndarray], sizes: list[Size], **at: Any) -> int:
    """Compare all images and return the number of detections."""
    boxes, scores, labels, count = outputs
    for b, size in enumerate(sizes):
        own = expected(rule, feeds, b, size, **at)
        assert count[b] == len(own[1])
        np.testing.assert_array_equal(labels[b, : count[b]], own[2].numpy())
        np.testing.assert_array_equal(scores[b, : count[b]], own[1].numpy())
        np.testing.assert_allclose(boxes[b, : count[b]], own[0].numpy(), atol=2e-3)
        assert (labels[b, count[b] :] == -1).all()
        assert not scores[b, count[b] :].any()
        assert not boxes[b, count[b] :].any()
    return int(count.sum())


@pytest.mark.parametrize("letterbox", [True, False])
@pytest.mark.parametrize(
    "own",
    [
        {"kind": "iou"},
        {"kind": "diou", "beta": 0.6},
        {"kind": "diou", "beta": 1.0, "agnostic": True},
        {"standard": True},
        {"standard": True, "agnostic": True, "limit": 7},
        {"kind": "iou", "limit": 7},
        {"kind": "iou", "shared": False},
    ],
    ids=str,
)
def test_equals_our_postprocessing(own: dict[str, Any], letterbox: bool) -> None:
    """Candidates, order, ties, limits, places in images of other proportions; any number of images."""
    limit = own.get("limit")
    rule = Tail((96, 160), 3, letterbox, **{key: value for key, value in own.items() if key != "limit"})
    found = 0
    for seed, images in enumerate((1, 3, 4)):
        feeds = problem(seed, images, 120, 3, rule.shared)
        sizes = [Size(480, 640), Size(33, 500), Size(700, 21), Size(96, 160)][:images]
        asked = {**feeds, "sizes": np.array(sizes)}
        found += compare(
            rule, run(rule, asked, limit=limit), feeds, sizes, confidence=float(np.float32(0.3)), iou=0.45, limit=limit
        )
    assert found > 30


def test_thresholds_are_constants_that_may_become_inputs() -> None:
    """Their names in the file are those that an engine of this program sets."""
    rule, sizes = Tail((96, 160), 3, True), [Size(96, 160)] * 2
    feeds = problem(5, 2, 80, 3)
    asked = {**feeds, "sizes": np.array(sizes)}
    confidence = float(np.float32(0.6))
    compare(rule, run(rule, asked, 0.6, 0.3), feeds, sizes, confidence=confidence, iou=0.3)
    assert {one.name for one in tail(rule, Filter()).graph.initializer} == set(THRESHOLDS)


def test_nothing_found_in_one_image_or_in_any() -> None:
    """An empty image has the count 0 and rows of padding."""
    rule, feeds = Tail((96, 160), 3, True), problem(6, 2, 20, 3)
    sizes = [Size(96, 160)] * 2
    feeds["rated"][1] = 0.1
    found = run(rule, {**feeds, "sizes": np.array(sizes)})
    assert found[3].tolist()[1] == 0
    assert compare(rule, found, feeds, sizes, confidence=float(np.float32(0.3)), iou=0.45)
    feeds["rated"][0] = 0.1
    boxes, _, labels, count = run(rule, {**feeds, "sizes": np.array(sizes)})
    assert count.tolist() == [0, 0]
    assert labels.tolist() == [[-1], [-1]]
    assert not boxes.any()
