"""An exported Faster R-CNN finds what the detector finds, in onnxruntime and in OpenVINO."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.tiny_rcnn import SIDE, tiny_rcnn
from yolo.models.faster_rcnn import FasterRcnnDetector
from yolo.models.packages import needed
from yolo.options.detection import Filter
from yolo.options.faster_rcnn import FasterRcnn
from yolo.rcnn.losses import BoxLoss
from yolo.rcnn.network import FasterRcnnNetwork
from yolo.size import Size

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
if MISSING:
    pytest.skip(f"{' and '.join(MISSING)} not installed: NO FASTER R-CNN WAS EXPORTED", allow_module_level=True)

from yolo.deploy.agreement import agreement  # noqa: E402
from yolo.deploy.check import Run, at_confidence, found_by, session  # noqa: E402
from yolo.deploy.export import Contents, export_onnx, usage  # noqa: E402


@pytest.fixture(scope="module")
def detector() -> FasterRcnnDetector:
    """A tiny network with random weights and 30 proposals in an image."""
    network = FasterRcnnNetwork(tiny_rcnn(), BoxLoss()).eval()
    network.rpn._post_nms_top_n["testing"] = 30
    return FasterRcnnDetector(network, ["cat", "dog"], Size(SIDE, SIDE), FasterRcnn(data="data"))


@pytest.fixture(scope="module")
def model(detector: FasterRcnnDetector, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Its exported file, read again."""
    path = tmp_path_factory.mktemp("exported") / "a.onnx"
    export_onnx(detector, path)
    return importlib.import_module("onnx").load(str(path))


def images() -> list[np.ndarray]:
    """Return noise of sizes that are letterboxed in both directions or not at all."""
    noise = np.random.default_rng(0)
    return [noise.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((64, 64), (90, 50), (33, 120), (64, 63))]


def by_openvino(model: Any) -> Run:
    """Return a function that runs a graph by OpenVINO in float32."""
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino not installed: FASTER R-CNN WAS NOT RUN BY OPENVINO")
    openvino = needed("openvino", "this test")  # which has it report nothing
    core = openvino.Core()
    read = core.read_model(io.BytesIO(model.SerializeToString()))
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda feeds: [compiled(feeds)[output] for output in compiled.outputs]


@pytest.mark.parametrize("confidence", [0.25, 0.05])
@pytest.mark.parametrize("engine", [session, by_openvino], ids=["onnxruntime", "openvino"])
def test_it_finds_what_the_detector_finds(
    detector: FasterRcnnDetector, model: Any, engine: Callable[[Any], Run], confidence: float
) -> None:
    """As many detections; classes are equal, scores within 0.001 and boxes within half a pixel."""
    run, options = engine(at_confidence(model, confidence)), Filter(confidence=confidence)
    prepared = [detector.prepare(image) for image in images()]
    own = [detector.detect_batch(one[None], [place], options)[0] for one, place in prepared]
    found = [found_by(run, one[None], [place], "uint8")[0] for one, place in prepared]
    result = agreement(own, found, options)
    assert (result.lost, result.won, result.edge) == ([], [], 0), str(result)
    assert result.equal > 40
    assert [len(one) for one in own] == [len(one) for one in found]


def test_a_file_takes_one_image_and_says_so(detector: FasterRcnnDetector, model: Any) -> None:
    """The number of images is fixed in the file and in what is printed; names and size are in its metadata."""
    dimensions = model.graph.input[0].type.tensor_type.shape.dim
    assert [one.dim_value for one in dimensions] == [1, SIDE, SIDE, 3]
    assert "uint8 [1, 64, 64, 3]" in usage(detector, Contents())
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["model"] == "faster-rcnn"
    assert json.loads(metadata["names"]) == ["cat", "dog"]


def test_other_outputs_are_refused(detector: FasterRcnnDetector, tmp_path: Path) -> None:
    """Only detections can be exported; no file is written."""
    with pytest.raises(ValueError, match="faster-rcnn is exported as detections only; got the output raw"):
        export_onnx(detector, tmp_path / "a.onnx", Contents("raw"))
    assert not list(tmp_path.iterdir())
