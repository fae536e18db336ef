"""An ONNX file run by onnxruntime or OpenVINO through one small interface. No torch."""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Literal, NamedTuple

import numpy as np

from yolo.models.packages import needed

Engine = Literal["onnxruntime", "openvino"]

THRESHOLDS = ("confidence", "nms", "max_detections")
"""Constants of a file of detections that become inputs here, so that every call may have its own."""

NO_LIMIT = 2**31 - 1
"""`max_detections` if there is no limit."""


class Input(NamedTuple):
    """An input of a graph. A size in `shape` is a number, or a name if any number will do."""

    shape: list[int | str]
    dtype: np.dtype[Any]


class Session:
    """An ONNX file that an engine computes on the CPU. Several threads may call `run`.

    A copy is the same session, and another process, which gets the path, reads the file again.

    `engine` has its name and version, `precision` is its arithmetic ("fp32" or "bf16"), `metadata` are those of the
    file. `inputs` are those of the file, and its thresholds where it has them.

    Args:
        path: the file.
        engine: what computes it.
        precision: "fp32", or "bf16" with OpenVINO on a processor that is made for it.

    Raises:
        FileNotFoundError: no such file.
        ImportError: `onnx` or the package of the engine is not installed.
        ValueError: not a whole ONNX file, or the engine cannot compute it or not in this precision.
    """

    def __init__(
        self, path: str | os.PathLike[str], engine: Engine = "onnxruntime", precision: Literal["fp32", "bf16"] = "fp32"
    ) -> None:
        if precision == "bf16" and engine != "openvino":
            raise ValueError(f"{path}: {engine} computes in fp32 only; bf16 needs OpenVINO: --engine openvino")
        self.path, self.precision, self._kind = path, precision, engine
        use, extra = ("an .onnx file", "onnx") if engine == "onnxruntime" else ("--engine openvino", "openvino")
        package, model = needed(engine, use, extra), read_model(path)
        self.metadata = metadata_of(model)
        _free(model.graph)
        self.inputs = {one.name: _input(one) for one in model.graph.input}
        content = model.SerializeToString()
        try:
            self._run = (_onnxruntime if engine == "onnxruntime" else _openvino)(package, content, precision)
        except Exception as problem:  # the engines have a class of errors for each kind of damage
            raise ValueError(f"{path}: not a file that {engine} can compute: {_line(problem)}") from None
        self.engine = f"{engine} {package.__version__.partition('-')[0]}"  # OpenVINO adds a commit

    def __deepcopy__(self, _: object) -> Session:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Session, (self.path, self._kind, self.precision)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by name. `feeds` has an array for each of `inputs`."""
        return self._run(feeds)


def read_model(path: str | os.PathLike[str]) -> Any:
    """Return the `onnx.ModelProto` in a file. Raises as `Session`."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    onnx = needed("onnx", "an .onnx file")
    try:
        return onnx.load(str(path))
    except Exception as problem:  # a class of protobuf's, of which there are several
        raise ValueError(f"{path}: not a whole ONNX file: {_line(problem)}") from None


def metadata_of(model: Any) -> dict[str, str]:
    """Return the metadata of an `onnx.ModelProto`."""
    return {entry.key: entry.value for entry in model.metadata_props}


def _free(graph: Any) -> None:
    """Make inputs of the thresholds. An input that keeps its constant would be one in OpenVINO still."""
    helper = importlib.import_module("onnx").helper
    for constant in [one for one in graph.initializer if one.name in THRESHOLDS]:
        graph.initializer.remove(constant)
        graph.input.append(helper.make_tensor_value_info(constant.name, constant.data_type, constant.dims))


def _input(one: Any) -> Input:
    """Return an input as it is described in the file."""
    kind = importlib.import_module("onnx").helper.tensor_dtype_to_np_dtype(one.type.tensor_type.elem_type)
    sizes = one.type.tensor_type.shape.dim
    return Input([size.dim_value if size.HasField("dim_value") else size.dim_param for size in sizes], kind)


def _onnxruntime(runtime: Any, content: bytes, precision: str) -> Any:
    """Return a function that computes a file with onnxruntime."""
    options = runtime.SessionOptions()
    # Its threads would keep the cores busy between calls, and whatever the caller computes there would take three times
    # as long.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _openvino(openvino: Any, content: bytes, precision: str) -> Any:
    """Return a function that computes a file with OpenVINO."""
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError("this processor has no bf16; leave out --precision")
    # By default it computes in bf16 wherever the processor can, which moves boxes.
    hints = {"INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" else "bf16", "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(io.BytesIO(content)), "CPU", hints)
    request, lock = compiled.create_infer_request(), Lock()
    names = [output.get_any_name() for output in compiled.outputs]

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with lock:  # a request has one set of outputs; it uses all cores, so a second one would gain nothing
            found = request.infer(dict(feeds))
            return {name: np.array(found[name]) for name in names}

    return run


def _line(problem: Exception) -> str:
    """Return what is wrong in one line, without OpenVINO's places in its own source."""
    noise = ("Exception from", "Check '", "FrontEnd API")
    lines = [line.strip() for line in str(problem).splitlines() if not line.startswith(noise)]
    return " ".join(filter(None, lines))[:200] or type(problem).__name__
