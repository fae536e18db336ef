"""Exported files: darknet's numbers for every kind of layer, the detections of the detector, files that are refused."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import yolo
from tests.support.golden_nets import golden_network, in_darknets_memory
from tests.support.paths import GOLDEN, ROOT
from yolo.boxes import Detections, cxcywh_to_xyxy
from yolo.commands.convert import run as convert
from yolo.darknet.cfg import parse_cfg, read_cfg
from yolo.darknet.network import Darknet
from yolo.deploy.agreement import agreement
from yolo.models.yolo import YoloDetector
from yolo.options.convert import Convert
from yolo.options.detection import Filter
from yolo.size import Size

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
if MISSING:
    pytest.skip(f"{' and '.join(MISSING)} not installed: NO ONNX EXPORT WAS TRIED", allow_module_level=True)

onnx = importlib.import_module("onnx")

from yolo.deploy import check, export  # noqa: E402
from yolo.deploy.export import Contents, Output, export_onnx  # noqa: E402


def session(path: Path) -> Any:
    return importlib.import_module("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])


def detector(network: Darknet, **attributes: Any) -> YoloDetector:
    return YoloDetector(network, [f"class {k}" for k in range(network.heads[-1].classes)], **attributes)


BODY = """
[net]
width=96
height=64
channels=3
[convolutional]
batch_normalize=1
filters=16
size=3
stride=16
pad=1
activation=leaky
"""
HEAD = """
[convolutional]
filters=33
size=1
stride={}
activation=linear
[yolo]
mask=0,1,2
anchors=9,12, 20,14, 30,40
classes=6
num=3
"""
SMALL = BODY + HEAD.format(2) + "[route]\nlayers=-3\n" + HEAD.format(1)
"""Two heads, with the fewest layers that a file of detections can have: an export takes seconds for every ten."""


def small(text: str = SMALL) -> YoloDetector:
    """A network with random weights and as few layers as possible."""
    torch.manual_seed(0)
    return detector(Darknet(parse_cfg(text, "small.cfg")))


def toy(nms_kind: str = "default") -> YoloDetector:
    """A larger network, whose predictions vary more."""
    torch.manual_seed(0)
    text = read_cfg("toy.cfg").to_text().replace("[yolo]", f"[yolo]\nnms_kind={nms_kind}")
    network = Darknet(parse_cfg(text, "toy.cfg"))
    with torch.no_grad():
        for s, index in enumerate(network.cfg.heads):
            block: Any = network.layers[index - 1]
            block.conv.weight.view(3, -1, block.conv.in_channels)[:, 4:] *= 0.6
            block.conv.bias.fill_(0.01 + 0.01 * s)  # the exporter keeps biases that are not zero, and differ
    return detector(network, size=Size(64, 96))


KINDS = [
    *("squeeze-excite", "activations-1", "activations-2"),
    *("mini-yolov2", "shortcut", "spp", "sam-reorg3d"),
]
"""Golden networks that, with grey-input, have every kind of layer, activation and head."""


def test_raw_predictions_are_darknets(tmp_path: Path) -> None:
    """On darknet's input, activated by the heads. No warning, no other file, ordinary operators only."""
    case = GOLDEN / "nets" / "grey-input"
    network, file = golden_network(case), tmp_path / "deep" / "a.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(detector(network), file, Contents("raw"))
    assert [entry.name for entry in file.parent.iterdir()] == ["a.onnx"]
    assert ordinary(onnx.load(str(file)))
    running = session(file)
    assert [output.name for output in running.get_outputs()] == [f"head_{s}" for s in range(len(network.heads))]
    are_darknets(case, network, running.run(None, {"images": np.load(case / "input.npy")}))


def ordinary(model: Any) -> bool:
    """Return whether a graph has operators of ONNX only, and none that was to be folded."""
    return all(node.domain == "" and node.op_type != "BatchNormalization" for node in model.graph.node)


def are_darknets(case: Path, network: Darknet, raw: list[np.ndarray]) -> None:
    """Compare the raw predictions of all heads with those that darknet had in memory."""
    expected = np.load(case / "output.npz")
    for s, (head, found) in enumerate(zip(network.heads, raw, strict=True)):
        numbers = in_darknets_memory(head, torch.from_numpy(found)).numpy()
        np.testing.assert_allclose(numbers, expected[f"head_{s}"], rtol=0, atol=1e-4, err_msg=f"{case.name}, head {s}")


class SideBySide(torch.nn.Module):
    """Networks whose inputs lie beside each other in one image: an export of all takes less than one of each."""

    def __init__(self, networks: list[Darknet]) -> None:
        super().__init__()
        self.networks = torch.nn.ModuleList(networks)
        self.inputs = [(network.cfg.net.channels, *network.plan.size) for network in networks]

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found, left = [], 0
        for network, (channels, h, w) in zip(self.networks, self.inputs, strict=True):
            found += network(images[:, :channels, :h, left : left + w])
            left += w
        return tuple(found)


def test_every_layer_kind_gives_darknets_heads() -> None:
    """Raw predictions on darknet's inputs, activated by the heads: darknet's numbers. Ordinary operators only."""
    cases = [GOLDEN / "nets" / name for name in KINDS]
    networks = [golden_network(case) for case in cases]
    module = SideBySide([detector(network).folded()[0] for network in networks])
    size = max(h for _, h, _ in module.inputs), sum(w for _, _, w in module.inputs)
    place: Any = SimpleNamespace(size=size, channels=3)
    outputs = [f"{case.name}_{s}" for case, one in zip(cases, networks, strict=True) for s in range(len(one.heads))]
    model = export.exported(module, place, "float32", outputs)
    assert ordinary(model)
    images, left = np.zeros((1, 3, *size), np.float32), 0
    for case, (channels, h, w) in zip(cases, module.inputs, strict=True):
        images[:, :channels, :h, left : left + w] = np.load(case / "input.npy")
        left += w
    raw = dict(zip(outputs, check.session(model)({"images": images}), strict=True))
    for case, network in zip(cases, networks, strict=True):
        are_darknets(case, network, [raw[f"{case.name}_{s}"] for s in range(len(network.heads))])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[YoloDetector, Path, str]:
    """A detector with darknet's greedynms, its file, and what the export said."""
    made, file = toy("greedynms"), tmp_path_factory.mktemp("whole") / "toy.onnx"
    return made, file, export_onnx(made, file, Contents(options=Filter(confidence=0.6, nms=0.3)))


def test_a_file_finds_what_its_detector_finds(whole: tuple[YoloDetector, Path, str]) -> None:
    """Any number of images in one call, at the thresholds of the file, boxes in pixels of images of any proportions."""
    made, file, said = whole
    random = np.random.default_rng(0)
    images = [
        random.integers(256, size=(h, w, 3), dtype=np.uint8) for h, w in ((64, 96), (200, 90), (31, 77), (96, 64))
    ]
    prepared, placements = zip(*map(made.prepare, images), strict=True)
    pixels, sizes = torch.stack(prepared).permute(0, 2, 3, 1).numpy(), np.array([image.shape[:2] for image in images])
    options = Filter(confidence=0.6, nms=0.3)
    for many in (1, 4):
        boxes, scores, labels, count = session(file).run(None, {"images": pixels[:many], "sizes": sizes[:many]})
        found = [
            Detections(*(torch.from_numpy(part[b, :n]) for part in (boxes, scores, labels)))
            for b, n in enumerate(count)
        ]
        own = made.detect_batch(torch.stack(prepared)[:many], placements[:many], options)
        result = agreement(own, found, options, "diou", 0.6)
        assert not result.lost + result.won
        assert result.equal > 5 * many
    assert "equal detections" in said


def test_both_say_how_nms_measures(whole: tuple[YoloDetector, Path, str]) -> None:
    """Evaluations of the weights and of the file have the same conditions, but for what computes them."""
    made, file, _ = whole
    words = made.conditions(Filter(nms=0.6))
    assert words["NMS"] == "0.6 (diou)"
    assert yolo.load(file).conditions(Filter(nms=0.6)).items() >= words.items()


def test_the_example_without_this_program(whole: tuple[YoloDetector, Path, str]) -> None:
    """examples/deploy.py finds the same in an image of another size, with what the file says about itself."""
    made, file, _ = whole
    place = importlib.util.spec_from_file_location("deploy", ROOT / "examples" / "deploy.py")
    assert place is not None
    assert place.loader is not None
    example = importlib.util.module_from_spec(place)
    place.loader.exec_module(example)
    for shape in ((200, 90, 3), (31, 77, 3)):
        image = np.random.default_rng(1).integers(256, size=shape, dtype=np.uint8)
        prepared, placement = made.prepare(image)
        (own,) = made.detect_batch(prepared[None], [placement], Filter(confidence=0.6, nms=0.3))
        found = example.Model(str(file)).detect(image)
        assert [name for name, _, _ in found] == [made.names[label] for label in own.labels.tolist()]
        np.testing.assert_allclose([score for _, score, _ in found], own.scores.numpy(), atol=1e-5)
        np.testing.assert_allclose([box for *_, box in found], own.boxes.numpy(), rtol=1e-4, atol=0.05)


@pytest.mark.skipif(int(cv2.__version__[0]) < 5, reason=f"OpenCV {cv2.__version__} knows no loops")
def test_opencv_runs_the_whole_detector(whole: tuple[YoloDetector, Path, str]) -> None:
    """As in docs/darknet.md: images and sizes in, detections out."""
    made, file, _ = whole
    image = np.random.default_rng(1).integers(256, size=(200, 90, 3), dtype=np.uint8)
    prepared, placement = made.prepare(image)
    (own,) = made.detect_batch(prepared[None], [placement], Filter(confidence=0.6, nms=0.3))
    net = cv2.dnn.readNetFromONNX(str(file))
    net.setInput(prepared.permute(1, 2, 0).numpy()[None], "images")
    net.setInput(np.array([image.shape[:2]]), "sizes")
    boxes, scores, labels, count = net.forward(["boxes", "scores", "labels", "count"])
    assert count[0] == len(own) > 5
    np.testing.assert_array_equal(labels[0], own.labels.numpy())
    np.testing.assert_allclose(scores[0], own.scores.numpy(), atol=1e-5)
    np.testing.assert_allclose(boxes[0], own.boxes.numpy(), rtol=1e-4, atol=0.05)


def test_metadata_are_enough_to_use_the_file(whole: tuple[YoloDetector, Path, str]) -> None:
    """Names, anchors, strides, placement and thresholds; no path of the machine that wrote the file."""
    made, file, _ = whole
    found = session(file).get_modelmeta().custom_metadata_map
    assert json.loads(found["names"]) == made.names
    assert json.loads(found["size"]) == [64, 96]
    assert json.loads(found["letterbox"]) is True
    assert (found["grey"], found["input"], found["output"]) == ("128", "uint8 NHWC", "detections")
    assert (json.loads(found["confidence"]), json.loads(found["nms"]), found["max_detections"]) == (0.6, 0.3, "null")
    assert (found["nms_kind"], found["nms_beta"]) == ("diou", "0.6")
    assert [len(anchors) for anchors in json.loads(found["anchors"])] == [3, 3, 3]
    assert json.loads(found["strides"]) == [[32, 32], [16, 16], [8, 8]]
    assert found["sha256"] == export.weights_sha256(made.network)
    assert str(Path(export.__file__).parent).encode() not in file.read_bytes()


def test_outputs_for_other_programs(tmp_path: Path) -> None:
    """Corners and scores, and rows of centre, size, objectness and classes, are those of the heads."""
    image = torch.rand(1, 3, 64, 96)
    order = (0, 2, 3, 1, 4)
    kinds: dict[Output, YoloDetector] = {"decoded": small(BODY + HEAD.format(2)), "yolov5": small()}
    for output, made in kinds.items():
        network = made.network.eval()
        with torch.no_grad():
            parts = [head.decode(raw, (64, 96)) for raw, head in zip(network(image), network.heads, strict=True)]
        boxes, objectness, classes = (
            torch.cat([part.permute(order).flatten(1, 3) for part in values], 1)
            for values in zip(*((p.boxes, p.objectness.unsqueeze(-1), p.classes) for p in parts), strict=True)
        )
        expected = {
            "decoded": [cxcywh_to_xyxy(boxes), objectness * classes],
            "yolov5": [torch.cat((boxes * torch.tensor([96.0, 64, 96, 64]), objectness, classes), 2)],
        }[output]
        export_onnx(made, tmp_path / "a.onnx", Contents(output))
        running = session(tmp_path / "a.onnx")
        assert running.get_inputs()[0].shape == ["B", 3, 64, 96]
        for found, own in zip(running.run(None, {"images": image.numpy()}), expected, strict=True):
            np.testing.assert_allclose(found, own.numpy(), rtol=1e-4, atol=1e-4)


def test_a_file_that_disagrees_is_not_written(
    whole: tuple[YoloDetector, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is one for a size that does not fit, or with weights that are not finite; an older file stays."""
    made, file = small(), tmp_path / "a.onnx"
    file.write_bytes(b"older")
    with pytest.raises(ValueError, match=r"a.onnx: not written: .*\[route\] \(layer 24\)"):
        export_onnx(whole[0].replace(size=Size(100, 96)), file)
    with monkeypatch.context() as patch:
        patch.setattr(export, "_detections", lambda *_: onnx.load(str(whole[1])))  # an export takes seconds
        found_by = check.found_by
        patch.setattr(check, "found_by", lambda *given: [one.to("cpu").clipped((9, 9)) for one in found_by(*given)])
        with pytest.raises(ValueError, match=r"a.onnx: not written: onnxruntime finds something else .* are lost and"):
            export_onnx(whole[0], file, Contents(options=Filter(confidence=0.6, nms=0.3)))
    with torch.no_grad():
        next(made.network.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="not written: the predictions are not finite"):
        export_onnx(made, file)
    assert file.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [file]


def set_constants(model: Any, old: Any, new: Any, last: int = 0) -> None:
    """Give another value to the numbers of the tail that have this one, or to the last ones of them."""
    nodes = [node for node in model.graph.node if node.op_type == "Constant" and node.output[0].startswith("tail_")]
    values = [(node.attribute[0].t, onnx.numpy_helper.to_array(node.attribute[0].t)) for node in nodes]
    found = [one for one, value in values if value.shape == () and value.dtype == old.dtype and value == old]
    assert found
    for one in found[-last:]:
        one.CopyFrom(onnx.numpy_helper.from_array(np.array(new, old.dtype)))


def scale_constant(model: Any, factor: float, **wanted: Any) -> None:
    """Multiply the last initializer with this name or this shape (dims)."""
    key, value = next(iter(wanted.items()))
    one = [one for one in model.graph.initializer if getattr(one, key) == value][-1]
    array = onnx.numpy_helper.to_array(one)
    one.CopyFrom(onnx.numpy_helper.from_array((array * factor).astype(array.dtype), one.name))


def swap_sides(model: Any) -> None:
    """Exchange x and y of the boxes."""
    corners = [node for node in model.graph.node if node.op_type == "Concat" and len(node.input) == 4][-1].input
    corners[0], corners[1], corners[2], corners[3] = corners[1], corners[0], corners[3], corners[2]


FAULTS: dict[str, Callable[[Any], None]] = {
    "x and y": swap_sides,
    "anchors": lambda model: scale_constant(model, 1.05, dims=[3, 1, 1, 2]),
    "no margin of the letterbox": lambda model: set_constants(model, np.int64(2), 10**6),
    "class": lambda model: set_constants(model, np.int64(6), 5, last=1),
    "one side of each box": lambda model: set_constants(model, np.float32(2), 2.05, last=1),
    "confidence": lambda model: scale_constant(model, 1.1, name="confidence"),
    "nms": lambda model: scale_constant(model, 1.3, name="nms"),
}
"""What is done to a file that is right."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_file_is_refused(fault: str, whole: tuple[YoloDetector, Path, str]) -> None:
    """However small the fault: wrong boxes overlap the right ones, and one head here finds hardly anything."""
    made, file, _ = whole
    model, options = check.at_confidence(onnx.load(str(file)), 0.7), Filter(confidence=0.7, nms=0.3)
    given = made.dense(), model, "uint8", options, check.drawn_images()
    assert "at confidence 0.7: " in check.check_detections(made, *given)
    FAULTS[fault](model)
    with pytest.raises(ValueError, match="onnxruntime"):
        check.check_detections(made, *given)


def test_a_detector_that_finds_nothing_is_compared_all_the_same(whole: tuple[YoloDetector, Path, str]) -> None:
    """At the confidence of half of its best score."""
    made, model = toy("greedynms"), check.at_confidence(onnx.load(str(whole[1])), Filter().confidence)
    with torch.no_grad():
        for index in made.network.cfg.heads:
            block: Any = made.network.layers[index - 1]
            block.conv.bias.view(3, -1)[:, 4] -= 14
    biases = [one for one in model.graph.initializer if one.dims == [33]]  # the file of the same weights gets them too
    assert len(biases) == 3
    for one in biases:
        values = onnx.numpy_helper.to_array(one).reshape(3, -1) - 14 * (np.arange(11) == 4)
        one.CopyFrom(onnx.numpy_helper.from_array(values.reshape(-1).astype(np.float32), one.name))
    dense, images = made.dense(), check.drawn_images()
    said = check.check_detections(made, dense, model, "uint8", Filter(nms=0.3), images)
    assert said.startswith("at confidence 0.25: no detections; at")
    assert said.count("no detections") == 1
    swap_sides(model)
    with pytest.raises(ValueError, match="something else"):
        check.check_detections(made, dense, model, "uint8", Filter(nms=0.3), images)


def test_nan_is_refused(whole: tuple[YoloDetector, Path, str]) -> None:
    """One NaN among numbers that are equal."""
    made, file, _ = whole
    model = check.front(onnx.load(str(file)))
    scale_constant(model, np.nan, dims=[3, 1, 1, 2])
    with pytest.raises(ValueError, match="differ from PyTorch's by nan"):
        check.check_outputs(made.dense().module, made, model, "uint8", check.drawn_images())


@pytest.mark.parametrize("package", PACKAGES)
def test_missing_packages_are_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra to install, before any work is done."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs the package {package} .* pip install 'exact-yolov3\[onnx\]'"):
        convert(Convert(source=tmp_path / "none.safetensors", target=tmp_path / "a.onnx"))
    assert not list(tmp_path.iterdir())
