"""Which predictions become detections, and which model makes them. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from yolo.options.aliases import spellings
from yolo.options.bounds import Bound, Checked, MaybeCount

UNIT = Bound("a number from 0 to 1", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class Filter(Checked):
    """Which predictions become detections. The defaults are those of detection; `EVALUATION` has its own."""

    confidence: Annotated[float, UNIT, arg(aliases=spellings("confidence"))] = 0.25
    """Keep predictions whose objectness, and objectness times class score, exceed this. 0.25 is darknet's."""
    nms: Annotated[float, UNIT, arg(aliases=spellings("nms"))] = 0.45
    """Drop a box if it overlaps a better one of its class by more than this IoU."""
    max_detections: Annotated[MaybeCount, arg(aliases=spellings("max_detections"))] = None
    """Keep at most N detections per image, the best ones; None keeps all, as darknet does."""
    agnostic: bool = False
    """Compare boxes of all classes in NMS: one box per object, whatever its class."""


EVALUATION = Filter(confidence=0.001, nms=0.6, max_detections=100)
"""AP needs detections with low scores as well; 100 detections per image are COCO's limit."""


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """The model: its files, its input, its device and arithmetic."""

    weights: Path | None = None
    """.weights file, .safetensors or .onnx file of this program, folder of a run, or name of a published model."""
    cfg: Path | None = None
    """Darknet .cfg that belongs to a .weights file; by default the one beside it, of its name or the only one."""
    names: Path | None = None
    """.names file, one class per line; by default the names in the weights file or beside it, else COCO's for 80
    classes."""
    size: str | None = None
    """Network input in pixels, N or WIDTHxHEIGHT; by default what the weights were trained with, else the cfg's."""
    placement: Literal["letterbox", "stretch"] | None = None
    """Keep the proportions of an image (grey bars), or stretch it to the network input; by default what the
    model was trained with: a safetensors file says it, the published weights of the first darknet (yolov2, yolov3)
    are letterboxed, and for other .weights files the cfg's letter_box decides (0: stretch)."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; by default a GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network. auto is fp32; bf16 is faster where the device is made for it, and moves some boxes."""
