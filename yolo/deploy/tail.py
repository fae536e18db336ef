"""From decoded predictions to detections, as an ONNX graph: threshold, NMS, places in the original images.

Letters: `B` images, `N` boxes, `C` classes, `K` candidates: scores above the confidence, of the image with the most of
them; `D` detections of the image with the most of them.

It does what `yolo.detection.postprocess` does: the candidates of a class are processed by descending score, equal
scores in their order, and boxes are compared as fractions of their image. Numbers are float32; there NMS uses float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from yolo.deploy.nodes import IR_VERSION, OPSET, Graph, Value
from yolo.models.engines import NO_LIMIT, THRESHOLDS
from yolo.options.detection import Filter


class Tail(NamedTuple):
    """What is fixed in the graph.

    `size` is height and width of the network input in pixels, `classes` is C. `kind` and `beta` are the measure of NMS
    as in `yolo.detection.nms.Suppression`; `standard` takes ONNX's own operator, which measures IoU. `shared`: the C
    scores of a box have this one box. False: every score has a box of its own.
    """

    size: tuple[int, int]
    classes: int
    letterbox: bool
    kind: str = "iou"
    beta: float = 1.0
    standard: bool = False
    agnostic: bool = False
    shared: bool = True


def tail(rule: Tail, options: Filter) -> onnx.ModelProto:
    """Return the graph. The thresholds of `options` are constants (initializers) of it.

    Its inputs are `decoded` `[B, N, 4]`, boxes cxcywh in fractions of the input, and `rated` `[B, N * C]`, the C scores
    of a box in a row (`[B, N]` if they are not shared; the class is then the index modulo C), and `sizes` int64
    `[B, 2]`, height and width of the original images.

    Its outputs are `boxes` `[B, D, 4]` xyxy in pixels of the original images, `scores` `[B, D]` in descending order,
    `labels` int64 `[B, D]` and `count` int64 `[B]`. Rows from `count` on are 0, their labels -1.
    """
    graph = Graph("tail_")
    boxes, scores, sizes, least, most, limit = map(graph.value, ("decoded", "rated", "sizes", *THRESHOLDS))
    found = _candidates(graph, rule, boxes, scores, least)
    relative, pixels = _relative(graph, rule, found.boxes, sizes)
    kept = (_standard if rule.standard else _greedy)(graph, rule, found, relative, most, limit)
    outputs = _rows(graph, found, kept, relative, pixels, limit)
    names = ("boxes", "scores", "labels", "count")
    graph.nodes += [helper.make_node("Identity", [a.name], [b]) for a, b in zip(outputs, names, strict=True)]
    kinds = {"labels": TensorProto.INT64, "count": TensorProto.INT64, "sizes": TensorProto.INT64}
    shapes = {
        "decoded": ["B", "N", 4], "rated": ["B", "P"], "sizes": ["B", 2],
        "boxes": ["B", "D", 4], "scores": ["B", "D"], "labels": ["B", "D"], "count": ["B"],
    }  # fmt: skip
    told = {
        name: helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape)
        for name, shape in shapes.items()
    }
    made = helper.make_graph(
        graph.nodes,
        "tail",
        [told[name] for name in ("decoded", "rated", "sizes")],
        [told[name] for name in names],
        initializer=[
            helper.make_tensor(THRESHOLDS[0], TensorProto.FLOAT, [], [options.confidence]),
            helper.make_tensor(THRESHOLDS[1], TensorProto.FLOAT, [], [options.nms]),
            helper.make_tensor(THRESHOLDS[2], TensorProto.INT64, [], [options.max_detections or NO_LIMIT]),
        ],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


class _Candidates(NamedTuple):
    """The best K scores of every image in descending order, `[B, K]`; `alive` are those above the confidence.

    `boxes` are cx, cy, w and h in fractions of the input, each `[B, K]`; `labels` int64 are their classes.
    """

    boxes: list[Value]
    scores: Value
    labels: Value
    alive: Value


def _candidates(graph: Graph, rule: Tail, boxes: Value, scores: Value, least: Value) -> _Candidates:
    number = graph.op("ReduceSum", (scores > least).to("INT64"), graph.ints(1), keepdims=0)
    # At least one, since not every runtime has a TopK of nothing.
    number = graph.op("Max", graph.op("ReduceMax", number, keepdims=1), graph.ints(1))
    best, index = graph.ops("TopK", scores, number, outputs=2, axis=1)  # of equal scores the first one comes first
    owner = index // rule.classes if rule.shared else index
    own = graph.op("GatherND", boxes, graph.op("Unsqueeze", owner, graph.ints(2)), batch_dims=1)
    return _Candidates(_split(graph, own), best, index % rule.classes, best > least)


def _split(graph: Graph, boxes: Value) -> list[Value]:
    """Return the four numbers of boxes `[B, K, 4]`, each `[B, K]`."""
    parts = graph.ops("Split", boxes, outputs=4, axis=2, num_outputs=4)
    return [graph.op("Squeeze", part, graph.ints(2)) for part in parts]


def _relative(graph: Graph, rule: Tail, boxes: list[Value], sizes: Value) -> tuple[list[Value], list[Value]]:
    """Return boxes as fractions of their images, and width and height of the images, float32 `[B, 1]`.

    Of a letterbox the integers are those of `yolo.images.placement.Placement`.
    """
    height, width = (graph.op("Max", sizes.columns(k, k + 1, axis=1), graph.ints(1)) for k in (0, 1))
    pixels = [width.to("FLOAT"), height.to("FLOAT")]
    if not rule.letterbox:
        return boxes, pixels
    h, w = rule.size
    # The side that reaches the border first decides the scale.
    wide = width * h > height * w
    placed_h = graph.op("Where", wide, graph.op("Max", height * w // width, 1), h)
    placed_w = graph.op("Where", wide, w, graph.op("Max", width * h // height, 1))
    moved: list[Value] = []
    for value, side, placed in zip(boxes, (w, h, w, h), (placed_w, placed_h) * 2, strict=True):
        if len(moved) < 2:  # a centre
            margin = graph.op("Sub", side, placed) // 2
            value = value - margin.to("FLOAT") / float(side)
        moved.append(value * graph.op("Div", float(side), placed.to("FLOAT")))
    return moved, pixels


def _greedy(graph: Graph, rule: Tail, found: _Candidates, relative: list[Value], most: Value, limit: Value) -> Value:
    """Return which candidates NMS keeps, bool `[B, K]`: in every round the best one that is left, in all images.

    A round costs K overlaps, and there is one for each detection of the fullest image.
    """
    # What every round compares: edges, areas and places of all candidates.
    cx, cy, w, h = relative
    left, top, right, bottom, area = cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0, w * h
    number = graph.op("Squeeze", graph.op("Shape", found.scores, start=1))
    places = graph.op("Unsqueeze", graph.op("Range", 0, number, 1), graph.ints(0))

    body = Graph("round_")  # its nodes may read the values of the graph around it
    alive, kept = body.value("round_alive"), body.value("round_kept")
    # Scores descend, so the first one that is left is the best.
    first = body.op("ArgMax", alive.to("INT32"), axis=1, keepdims=1)
    chosen = alive & body.op("Equal", places, first)

    def span(kind: str, ends: Value, other: str, starts: Value) -> Value:
        """Return the distance from the one start to the one end, of every candidate and the best one."""
        one, two = (body.op(k, v, of_best(v)) for k, v in ((kind, ends), (other, starts)))
        return one - two

    def of_best(value: Value) -> Value:
        return body.op("GatherElements", value, first, axis=1)

    meet = body.op("Relu", span("Min", right, "Max", left)) * body.op("Relu", span("Min", bottom, "Max", top))
    union = body.op("Add", area, of_best(area)) - meet
    overlap = body.op("Where", meet > 0.0, meet / union, 0.0)
    if rule.kind == "diou":
        width, height = span("Max", right, "Min", left), span("Max", bottom, "Min", top)
        diagonal = width * width + height * height
        dx, dy = body.op("Sub", cx, of_best(cx)), body.op("Sub", cy, of_best(cy))
        apart = body.op("Where", diagonal > 0.0, (dx * dx + dy * dy) / diagonal, 0.0)
        overlap = overlap - body.op("Pow", apart, rule.beta)
    dropped = overlap > most
    if not rule.agnostic:
        dropped = dropped & body.op("Equal", found.labels, of_best(found.labels))
    return _rounds(graph, body, found.alive, [alive & ~(dropped | chosen), kept | chosen], limit)


def _rounds(graph: Graph, body: Graph, alive: Value, after: list[Value], limit: Value) -> Value:
    """Add the loop over the rounds, at most `limit` of them, and return what they keep.

    `body` has the nodes of one round, `after` what it leaves and what it has kept, bool `[B, K]`.
    """
    going = _any(body, after[0])
    told = [helper.make_tensor_value_info(f"round_{name}", TensorProto.BOOL, ["B", "K"]) for name in ("alive", "kept")]
    loop = helper.make_graph(
        body.nodes,
        "round",
        [
            helper.make_tensor_value_info("round_number", TensorProto.INT64, []),
            helper.make_tensor_value_info("round_going", TensorProto.BOOL, []),
            *told,
        ],
        [
            helper.make_tensor_value_info(going.name, TensorProto.BOOL, []),
            *(helper.make_tensor_value_info(value.name, TensorProto.BOOL, ["B", "K"]) for value in after),
        ],
    )
    nothing = alive & ~alive
    return graph.ops("Loop", limit, _any(graph, alive), alive, nothing, outputs=2, body=loop)[1]


def _any(graph: Graph, value: Value) -> Value:
    """Return whether anything in a bool value is True."""
    return graph.op("ReduceMax", graph.op("Cast", value, to=TensorProto.INT32), keepdims=0).to("BOOL")


def _standard(graph: Graph, rule: Tail, found: _Candidates, relative: list[Value], most: Value, limit: Value) -> Value:
    """Return which candidates ONNX's own NMS keeps, bool `[B, K]`."""
    boxes = graph.op("Concat", *(graph.op("Unsqueeze", part, graph.ints(2)) for part in relative), axis=2)
    # It wants a row of scores for each class, [B, C, K]; -1 is below every threshold.
    scores = graph.op("Unsqueeze", graph.op("Where", found.alive, found.scores, -1.0), graph.ints(1))
    if not rule.agnostic:
        labels = graph.op("Unsqueeze", found.labels, graph.ints(1))
        own = graph.op("Equal", labels, graph.constant(np.arange(rule.classes)[None, :, None]))
        scores = graph.op("Where", own, scores, -1.0)
    number = graph.op("Unsqueeze", limit, graph.ints(0))
    ends = graph.op("Unsqueeze", most, graph.ints(0))
    chosen = graph.op(
        "NonMaxSuppression",
        boxes,
        scores,
        number,
        ends,
        graph.constant(np.array([-0.5], np.float32)),
        center_point_box=1,
    )
    places = graph.op("Concat", chosen.columns(0, 1, axis=1), chosen.columns(2, 3, axis=1), axis=1)
    shape = graph.op("Shape", found.scores)
    nothing = graph.op("Expand", graph.constant(np.zeros((1, 1), np.int32)), shape)
    number = graph.op("Shape", places, end=1)
    ones = graph.op("Expand", graph.constant(np.ones(1, np.int32)), number)
    return graph.op("ScatterND", nothing, places, ones).to("BOOL")


def _rows(
    graph: Graph, found: _Candidates, kept: Value, relative: list[Value], pixels: list[Value], limit: Value
) -> list[Value]:
    """Return boxes, scores, labels and count of the kept candidates, as `tail` does."""
    count = graph.op("ReduceSum", kept.to("INT64"), graph.ints(1), keepdims=0)
    count = graph.op("Min", count, limit)
    most = graph.op("Max", graph.op("ReduceMax", count, keepdims=1), graph.ints(1))
    # Equal scores keep their order.
    scores, index = graph.ops("TopK", graph.op("Where", kept, found.scores, -1.0), most, outputs=2, axis=1)
    number = graph.op("Range", 0, graph.op("Squeeze", most), 1)
    there = graph.op("Less", graph.op("Unsqueeze", number, graph.ints(0)), graph.op("Unsqueeze", count, graph.ints(1)))
    cx, cy, w, h = (graph.op("GatherElements", part, index, axis=1) for part in relative)
    width, height = pixels
    sides = [(cx - w / 2.0) * width, (cy - h / 2.0) * height, (cx + w / 2.0) * width, (cy + h / 2.0) * height]
    boxes = graph.op("Concat", *(graph.op("Unsqueeze", side, graph.ints(2)) for side in sides), axis=2)
    labels = graph.op("GatherElements", found.labels, index, axis=1)
    return [
        graph.op("Where", graph.op("Unsqueeze", there, graph.ints(2)), boxes, 0.0),
        graph.op("Where", there, scores, 0.0),
        graph.op("Where", there, labels, -1),
        count,
    ]
