"""Which predictions become detections, and which model makes them. No torch."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from tyro.conf import arg

from yolo.names import did_you_mean
from yolo.options.aliases import keyword, spellings
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


class FilterWords(TypedDict, total=False):
    """The keyword arguments of a detection in Python: the fields of `Filter`, and which classes. None is not given."""

    confidence: float | None
    nms: float | None
    max_detections: int | None
    agnostic: bool | None
    classes: str | Iterable[str | int] | None


OF_LOAD = ("size", "device", "precision", "letterbox", "compile")
"""Keyword arguments of `yolo.load` that other programs take in a detection."""


def filter_of(options: Filter | None, words: FilterWords, others: dict[str, Any]) -> Filter:
    """Return `options`, by default those of `Filter()`, with the values of `words` that are not None.

    Raises TypeError for `others`, keyword arguments that do not exist, with ours of that meaning, and for options that
    are not a Filter; ValueError for a value out of its bounds.
    """
    for word in others:
        ours = keyword(word)
        known = [*FilterWords.__annotations__, "batch_size"]
        hint = did_you_mean(word, known) or f"the keyword arguments are {', '.join(known)}"
        if ours in known:
            hint = f"write {ours}=..."
        elif ours in OF_LOAD:
            hint = f"it is a matter of the model: yolo.load(..., {ours}=...)"
        raise TypeError(f"detection has no keyword argument {word!r}; {hint}")
    if options is not None and not isinstance(options, Filter):
        raise TypeError(f"options: got {options!r}; expected a Filter, or keyword arguments such as confidence=0.5")
    given = {name: value for name, value in words.items() if value is not None and name != "classes"}
    for name, value in given.items():
        if isinstance(value, str):  # bounds are for numbers
            raise TypeError(f"{name}={value!r}: expected a number, not a text")
        if name == "max_detections" and not isinstance(value, numbers.Integral):  # an exported file would cut it off
            raise TypeError(f"{name}={value!r}: expected a whole number")
    return replace(options or Filter(), **given)  # type: ignore[arg-type]  # values of the fields by their names


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
    """Arithmetic of the network. auto is fp32; bf16 is faster where the device is made for it, and moves some boxes.
    For an .onnx file it needs --engine openvino."""
    engine: Literal["onnxruntime", "openvino"] | None = None
    """What computes an .onnx file, on the CPU: onnxruntime (the default) or OpenVINO."""
    compile: bool = False
    """Compile the network before the first image: faster afterwards on a GPU, without effect on a CPU."""
