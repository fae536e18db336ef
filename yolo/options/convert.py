"""The options of `convert`, and of what happens to an exported file after it is written. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from yolo.options.bounds import Checked, MaxPixels
from yolo.options.detection import Filter
from yolo.pixels import MAX_PIXELS


@dataclass(frozen=True, kw_only=True)
class Certify(Checked):
    """Whether an .onnx file is made smaller, and on what its cost is measured."""

    int8: bool = False
    """Make 8 bits of the convolutions of an .onnx target, but the first and the last ones. They are calibrated on the
    images of the split train of --data, else on the first others. What that costs is measured, as by --certify."""
    certify: bool = False
    """Measure on --data what an .onnx target costs against PyTorch: AP, with the interval of the difference, and the
    detections that are lost and won. It is printed and written as TARGET.certificate.json."""
    data: Path | None = None
    """Data set for --certify and --int8, as in `eval`."""
    split: str | None = None
    """Split of the data for the certificate; by default val."""
    limit: int | None = None
    """Use only the first N images of that split."""
    engine: Literal["onnxruntime", "openvino"] | None = None
    """What computes the file for the certificate: onnxruntime (the default) or OpenVINO."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of that engine; bf16 needs --engine openvino."""
    max_pixels: MaxPixels = MAX_PIXELS

    def __post_init__(self) -> None:
        super().__post_init__()
        measured = self.int8 or self.certify
        if measured and self.data is None:
            raise ValueError(f"--{'int8' if self.int8 else 'certify'} needs images: --data PATH")
        others = {"data": None, "split": None, "limit": None, "engine": None, "precision": "auto"}
        given = [f"--{name}" for name, usual in others.items() if getattr(self, name) != usual]
        if given and not measured:
            raise ValueError(f"{', '.join(given)} without effect: only for --certify and --int8")


@dataclass(frozen=True, kw_only=True)
class Convert(Checked):
    """Convert weights: darknet .weights <-> .safetensors, a backbone cut off, or any model as an ONNX file.

    The endings decide the formats. A safetensors file holds the cfg and the class names, so it needs no cfg. Beside a
    .weights target the cfg and the names for darknet and OpenCV are written. An .onnx file is the whole detector, from
    images to boxes, and is compared with PyTorch before it is kept.
    """

    source: Positional[Path]
    """A .weights file or backbone (darknet53.conv.74), a .safetensors file of this program, a run's folder, or the name
    of a published model."""
    target: Positional[Path]
    """The file to write: .weights, .safetensors, .onnx, or NAME.conv.N, a backbone."""
    force: bool = False
    """Replace existing files."""
    cfg: Path | None = None
    """The darknet .cfg of a .weights source; by default the one beside it."""
    names: Path | None = None
    """A .names file, one class per line, for the target of a .weights source; by default the one beside it."""
    cutoff: int | None = None
    """Write layers 0 to N - 1 only, as darknet's `partial` does: a backbone."""
    size: str | None = None
    """Network input of an .onnx target in pixels, N or WIDTHxHEIGHT; by default what the weights were trained with,
    else the cfg's."""
    placement: Literal["letterbox", "stretch"] | None = None
    """How the images of an .onnx target are placed in the input; by default as the model was trained."""
    onnx_output: Literal["detections", "decoded", "yolov5", "raw"] | None = None
    """What an .onnx target computes: detections (the default; thresholds and NMS inside), all boxes and scores decoded,
    the same as rows of cx cy w h objectness classes in pixels (yolov5), or raw predictions."""
    onnx_input: Literal["uint8", "float32"] | None = None
    """Images of an .onnx target: uint8 [B, h, w, 3] (the default of detections) or float32 [B, 3, h, w] in [0, 1]."""
    filter: Annotated[Filter, arg(name="")] = field(default_factory=Filter)
    standard_nms: bool = False
    """Use ONNX's own NMS, by IoU, which more runtimes know, in place of the network's measure (darknet's greedynms)."""
    after: Annotated[Certify, arg(name="")] = field(default_factory=Certify)
