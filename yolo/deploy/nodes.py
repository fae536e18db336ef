"""ONNX nodes written as expressions: `x - y`, `x > y`, `graph.op("Relu", x)`.

Only what the graphs of this package need. Values are named by a prefix and a number, so that graphs can be joined.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 18
"""The version of ONNX's operators in every file that this program writes."""

IR_VERSION = 10
"""The version of ONNX's file format."""


class Value:
    """A value of a graph, by name. Operators add nodes; an int becomes a constant int64, a float a float32."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def __add__(self, other: Any) -> Value:
        return self.graph.op("Add", self, other)

    def __sub__(self, other: Any) -> Value:
        return self.graph.op("Sub", self, other)

    def __mul__(self, other: Any) -> Value:
        return self.graph.op("Mul", self, other)

    def __truediv__(self, other: Any) -> Value:
        return self.graph.op("Div", self, other)

    def __floordiv__(self, other: Any) -> Value:
        """Divide integers that are not negative."""
        return self.graph.op("Div", self, other)

    def __mod__(self, other: Any) -> Value:
        return self.graph.op("Mod", self, other)

    def __gt__(self, other: Any) -> Value:
        return self.graph.op("Greater", self, other)

    def __and__(self, other: Any) -> Value:
        return self.graph.op("And", self, other)

    def __or__(self, other: Any) -> Value:
        return self.graph.op("Or", self, other)

    def __invert__(self) -> Value:
        return self.graph.op("Not", self)

    def equals(self, other: Any) -> Value:
        """Return where two values are equal."""
        return self.graph.op("Equal", self, other)

    def to(self, kind: str) -> Value:
        """Return the value as another type of ONNX: "FLOAT", "INT64", "INT32", "BOOL"."""
        return self.graph.op("Cast", self, to=getattr(onnx.TensorProto, kind))

    def columns(self, first: int, last: int, axis: int) -> Value:
        """Return the columns `first` to `last` - 1 of an axis."""
        return self.graph.op("Slice", self, *map(self.graph.ints, (first, last, axis)))


class Graph:
    """Nodes in the order of execution. All values but inputs have names that begin with the `prefix`."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.nodes, self.count = prefix, list[onnx.NodeProto](), 0

    def value(self, name: str) -> Value:
        """Return the value of a name: an input, or in the body of a loop a value of the graph around it."""
        return Value(self, name)

    def ints(self, *numbers: int) -> Value:
        """Return a vector of int64."""
        return self.constant(np.array(numbers, np.int64))

    def constant(self, array: Any) -> Value:
        """Return a constant of the dtype of a NumPy array."""
        return self.op("Constant", value=numpy_helper.from_array(np.asarray(array)))

    def op(self, kind: str, *inputs: Any, **attributes: Any) -> Value:
        """Add a node with one output and return that. An input None is left out."""
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def ops(self, kind: str, *inputs: Any, outputs: int, **attributes: Any) -> list[Value]:
        """Add a node and return its outputs."""
        given = [self._name(one) for one in inputs]
        names = [f"{self.prefix}{self.count + k}" for k in range(outputs)]
        self.count += outputs
        self.nodes.append(helper.make_node(kind, given, names, **attributes))
        return [Value(self, name) for name in names]

    def _name(self, given: Any) -> str:
        if isinstance(given, Value):
            return given.name
        if given is None:
            return ""
        return self.constant(np.int64(given) if isinstance(given, int) else np.float32(given)).name
