"""8 bits: which nodes, the order of nodes, and a file that both engines compute."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed: NO FILE WAS QUANTISED")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: NO FILE WAS QUANTISED")

import onnx

from tests.deploy.test_certificate import write_set
from tests.support.tiny_onnx import SIZE, write_tiny
from yolo.deploy.int8 import in_order, kept_in_float, quantise
from yolo.models.engines import Engine
from yolo.models.exported import load_exported
from yolo.options.detection import EVALUATION


def test_what_is_written(tmp_path: Path) -> None:
    """The convolution between the first and the last one has 8 bits; metadata stay, and both engines find the same."""
    source, target = write_tiny(tmp_path / "a.onnx", convolutions=3), tmp_path / "b.onnx"
    data = write_set(tmp_path / "set")
    assert quantise(source, target, data, count=4) == 4
    model = onnx.load(str(target))
    makers = {output: node for node in model.graph.node for output in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    whole = [makers.get(node.input[1]) is None or makers[node.input[1]].op_type == "Constant" for node in convolutions]
    assert whole == [True, False, True]
    assert {one.key: one.value for one in model.metadata_props}["precision"] == "int8"
    image = np.full((*SIZE, 3), 200, np.uint8)
    expected = load_exported(source).detect(image, EVALUATION)
    for engine in get_args(Engine):
        if find_spec(engine):
            detector = load_exported(target, engine=engine)
            found = detector.detect(image, EVALUATION)
            assert found.labels.tolist() == expected.labels.tolist()
            np.testing.assert_allclose(found.scores, expected.scores, atol=0.01)
            assert detector.conditions(EVALUATION)["computed by"].endswith(", int8")
    with pytest.raises(ValueError, match=r"b.onnx: is int8 already; give the file in fp32"):
        quantise(target, tmp_path / "c.onnx", data)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx", "set"]


def test_what_stays_in_float() -> None:
    """c1 -> c2 -> grouped -> c3 -> head_0, and c2 -> c4 -> head_1."""
    node = onnx.helper.make_node
    weights = [onnx.numpy_helper.from_array(np.zeros((1, 1, 1, 1), np.float32), "w")]
    graph = onnx.helper.make_graph(
        [
            node("Conv", ["images", "w"], ["a"], name="c1"),
            node("Relu", ["a"], ["b"], name="relu"),
            node("Conv", ["b", "w"], ["c"], name="c2"),
            node("Conv", ["c", "w"], ["g"], name="grouped", group=8),
            node("Conv", ["g", "w"], ["d"], name="c3"),
            node("Sigmoid", ["d"], ["head_0"], name="sigmoid"),
            node("Conv", ["c", "w"], ["head_1"], name="c4"),
        ],
        "graph", [], [], weights,
    )  # fmt: skip
    assert sorted(kept_in_float(graph)) == ["c1", "c3", "c4", "grouped"]


def test_order_of_nodes(tmp_path: Path) -> None:
    """A loop comes after what its body reads from the graph around it."""
    graph = onnx.load(str(write_tiny(tmp_path / "a.onnx"))).graph
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(reversed(nodes))
    in_order(graph)
    assert sorted(node.output[0] for node in graph.node) == sorted(node.output[0] for node in nodes)
    place = {name: k for k, node in enumerate(graph.node) for name in node.output}
    (loop,) = (node for node in graph.node if node.op_type == "Loop")
    inner = {name for node in loop.attribute[0].g.node for name in node.input if name in place}
    assert len(inner) > 3
    assert all(place[name] < place[loop.output[0]] for name in inner)
    assert all(place[name] < k for k, node in enumerate(graph.node) for name in node.input if name in place)
