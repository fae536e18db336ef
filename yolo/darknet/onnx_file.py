"""A network as an ONNX file: batch norm folded, ordinary operators, raw predictions; checked before it is kept."""

from __future__ import annotations

import importlib
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolo.atomic import replacing
from yolo.darknet.inference import inference_copy
from yolo.darknet.network import Darknet

OPSET = 17

TOLERANCE = 1e-3


def export_onnx(
    network: Darknet,
    path: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    *,
    opset: int = OPSET,
    dynamic_batch: bool = True,
) -> float:
    """Write a network as ONNX: from `images` `[B, channels, h, w]`, float32 in [0, 1], to `head_0`, `head_1`, ...

    Every output is `[B, A, H, W, 5 + C]`, the raw predictions of the network: `heads.py` decodes them. The file is kept
    only if onnxruntime computes PyTorch's numbers with it.

    Args:
        network: the training module; only read.
        path: the .onnx file.
        size: height and width of the input in pixels, fixed in the file; by default the cfg's own.
        opset: version of ONNX's operators.
        dynamic_batch: whether B may differ from call to call. False: B = 1.

    Returns:
        The largest absolute difference between onnxruntime's predictions and PyTorch's, on noise.

    Raises:
        ImportError: `onnx` or `onnxruntime` is not installed.
        ValueError: the size does not fit the network, or the difference exceeds 1e-3. Then nothing is written, and an
            older file stays.
    """
    onnx, onnxruntime = _package("onnx"), _package("onnxruntime")
    path = Path(path)
    folded = inference_copy(network, prepack=False).cpu()
    noise = torch.Generator().manual_seed(0)
    shape = (2 if dynamic_batch else 1, network.cfg.net.channels, *(size or network.size))
    images = torch.rand(shape, generator=noise)
    expected = folded(images)  # raises CfgError with the layer at which the size does not fit
    with replacing(path) as temporary:
        _write(folded, images, temporary, len(expected), opset, dynamic_batch)
        onnx.checker.check_model(str(temporary))
        difference = _difference(onnxruntime, temporary, images, expected)
        if not difference <= TOLERANCE:  # also true for NaN
            raise ValueError(
                f"{path}: not written, since onnxruntime's predictions differ from PyTorch's by {difference:.2g}, more "
                f"than {TOLERANCE}. Are the weights a trained network's? If so, try another opset than {opset}"
            )
    return difference


def _package(name: str) -> Any:
    """Import a package of the extra `onnx` when it is needed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"exporting to ONNX needs the package {name} ({error}); install it with: pip install 'exact-yolov3[onnx]'"
        ) from error


def _write(folded: Darknet, images: Tensor, path: Path, heads: int, opset: int, dynamic_batch: bool) -> None:
    """Export by PyTorch's older exporter (`dynamo=False`): the newer one needs onnxscript, for the same operators."""
    names = [f"head_{s}" for s in range(heads)]
    exporter: Any = torch.onnx
    exporter.register_custom_op_symbolic("aten::expm1", _expm1, opset)  # in selu; the exporter does not know it
    try:
        with (
            warnings.catch_warnings()
        ):  # they say that it is the older one, and that sizes become constants, as intended
            warnings.simplefilter("ignore")
            exporter.export(
                folded,
                (images,),
                str(path),
                input_names=["images"],
                output_names=names,
                dynamic_axes={name: {0: "B"} for name in ("images", *names)} if dynamic_batch else None,
                opset_version=opset,
                dynamo=False,
            )
    finally:
        exporter.unregister_custom_op_symbolic("aten::expm1", opset)


def _expm1(graph: Any, x: Any) -> Any:
    """Return exp(x) - 1 in ONNX's operators."""
    one = graph.op("Constant", value_t=torch.tensor(1.0))
    return graph.op("Sub", graph.op("Exp", x), one)


def _difference(onnxruntime: Any, path: Path, images: Tensor, expected: list[Tensor]) -> float:
    """Return the largest absolute difference of onnxruntime's outputs, for all images and for the first one alone."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = torch.zeros(())
    for b in {1, len(images)}:
        for found, raw in zip(session.run(None, {"images": images[:b].numpy()}), expected, strict=True):
            worst = torch.maximum(worst, (torch.from_numpy(found) - raw[:b]).abs().max())
    return float(worst)
