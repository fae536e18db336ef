"""A small exported file without a network: what it finds is the brightness of its images. Needs onnx."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.compose import merge_models

from yolo.darknet.safetensors_file import FORMAT
from yolo.deploy.nodes import IR_VERSION, OPSET, Graph
from yolo.deploy.tail import Tail, tail
from yolo.options.detection import Filter

SIZE = (16, 32)
"""Height and width of its input."""
NAMES = ["dark", "bright"]
BOXES = np.array([[0.25, 0.5, 0.25, 0.5], [0.27, 0.5, 0.25, 0.5], [0.75, 0.5, 0.25, 0.5]], np.float32)
"""cx, cy, w, h in fractions of the input; the first two overlap with an IoU of 0.85."""
WEIGHTS = np.array([[0.5, 0.9], [0.4, 0.8], [0.3, 0.7]], np.float32)
"""Scores of the boxes in a white image, for each class; other images have a share of it, their mean brightness."""


def write_tiny(
    path: Path,
    images: int | None = None,
    weights: np.ndarray = WEIGHTS,
    convolutions: int = 1,
) -> Path:
    """Write the file. `images` is the number of images that it takes; None is any number.

    All `convolutions` but the last one return what they get.
    """
    graph = Graph("front_")
    given = graph.value("images")
    floats = graph.op("Transpose", given.to("FLOAT") / 255.0, perm=[0, 3, 1, 2])
    # A convolution that averages, one weight for each score: what 8 bits and bfloat16 round.
    same = np.eye(3, dtype=np.float32)[..., None, None]
    for k in range(convolutions - 1):
        floats = graph.op("Conv", floats, graph.constant(same), name=f"same_{k}")
    kernel = np.repeat(weights.reshape(-1, 1, 1, 1), 3, axis=1) / 3
    averages = graph.op("Conv", floats, graph.constant(kernel), name="scores")
    rated = graph.op("ReduceMean", averages, graph.ints(2, 3), keepdims=0)
    number = graph.op("Concat", graph.op("Shape", given, end=1), graph.ints(3, 4), axis=0)
    boxes = graph.op("Expand", graph.constant(BOXES[None]), number)
    for value, name in ((boxes, "decoded"), (rated, "rated")):
        graph.nodes.append(helper.make_node("Identity", [value.name], [name]))
    told = [("images", TensorProto.UINT8, [images or "B", *SIZE, 3]), ("decoded", TensorProto.FLOAT, ["B", 3, 4])]
    infos = [helper.make_tensor_value_info(*row) for row in (*told, ("rated", TensorProto.FLOAT, ["B", 6]))]
    front = helper.make_model(
        helper.make_graph(graph.nodes, "front", infos[:1], infos[1:]),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    rule = Tail(SIZE, len(NAMES), letterbox=True)
    model = merge_models(front, tail(rule, Filter()), io_map=[("decoded", "decoded"), ("rated", "rated")])
    del model.opset_import[1:]
    values = {"names": NAMES, "size": SIZE, "letterbox": True, "channels": 3}
    texts = {key: json.dumps(value) for key, value in {**values, "agnostic": False}.items()}
    helper.set_model_props(model, {"format": FORMAT, "output": "detections", "nms_kind": "iou", **texts})
    onnx.save(model, str(path))
    return path
