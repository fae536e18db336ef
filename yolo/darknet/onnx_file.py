"""A network as an ONNX file: batch norm folded, ordinary operators, raw predictions; checked before it is kept.

The metadata of the file are those of a safetensors file: cfg, class names, size and placement. So it is read again as a
network that onnxruntime computes.
"""

from __future__ import annotations

import importlib
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from yolo.atomic import replacing
from yolo.darknet.cfg import parse_cfg
from yolo.darknet.inference import inference_copy
from yolo.darknet.layers import build_layer
from yolo.darknet.network import Darknet
from yolo.darknet.plan import make_plan
from yolo.darknet.safetensors_file import FORMAT
from yolo.darknet.sections import HeadSection
from yolo.size import Size

OPSET = 17

TOLERANCE = 1e-3


class OnnxNetwork(Darknet):
    """A file that `export_onnx` wrote, computed by onnxruntime on the CPU: images -> raw predictions, no weights.

    `names` are the class names, `letterbox` is the placement of images, `size` is the only input that it takes. Its
    `layers` are the heads, `metadata` is what `export_onnx` wrote.

    Raises:
        FileNotFoundError: no such file.
        ImportError: `onnxruntime` is not installed.
        ValueError: not an ONNX file, or not one of this program's.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        nn.Module.__init__(self)  # nothing of Darknet's is allocated
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file")
        runtime = _package("onnxruntime", "an .onnx file")
        options = runtime.SessionOptions()
        # Its threads would keep the cores busy between calls, and decoding and NMS would take three times as long.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as problem:  # onnxruntime has a class of errors for each kind of damage
            raise ValueError(f"{path}: not a whole ONNX file: {str(problem).splitlines()[0]}") from None
        metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        if metadata.get("format") != FORMAT:
            raise ValueError(
                f"{path}: an ONNX file without this program's metadata (format: {FORMAT}), so its network and classes "
                f"are not known; give the .safetensors or .weights that it was made from, or export it again: convert"
            )
        self.path, self.metadata = path, metadata
        self.cfg = parse_cfg(metadata["cfg"], f"{path}, cfg in its metadata")
        self.names: list[str] = json.loads(metadata["names"])
        self.letterbox: bool = json.loads(metadata["letterbox"])
        self.plan = make_plan(self.cfg, Size(*json.loads(metadata["size"])))
        heads = (layer for layer in self.plan.layers if isinstance(layer.section, HeadSection))
        self.layers = nn.ModuleList(map(build_layer, heads))

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the raw predictions as `Darknet.forward`. Raises ValueError for images of another shape."""
        (one,) = self.session.get_inputs()
        fixed = [n if isinstance(n, int) else len(images) for n in one.shape]  # "B" is any number of images
        if list(images.shape) != fixed:
            raise ValueError(
                f"{self.path}: takes images of the shape {one.shape} only, got {list(images.shape)}; for other ones, "
                f"export another file: convert SOURCE TARGET.onnx --size WIDTHxHEIGHT"
            )
        return [torch.from_numpy(raw) for raw in self.session.run(None, {one.name: images.float().cpu().numpy()})]


def export_onnx(
    network: Darknet,
    path: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    *,
    opset: int = OPSET,
    dynamic_batch: bool = True,
    names: Sequence[str] | None = None,
    letterbox: bool = True,
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
        names: class names, for the metadata; by default `class 0`, `class 1`, ...
        letterbox: whether images are letterboxed, for the metadata. False: stretched.

    Returns:
        The largest absolute difference between onnxruntime's predictions and PyTorch's, on noise.

    Raises:
        ImportError: `onnx` or `onnxruntime` is not installed.
        ValueError: the size does not fit the network, or the difference exceeds 1e-3. Then nothing is written, and an
            older file stays.
    """
    onnx, onnxruntime = (_package(name, "exporting to ONNX") for name in ("onnx", "onnxruntime"))
    path = Path(path)
    folded = inference_copy(network, prepack=False).cpu()
    noise = torch.Generator().manual_seed(0)
    shape = (2 if dynamic_batch else 1, network.cfg.net.channels, *(size or network.size))
    images = torch.rand(shape, generator=noise)
    expected = folded(images)  # raises CfgError with the layer at which the size does not fit
    with replacing(path) as temporary:
        _write(folded, images, temporary, len(expected), opset, dynamic_batch)
        classes = network.heads[-1].classes if network.heads else 0
        own = [f"class {k}" for k in range(classes)] if names is None else list(names)
        model = onnx.load(str(temporary))
        metadata = {
            "format": FORMAT,
            "cfg": network.cfg.to_text(),
            "names": json.dumps(own, ensure_ascii=False),
            "size": json.dumps(images.shape[2:]),
            "letterbox": json.dumps(letterbox),
        }
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, str(temporary))
        onnx.checker.check_model(str(temporary))
        difference = _difference(onnxruntime, temporary, images, expected)
        if not difference <= TOLERANCE:  # also true for NaN
            raise ValueError(
                f"{path}: not written, since onnxruntime's predictions differ from PyTorch's by {difference:.2g}, more "
                f"than {TOLERANCE}. Are the weights a trained network's? If so, try another opset than {opset}"
            )
    return difference


def _package(name: str, use: str) -> Any:
    """Import a package of the extra `onnx` when it is needed, for a `use` that the message names."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{use} needs the package {name} ({error}); install it with: pip install 'exact-yolov3[onnx]'"
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
