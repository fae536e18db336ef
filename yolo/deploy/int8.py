"""An exported file with convolutions in 8 bits, calibrated on images.

The first convolution, the last one before every head and those with groups stay in float32: each of them costs much
AP and little time. So does all that is not a convolution: decoding, thresholds and NMS.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from yolo.data.datasets import ImageDataset
from yolo.files.atomic import replacing
from yolo.models.exported import ExportedDetector, RawDetector, image_input, load_exported
from yolo.models.packages import needed

IMAGES = 64
"""Number of images to calibrate on, by default."""

KINDS = ("Conv", "MatMul", "Gemm")
"""Kinds of nodes that are computed in 8 bits."""


def quantise(source: Path, target: Path, data: ImageDataset, count: int = IMAGES) -> int:
    """Write an exported file with convolutions in 8 bits, whole or not at all, and return the number of images seen.

    Weights have a scale for each channel, activations one for each tensor: the range of its values in an image,
    averaged over the first `count` images, since a single extreme value would cost all others their precision. The
    images are placed in the input as the detector does.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: not an exported file in float32, or onnxruntime cannot compute what was made of it.
    """
    quantization = needed("onnxruntime.quantization", "an int8 file")
    detector = load_exported(source)
    assert isinstance(detector, (ExportedDetector, RawDetector)), "the file would not have been read"
    model = onnx.load(str(source))
    metadata = {one.key: one.value for one in model.metadata_props}
    if metadata.get("precision", "fp32") != "fp32":
        raise ValueError(f"{source}: is {metadata['precision']} already; give the file in fp32")
    count = min(count, len(data))
    with replacing(target) as temporary:
        with _quiet():
            quantization.quantize_static(
                str(source),
                str(temporary),
                _reader(quantization, detector, data, count),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                op_types_to_quantize=list(KINDS),
                nodes_to_exclude=kept_in_float(model.graph),
                calibrate_method=quantization.CalibrationMethod.MinMax,
                extra_options={"CalibMovingAverage": True, "CalibMovingAverageConstant": 0.05},
            )
        made = onnx.load(str(temporary))
        in_order(made.graph)
        del made.metadata_props[:]
        onnx.helper.set_model_props(made, metadata | {"precision": "int8"})
        onnx.save(made, str(temporary))
        onnx.checker.check_model(str(temporary))
        image, placement = detector.prepare(data.path(0))
        load_exported(temporary).detect_batch(image[None], [placement])
    return count


def kept_in_float(graph: Any) -> list[str]:
    """Return the names of the first convolution, of those after which no other one comes, and of those with groups."""
    weighted = [node for node in graph.node if node.op_type in KINDS]
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    # From the end: whether a node with weights follows one.
    followed: set[int] = set()
    for node in reversed(graph.node):
        after = [reader for name in node.output for reader in readers.get(name, [])]
        if any(reader.op_type in KINDS or id(reader) in followed for reader in after):
            followed.add(id(node))
    last = [node.name for node in weighted if id(node) not in followed]
    groups = [node.name for node in weighted if any(one.name == "group" and one.i > 1 for one in node.attribute)]
    return list(dict.fromkeys([*(node.name for node in weighted[:1]), *last, *groups]))


def in_order(graph: Any) -> None:
    """Sort the nodes so that each comes after all whose values it reads, its loops included.

    onnxruntime's quantisation sorts them without regard for what the body of a loop reads from the graph around it,
    and OpenVINO does not compute such a file.
    """
    waiting, made = list(graph.node), {name for node in graph.node for name in node.output}
    done: set[str] = set()
    del graph.node[:]
    while waiting:
        ready = [node for node in waiting if all(name in done or name not in made for name in _read(node))]
        if not ready:
            raise ValueError("the nodes of the graph read each other in a circle")
        graph.node.extend(ready)
        done.update(name for node in ready for name in node.output)
        waiting = [node for node in waiting if not set(node.output) <= done]


def _read(node: Any) -> Iterator[str]:
    """Yield the names of all values that a node reads, also within its loops."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read(inner)


def _reader(quantization: Any, detector: ExportedDetector | RawDetector, data: ImageDataset, count: int) -> Any:
    """Return what gives the inputs for each image to onnxruntime's calibration."""

    class Reader(quantization.CalibrationDataReader):
        left = iter(range(count))

        def get_next(self) -> dict[str, np.ndarray] | None:
            k = next(self.left, None)
            if k is None:
                return None
            image, placement = detector.prepare(data.path(k))
            sizes = {"sizes": np.array([placement.image], np.int64)} if "sizes" in detector.session.inputs else {}
            return {"images": image_input(detector.session, image[None]), **sizes}

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what onnxruntime's calibration prints and warns of: advice for other models."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(None):
            yield
    finally:
        root.setLevel(before)
