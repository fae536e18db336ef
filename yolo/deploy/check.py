"""An exported file against its detector, on images, with onnxruntime: a file that finds something else is not kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import onnx
import onnx.utils
import torch
from numpy.random import RandomState
from torch import Tensor, nn

from yolo.boxes import Detections, cxcywh_to_xyxy
from yolo.darknet.heads import Head
from yolo.data.shapes.scenes import draw_scene
from yolo.deploy.agreement import SCORE, Agreement, agreement
from yolo.detection.dense import Dense
from yolo.images.inputs import ImageLike
from yolo.images.placement import Placement
from yolo.models.detector import Detector
from yolo.models.packages import needed
from yolo.options.detection import Filter

Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]

LOWEST, MOST = 0.001, 100
"""The second comparison is at this confidence, or at the one at which the fullest image has this many detections.

It is lower where no score is twice as high: a file that finds nothing has not been compared.
"""


def drawn_images(channels: int = 3, number: int = 3) -> list[np.ndarray]:
    """Return drawn images of several sizes, uint8 `[h, w, channels]`, for those who have no others at hand."""
    drawn = [draw_scene(RandomState(seed)).image for seed in range(number)]
    return [image[..., np.arange(channels) % 3] for image in drawn]


def session(model: onnx.ModelProto) -> Run:
    """Return a function that runs a graph by onnxruntime on the CPU."""
    runtime = needed("onnxruntime", "checking an ONNX file")
    made = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    run: Run = lambda feeds: made.run(None, feeds)  # noqa: E731
    return run


def found_by(run: Run, images: Tensor, placements: Sequence[Placement], layout: str) -> list[Detections]:
    """Return the detections of a file in prepared images, uint8 `[B, channels, h, w]`."""
    sizes = np.array([placement.image for placement in placements], np.int64)
    outputs = run({"images": fed(images, layout), "sizes": sizes})
    boxes, scores, labels = map(torch.from_numpy, outputs[:3])
    return [
        Detections(boxes[b, :count], scores[b, :count], labels[b, :count])
        for b, count in enumerate(outputs[3].tolist())
    ]


def fed(images: Tensor, layout: str) -> np.ndarray:
    """Return prepared images uint8 `[B, channels, h, w]` as a file takes them."""
    if layout == "uint8":
        return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
    return (images.float() / 255).numpy()


def any_batch(model: onnx.ModelProto) -> bool:
    """Return whether a graph takes any number of images."""
    return bool(model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_param"))


def check_detections(
    detector: Detector,
    dense: Dense,
    model: onnx.ModelProto,
    layout: str,
    options: Filter,
    images: Sequence[ImageLike],
) -> str:
    """Compare all boxes and scores, then the detections at the thresholds of the file and where there are many.

    Images go through together and one by one. `dense` has the measure of the graph's NMS. Returns the result in words.
    Raises ValueError, with the first example, if one finds what the other does not.
    """
    prepared, placements = zip(*map(detector.prepare, images), strict=True)
    batch = torch.stack(prepared)
    every = _decoded(dense.module, batch, single=detector.alone)
    # Of the proposals of two stages, rounding may choose other ones, so these are compared as detections only.
    if dense.shared:
        check_outputs(dense.module, detector, front(model), layout, images)
    detector = _with_measure(detector, dense)
    words = []
    # Initial weights find thousands of objects, and a round of NMS for each would take minutes.
    most = _crowded(detector, batch, placements, replace(options, confidence=min(LOWEST, float(every[1].max()) / 2)))
    candidates = _candidates(*every, placements, dense.shared, len(detector.names), most)
    for confidence in sorted({max(options.confidence, most), most}, reverse=True):
        asked = replace(options, confidence=confidence)
        run = session(model if asked == options else at_confidence(model, confidence))
        single = [found_by(run, batch[b : b + 1], placements[b : b + 1], layout)[0] for b in range(len(batch))]
        together = found_by(run, batch, placements, layout) if any_batch(model) else single
        own = [one.to("cpu") for one in detector.detect_batch(batch, placements, asked)]
        for found in (together, single):
            result = agreement(own, found, asked, dense.kind, dense.beta, candidates)
            if result.lost or result.won:
                raise ValueError(_refusal(result))
        words.append(f"at confidence {confidence:.2g}: {result}")
    return "; ".join(words)


def _decoded(module: nn.Module, batch: Tensor, *, single: bool) -> tuple[Tensor, Tensor]:
    """Return all boxes and scores of prepared images, as `Dense` has them; `single`: image by image."""
    with torch.no_grad():
        parts = [module(images.float() / 255) for images in (batch.split(1) if single else [batch])]
    boxes, scores = (torch.cat(part) for part in zip(*parts, strict=True))
    return boxes, scores


def _candidates(
    boxes: Tensor, scores: Tensor, placements: Sequence[Placement], shared: bool, classes: int, confidence: float
) -> list[Detections]:
    """Return all boxes of each image whose score exceeds a confidence, or nearly so, in pixels of the image."""
    found = []
    for b, placement in enumerate(placements):
        index = (scores[b] > confidence * 0.9).nonzero().squeeze(1)
        own = cxcywh_to_xyxy(placement.relative(boxes[b][index // classes if shared else index]))
        found.append(Detections(own * own.new_tensor(placement.image.wh * 2), scores[b][index], index % classes))
    return found


def _with_measure(detector: Detector, dense: Dense) -> Detector:
    """Return a detector whose NMS has the measure of a file, which may be another than the network's."""
    heads = [head for head in detector.network.modules() if isinstance(head, Head)]
    if not heads or heads[-1].nms_kind == dense.kind:
        return detector
    other = detector.replace(network=deepcopy(detector.network))
    for head in other.network.modules():
        if isinstance(head, Head):
            head.nms_kind, head.nms_beta = dense.kind, dense.beta
    return other


def _crowded(detector: Detector, batch: Tensor, placements: Sequence[Placement], options: Filter) -> float:
    """Return the confidence, from that of the options, at which no image has more than `MOST` detections."""
    found = detector.detect_batch(batch, placements, replace(options, max_detections=MOST))
    return max([options.confidence, *(float(one.scores[-1]) for one in found if len(one) == MOST)])


def _refusal(result: Agreement) -> str:
    lines = [f"only PyTorch: {one}" for one in result.lost] + [f"only the file: {one}" for one in result.won]
    return (
        f"onnxruntime finds something else than PyTorch: {len(result.lost)} detections are lost and {len(result.won)} "
        f"added, {result.equal} are equal; {lines[0]}"
    )


def at_confidence(model: onnx.ModelProto, confidence: float) -> onnx.ModelProto:
    """Return a graph of detections with another confidence."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for one in changed.graph.initializer:
        if one.name == "confidence":
            one.CopyFrom(onnx.helper.make_tensor("confidence", onnx.TensorProto.FLOAT, [], [confidence]))
    return changed


def front(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the part of a graph of detections that computes all boxes and scores.

    With NMS after them, a threshold of low scores would cost minutes.
    """
    part: onnx.ModelProto = onnx.utils.Extractor(model).extract_model(["images"], ["decoded", "rated"])
    return part


def check_outputs(
    module: nn.Module, detector: Detector, model: onnx.ModelProto, layout: str, images: Sequence[ImageLike]
) -> float:
    """Compare all numbers of a file with those of a module, and return the largest difference, relative above 1.

    Raises ValueError if one exceeds `SCORE`.
    """
    batch = torch.stack([detector.prepare(image)[0] for image in images])
    with torch.no_grad():
        given = module(batch.float() / 255)
    expected = [given] if isinstance(given, Tensor) else given
    run, gaps = session(model), []
    for b in {1, len(batch)}:
        outputs = map(torch.from_numpy, run({"images": fed(batch[:b], layout)}))
        for found, own in zip(outputs, (one[:b] for one in expected), strict=True):
            gap = (found - own).abs() / own.abs().clamp(min=1)
            gaps.append(torch.where(found == own, 0, gap).max())  # also infinite ones
    worst = float(torch.stack(gaps).max())  # NaN if one is; Python's `max` would pass over it
    if not worst <= SCORE:
        raise ValueError(f"onnxruntime's numbers differ from PyTorch's by {worst:.2g}, more than {SCORE}")
    return worst
