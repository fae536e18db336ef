"""Every option once: its default, unit and reason. The command line is generated from these dataclasses. No torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which predictions become detections. The defaults are those of detection; `EVALUATION` has its own."""

    confidence: float = 0.25
    """Objectness, and objectness times class score, must exceed this. 0.25 is darknet's for pictures one looks at."""
    nms: float = 0.45
    """A box is dropped if it overlaps a better one of its class by more than this."""
    max_detections: int | None = None
    """Keep at most so many per picture, the best ones; None keeps all, as darknet."""
    agnostic: bool = False
    """NMS across classes: one box per object whatever the class."""

    def __post_init__(self) -> None:
        for name in ("confidence", "nms"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected a number from 0 to 1")
        if self.max_detections is not None and self.max_detections < 1:
            raise ValueError(f"max_detections={self.max_detections}: expected at least 1, or none for no limit")


EVALUATION = Filter(confidence=0.001, nms=0.6, max_detections=100)
"""AP needs the low scores too; 100 detections are COCO's."""


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How training pictures are changed. The sizes of changes are those of YOLOv3's own cfg where it has them."""

    flip: float = 0.5
    """Share of pictures that are mirrored left to right."""
    hue: float = 0.05
    """Hue is turned by up to this part of the colour circle, either way. darknet turns 0.1, red balls become yellow."""
    saturation: float = 1.5
    """Saturation is multiplied by up to this, or divided by it."""
    value: float = 1.5
    """Brightness is multiplied by up to this, or divided by it."""
    scale: float = 1.4
    """Beyond the letterbox a picture is enlarged by up to this, or shrunk by it."""
    translate: float = 0.1
    """Its centre moves by up to this part of the input's sides."""
    mosaic: float = 0.0
    """Share of pictures that are put together of four."""
    mixup: float = 0.0
    """Share of pictures that are blended with another one, half and half."""
    multi_scale: float = 1.0
    """The input of a batch is up to this times larger or smaller, in steps of 32 pixels; 1 is off."""
    last_plain: int = 0
    """The last so many epochs are without any of this, so that training ends on what detection will see."""

    @property
    def plain(self) -> bool:
        """Whether a picture stays as detection sees it; the size of the input may still vary."""
        return replace(self, multi_scale=1.0, last_plain=0) == PLAIN

    def ends_plain(self, epoch: int, epochs: int) -> bool:
        """Whether this epoch, counted from 0, is one of the `last_plain` ones. ValueError if all are."""
        if self.last_plain and not self.last_plain < epochs:
            raise ValueError(
                f"last_plain={self.last_plain} of {epochs} epochs: expected fewer than there are; for none at all use "
                f"PLAIN instead"
            )
        return self.last_plain > 0 and epoch >= epochs - self.last_plain

    def __post_init__(self) -> None:
        for name in ("flip", "mosaic", "mixup"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected a share from 0 to 1")
        for name in ("saturation", "value", "scale", "multi_scale"):
            if not 1 <= getattr(self, name) <= 10:
                raise ValueError(f"{name}={getattr(self, name)}: expected a factor from 1 (off) to 10")
        if not 0 <= self.hue <= 0.5 or not 0 <= self.translate <= 1 or self.last_plain < 0:
            raise ValueError(
                f"hue={self.hue}, translate={self.translate}, last_plain={self.last_plain}: expected hue from 0 to "
                f"0.5, translate from 0 to 1, last_plain from 0"
            )


PLAIN = Augment(flip=0, hue=0, saturation=1, value=1, scale=1, translate=0)
"""Nothing is changed: the letterbox of detection."""


def parse_size(text: str) -> tuple[int, int]:
    """`416` or `WIDTHxHEIGHT` in pixels to (height, width). Raises ValueError."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})(?:x([1-9][0-9]{0,5}))?", text)
    if match is None:
        raise ValueError(f"size {text!r}: expected pixels as N or WIDTHxHEIGHT, such as 416 or 640x384")
    return int(match[2] or match[1]), int(match[1])


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a cfg describes: its layers, shapes, parameters, operations; with weights, whether they fit.

    Nothing is allocated but the weights. Several cfgs, or a folder, give one line each.
    """

    cfgs: Annotated[Positional[tuple[Path, ...]], arg(metavar="CFG")] = (Path("yolov3.cfg"),)
    """Darknet .cfg files, folders of them, or names of shipped ones (yolov3.cfg, toy.cfg, ...)."""
    weights: Path | None = None
    """A .weights file for the one cfg: prints what is loaded and what not."""
    size: str | None = None
    """Network input in pixels, N or WIDTHxHEIGHT; by default the cfg's."""


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Weights from one file format to the other: darknet .weights <-> .safetensors, a backbone cut off, or ONNX.

    The formats follow from the endings. A safetensors file holds the cfg and the class names, so it needs no cfg.
    """

    source: Positional[Path]
    """A .weights file (or backbone such as darknet53.conv.74) or a .safetensors file of this program."""
    target: Positional[Path]
    """The file to write: .safetensors, .onnx (raw predictions out), or any other ending for darknet's format."""
    cfg: Path | None = None
    """The darknet .cfg of a .weights source."""
    names: Path | None = None
    """A .names file, one class per line, for the metadata of a .safetensors target."""
    cutoff: int | None = None
    """Write layers 0 to N - 1 only, as darknet's `partial`: a backbone."""
    size: str | None = None
    """Input of an .onnx target in pixels, N or WIDTHxHEIGHT; by default the cfg's."""


@dataclass(frozen=True, kw_only=True)
class Detect:
    """Finds objects in pictures, videos and camera streams: draws them, prints a line for each, writes result files."""

    sources: Annotated[Positional[tuple[str, ...]], arg(metavar="PICTURE")]
    """Picture or video files, folders, globs in quotes, camera numbers, stream URLs."""
    cfg: Path | None = None
    """Darknet .cfg; by default that of the newest trained run, else yolov3.cfg."""
    weights: Path | None = None
    """.weights or .safetensors; by default the newest trained run, else the official weights of the cfg, downloaded
    once."""
    names: Path | None = None
    """.names file, one class per line; by default what the weights say, else COCO's for 80 classes."""
    size: str | None = None
    """Network input in pixels, N or WIDTHxHEIGHT; by default the cfg's."""
    conf: float = Filter().confidence
    """Objectness, and objectness times class score, must exceed this."""
    iou: float = Filter().nms
    """A box is dropped if it overlaps a better one of its class by more than this."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; by default a GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network. auto is fp32: bf16 is faster where the device is made for it, and moves some boxes."""
    placement: Literal["letterbox", "stretch"] | None = None
    """Keep the proportions of a picture (grey bars), or stretch it to the network's input; by default what the weights
    were trained with, else letterbox."""
    exact: bool = False
    """Darknet's own resize in float32: darknet's numbers, slower."""
    classes: str | None = None
    """Only these, by name, separated by commas."""
    max_det: int | None = Filter().max_detections
    """At most so many per picture, the best ones; None keeps all."""
    agnostic: bool = Filter().agnostic
    """NMS across classes: one box per object whatever the class."""
    out: Path = Path("runs/detect")
    """Folder for the drawn pictures and the result files."""
    json: bool = False
    """Write detections.json in COCO's results format."""
    txt: bool = False
    """Write txt/NAME.txt (txt/NAME/17.txt for frame 17): class cx cy w h score, as fractions of the picture."""
    csv: bool = False
    """Write detections.csv."""
    crops: bool = False
    """Write crops/CLASS/NAME-N.png, every object alone."""


@dataclass(frozen=True, kw_only=True)
class ShowData:
    """What a data set holds and what the network will see of it: classes, box sizes, faults, a sheet of pictures."""

    path: Positional[Path]
    """COCO json file, data.yaml, darknet .data file, or a folder with COCO, VOC or YOLO annotations."""
    split: str | None = None
    """One split, or the beginning of its name; by default all, one after the other."""
    data_format: Literal["coco", "voc", "yolo"] | None = None
    """By default what the path holds: COCO before VOC before YOLO."""
    cfg: Path = Path("yolov3.cfg")
    """Darknet .cfg: the network's input size, and the anchors that the boxes are compared with."""
    size: str | None = None
    """Network input in pixels, N or WIDTHxHEIGHT; by default the cfg's."""
    names: Path | None = None
    """.names file, one class per line, that the labels refer to; by default what the data says."""
    classes: str | None = None
    """Only these, by name, separated by commas."""
    limit: int | None = None
    """Only the first so many pictures of a split."""
    fraction: float | None = None
    """A random part of the pictures, in (0, 1]."""
    seed: int = 0
    """Of the random part, and of the augmentation on the second sheet."""
    pictures: int = 12
    """So many on the sheet, evenly spread over the split."""
    out: Path = Path("runs/data")
    """Folder for the sheets, NAME-SPLIT.png and NAME-SPLIT-augmented.png."""

    def __post_init__(self) -> None:
        if self.pictures < 1:
            raise ValueError(f"pictures={self.pictures}: expected at least 1 on the sheet")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """COCO's metrics, and what explains them: of a results file, or of a model on the pictures of a data set.

    The conditions are those of evaluation during training: confidence 0.001, NMS 0.6, at most 100 detections.
    """

    results: Path | None = None
    """Results file in COCO's json format; pictures and classes are matched by name where its rows have names."""
    annotations: Path | None = None
    """With --results: the annotation file in COCO's json format."""
    weights: Path | None = None
    """In place of --results: .weights, .safetensors or the folder of a run, to detect with."""
    data: Path | None = None
    """With --weights: COCO json file, data.yaml, darknet .data file, or a folder with COCO, VOC or YOLO annotations."""
    split: str | None = None
    """Of the data: its name or the beginning of it, such as val for val2017."""
    data_format: Literal["coco", "voc", "yolo"] | None = None
    """By default what the path holds: COCO before VOC before YOLO."""
    limit: int | None = None
    """Only the first so many pictures."""
    cfg: Path | None = None
    """Darknet .cfg of a .weights file."""
    names: Path | None = None
    """.names file, one class per line: of the model, or of a results file whose category_id counts its lines from 0."""
    size: str | None = None
    """Network input in pixels, N or WIDTHxHEIGHT; by default the cfg's."""
    conf: float = EVALUATION.confidence
    """Objectness, and objectness times class score, must exceed this."""
    iou: float = EVALUATION.nms
    """NMS: a box is dropped if it overlaps a better one of its class by more than this."""
    max_det: int | None = EVALUATION.max_detections
    """At most so many per picture, the best ones; None keeps all (COCO counts 100 of each class)."""
    placement: Literal["letterbox", "stretch"] | None = None
    """Keep the proportions of a picture (grey bars), or stretch it to the network's input; by default what the weights
    were trained with, else letterbox."""
    batch_size: int = 16
    """Pictures that go through the network at once."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; by default a GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; auto is fp32."""
    out: Path = Path("runs/eval")
    """Folder for metrics.json, per_class.csv and the plots."""
    matrix_conf: float = Filter().confidence
    """Detections above this confidence go into the confusion matrix and darknet's counts."""
    resamples: int = 1000
    """Bootstrap resamples of the pictures behind the 95 % intervals; 0 leaves them out."""
    pycocotools: bool = False
    """Run the referee beside ours and print the largest difference."""

    def __post_init__(self) -> None:
        given = {name for name in ("results", "annotations", "weights", "data") if getattr(self, name) is not None}
        if given not in ({"results", "annotations"}, {"weights", "data"}):
            raise ValueError(
                "give either --results FILE and --annotations FILE, or --weights FILE and --data PATH; "
                f"got {', '.join(f'--{name}' for name in sorted(given)) or 'none of them'}"
            )
        if self.batch_size < 1 or self.resamples < 0:
            raise ValueError(f"batch_size={self.batch_size}, resamples={self.resamples}: expected at least 1 and 0")


@dataclass(frozen=True, kw_only=True)
class Get:
    """Downloads official weights into the cache, or a data set into data/, and prints where it is.

    What is there and whole is not downloaded again; after a failure the same command goes on. `shapes` is drawn, not
    downloaded.
    """

    kind: Positional[Literal["weights", "shapes", "coco", "voc", "bccd", "penn-fudan"]]
    """What to get."""
    names: Positional[tuple[str, ...]] = ()
    """Of weights, such as yolov3-tiny; a wrong name lists them all."""
    split: str | None = None
    """Of coco: val2017 (the default) or train2017. Of voc: trainval2007, test2007 or trainval2012; by default all."""
    images: int | None = None
    """Only the first so many pictures of coco; by default all."""
    out: Path | None = None
    """Folder of the data set; by default data/ and what it is called."""
    mirror: str | None = None
    """Ask this server instead of the official one: an address to which the official path is added, http://host/a."""
