"""A detector as an ONNX file.

| output       | it computes                                                                            |
|--------------|----------------------------------------------------------------------------------------|
| `detections` | `boxes` `[B, D, 4]` xyxy in pixels of the original images, `scores` and `labels`         |
|              | `[B, D]`, `count` `[B]`; rows from `count` on are padding                               |
| `decoded`    | `boxes` `[B, N, 4]` xyxy in fractions of the input, `scores` `[B, N, C]`                 |
| `yolov5`     | `output` `[B, N, 5 + C]`: cxcywh in pixels of the input, objectness, class scores        |
| `raw`        | `head_0`, `head_1`, ...: raw predictions `[B, A, H, W, 5 + C]`                           |

Of `images`: uint8 `[B, h, w, channels]`, or float32 `[B, channels, h, w]` in [0, 1], RGB, already placed in the input.
`detections` also needs `sizes` int64 `[B, 2]`, height and width of the original images.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import onnx
import torch
from onnx.compose import add_prefix, merge_models
from torch import Tensor, nn

from yolo.darknet.safetensors_file import FORMAT
from yolo.deploy.check import any_batch, check_detections, check_outputs, drawn_images
from yolo.deploy.nodes import IR_VERSION, OPSET
from yolo.deploy.tail import Tail, tail
from yolo.detection.dense import Corners, Dense, Rows
from yolo.files.atomic import replacing
from yolo.images.inputs import ImageLike
from yolo.images.resize import GREY
from yolo.models.detector import Detector
from yolo.models.yolo import YoloDetector
from yolo.options.detection import Filter
from yolo.version import VERSION

Output = Literal["detections", "decoded", "yolov5", "raw"]
Layout = Literal["uint8", "float32"]

LAYOUTS = {"uint8": "uint8 NHWC", "float32": "float32 NCHW"}
"""Types and shapes of `images`, as the metadata name them."""


class Contents(NamedTuple):
    """What a file computes.

    `layout` is the type of `images`; None is uint8 for `detections`, as image readers and cameras give it, and float32
    for the others, as their programs do. `options` are the thresholds of `detections`. `standard_nms` takes ONNX's own
    NMS, which measures IoU, in place of the measure of the network.
    """

    output: Output = "detections"
    layout: Layout | None = None
    options: Filter = Filter()
    standard_nms: bool = False


class Pixels(nn.Module):
    """A module that takes images `[B, channels, h, w]` in [0, 1], fed with uint8 `[B, h, w, channels]`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Any:
        return self.module(images.permute(0, 3, 1, 2).float() / 255)


def export_onnx(
    detector: Detector,
    path: str | os.PathLike[str],
    contents: Contents | None = None,
    images: Sequence[ImageLike] | None = None,
) -> str:
    """Write a detector as an ONNX file that onnxruntime has run with the same results, whole or not at all.

    Args:
        detector: on the CPU.
        path: the .onnx file.
        contents: what the file computes.
        images: images to compare on; by default a few drawn ones.

    Returns how near the results are, as a sentence.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: the model has no such output, its input does not fit the network, or onnxruntime finds something
            else. An older file stays.
    """
    contents = contents or Contents()
    layout = contents.layout or ("uint8" if contents.output == "detections" else "float32")
    contents = contents._replace(layout=layout)
    images = drawn_images(detector.channels) if images is None else images
    try:
        if contents.output == "detections":
            dense = detector.dense()
            if contents.standard_nms:
                dense = dense._replace(kind="iou", beta=1.0)
            model = _detections(detector, dense, contents)
            said = check_detections(detector, dense, model, layout, contents.options, images)
        else:
            module, names = _plain(detector, contents.output)
            model = exported(module, detector, layout, names)
            said = f"numbers within {check_outputs(module, detector, model, layout, images):.1e}"
    except ValueError as problem:
        raise ValueError(f"{path}: not written: {problem}") from None
    del model.metadata_props[:]
    found = metadata(detector, contents)
    if contents.output == "detections":
        found |= {"nms_kind": dense.kind, "nms_beta": json.dumps(dense.beta)}
    onnx.helper.set_model_props(model, found)
    with replacing(Path(path)) as temporary:
        onnx.save(model, str(temporary))
        onnx.checker.check_model(str(temporary))
    return f"onnxruntime against PyTorch on {len(images)} images: {said}"


def _plain(detector: Detector, output: str) -> tuple[nn.Module, list[str]]:
    """Return what computes an output without NMS, and the names of its outputs. Raises ValueError for another model."""
    if not isinstance(detector, YoloDetector):
        raise ValueError(f"a {detector.model} is exported as detections only; got the output {output}")
    network, heads, size = detector.folded()
    if output == "raw":
        return network, [f"head_{s}" for s in range(len(heads))]
    return (
        (Corners(network, heads, size), ["boxes", "scores"])
        if output == "decoded"
        else (Rows(network, heads, size), ["output"])
    )


def _detections(detector: Detector, dense: Dense, contents: Contents) -> onnx.ModelProto:
    """Return the whole detector: its predictions decoded, thresholds, NMS, places in the original images."""
    front = exported(
        dense.module, detector, contents.layout or "uint8", ["decoded", "rated"], images=1 if detector.alone else 2
    )
    # The exporter calls its values what it likes; the inputs and outputs of the tail have names of their own.
    front = add_prefix(front, "front_", rename_inputs=False, rename_outputs=False)
    rule = Tail(
        size=detector.size,
        classes=len(detector.names),
        letterbox=detector.letterbox,
        kind=dense.kind,
        beta=dense.beta,
        standard=contents.standard_nms,
        agnostic=contents.options.agnostic,
        shared=dense.shared,
    )
    joined: onnx.ModelProto = merge_models(
        front, tail(rule, contents.options), io_map=[("decoded", "decoded"), ("rated", "rated")]
    )
    del joined.opset_import[1:]  # one for each of the two, and some tools expect one
    return joined


def exported(
    module: nn.Module, detector: Detector, layout: Layout, outputs: Sequence[str], *, images: int = 2
) -> onnx.ModelProto:
    """Return a module as a graph from `images` to these outputs, by PyTorch's exporter.

    Args:
        module: takes float32 images `[B, channels, h, w]` in [0, 1].
        detector: its input and channels are those of the graph.
        layout: what the graph takes.
        outputs: names of the module's outputs.
        images: 2 for any number of images, 1 for exactly one.
    """
    h, w = detector.size
    example = torch.rand((images, detector.channels, h, w), generator=torch.Generator().manual_seed(0))
    module.eval()
    # What does not fit is an error of this program, with the layer, and not one of the exporter.
    with torch.no_grad():
        made = module(example)
    if not all(bool(one.isfinite().all()) for one in ([made] if isinstance(made, Tensor) else made)):
        raise ValueError("the predictions are not finite; are the weights those of a trained network?")
    if layout == "uint8":
        module, example = Pixels(module), (255 * example.permute(0, 2, 3, 1)).to(torch.uint8)
    shapes = ({0: torch.export.Dim("B")},) if images > 1 else None
    with torch.no_grad(), warnings.catch_warnings():
        # torchvision's NMS tells the exporter about its result in a way that PyTorch gives up.
        warnings.filterwarnings("ignore", "`create_unbacked_symint` is deprecated", FutureWarning)
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=list(outputs),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    model.ir_version = IR_VERSION
    if images > 1 and not any_batch(model):
        raise ValueError(f"the exporter made a graph for {images} images only: something in the network counts them")
    return without_traces(model)


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without what the exporter notes about each node: lines of code and paths of this machine."""
    for one in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del one.metadata_props[:]
        one.doc_string = ""
    return model


def metadata(detector: Detector, contents: Contents) -> dict[str, str]:
    """Return what a user of the file has to know, as texts; JSON where it is not a plain word."""
    found: dict[str, Any] = {
        "names": detector.names,
        "size": detector.size,
        "channels": detector.channels,
        "letterbox": detector.letterbox,
        "grey": GREY,
    }
    if isinstance(detector, YoloDetector):
        heads = detector.network.heads
        found["anchors"] = [head.anchors.tolist() for head in heads]
        found["strides"] = [[float(side) for side in head.strides] for head in heads]
    if contents.output == "detections":
        options = contents.options
        found |= {name: getattr(options, name) for name in ("confidence", "nms", "max_detections", "agnostic")}
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in found.items()}
    own = {"cfg": detector.network.cfg.to_text()} if isinstance(detector, YoloDetector) else {}
    return {
        "format": FORMAT,
        "model": detector.model,
        "output": contents.output,
        "input": LAYOUTS[contents.layout or "uint8"],
        "precision": "fp32",
        "version": VERSION,
        "sha256": weights_sha256(detector.network),
        **texts,
        **own,
    }


def usage(detector: Detector, contents: Contents) -> str:
    """Return what a user of the file has to know, as lines."""
    (h, w), channels = detector.size, detector.channels
    uint8 = (contents.layout or ("uint8" if contents.output == "detections" else "float32")) == "uint8"
    shape = f"uint8 [B, {h}, {w}, {channels}]" if uint8 else f"float32 [B, {channels}, {h}, {w}] in [0, 1]"
    place = f"letterbox, grey {GREY}" if detector.letterbox else "stretch"
    sizes = (
        "\n  sizes: int64 [B, 2], height and width of the original images" if contents.output == "detections" else ""
    )
    outputs = {
        "detections": "boxes [B, D, 4] xyxy in pixels of the original images, scores [B, D], labels [B, D], count [B]",
        "decoded": "boxes [B, N, 4] xyxy in fractions of the input, scores [B, N, classes]",
        "yolov5": "output [B, N, 5 + classes]: cx cy w h in pixels of the input, objectness, class scores",
        "raw": "head_0, ... [B, A, H, W, 5 + classes]: raw predictions",
    }[contents.output]
    text = f"  ONNX opset {OPSET}\n  images: {shape}, RGB, {place}{sizes}\n  -> {outputs}"
    return text.replace("[B", "[1") if detector.alone else text


def weights_sha256(network: nn.Module) -> str:
    """Return a checksum of all weights and buffers of a network, in the order of their names."""
    found = sha256()
    for name, tensor in sorted(network.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
