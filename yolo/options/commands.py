"""Every option once: its default, unit and reason. The command line is generated from these dataclasses. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, Suppress, arg

from yolo.options.detection import EVALUATION, Filter
from yolo.options.train import Schedule


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
    """Finds objects in images, videos and camera streams: draws them, prints a line for each, writes result files."""

    sources: Annotated[Positional[tuple[str, ...]], arg(metavar="IMAGE")]
    """Image or video files, folders, globs in quotes, camera numbers, stream URLs."""
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
    """Keep the proportions of an image (grey bars), or stretch it to the network's input; by default what the weights
    were trained with, else letterbox."""
    exact: bool = False
    """Darknet's own resize in float32: darknet's numbers, slower."""
    classes: str | None = None
    """Only these, by name, separated by commas."""
    max_det: int | None = Filter().max_detections
    """At most so many per image, the best ones; None keeps all."""
    agnostic: bool = Filter().agnostic
    """NMS across classes: one box per object whatever the class."""
    out: Path = Path("runs/detect")
    """Folder for the drawn images and the result files."""
    json: bool = False
    """Write detections.json in COCO's results format."""
    txt: bool = False
    """Write txt/NAME.txt (txt/NAME/17.txt for frame 17): class cx cy w h score, as fractions of the image."""
    csv: bool = False
    """Write detections.csv."""
    crops: bool = False
    """Write crops/CLASS/NAME-N.png, every object alone."""


@dataclass(frozen=True, kw_only=True)
class ShowData:
    """What a data set holds and what the network will see of it: classes, box sizes, faults, a sheet of images."""

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
    """Only the first so many images of a split."""
    fraction: float | None = None
    """A random part of the images, in (0, 1]."""
    seed: int = 0
    """Of the random part, and of the augmentation on the second sheet."""
    images: int = 12
    """So many on the sheet, evenly spread over the split."""
    out: Path = Path("runs/data")
    """Folder for the sheets, NAME-SPLIT.png and NAME-SPLIT-augmented.png."""

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError(f"images={self.images}: expected at least 1 on the sheet")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """COCO's metrics, and what explains them: of a results file, or of a model on the images of a data set.

    The conditions are those of evaluation during training: confidence 0.001, NMS 0.6, at most 100 detections.
    """

    results: Path | None = None
    """Results file in COCO's json format; images and classes are matched by name where its rows have names."""
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
    """Only the first so many images."""
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
    """At most so many per image, the best ones; None keeps all (COCO counts 100 of each class)."""
    placement: Literal["letterbox", "stretch"] | None = None
    """Keep the proportions of an image (grey bars), or stretch it to the network's input; by default what the weights
    were trained with, else letterbox."""
    batch_size: int = 16
    """Images that go through the network at once."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; by default a GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; auto is fp32."""
    out: Path = Path("runs/eval")
    """Folder for metrics.json, per_class.csv and the plots."""
    matrix_conf: float = Filter().confidence
    """Detections above this confidence go into the confusion matrix and darknet's counts."""
    resamples: int = 1000
    """Bootstrap resamples of the images behind the 95 % intervals; 0 leaves them out."""
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
    """Only the first so many images of coco; by default all."""
    out: Path | None = None
    """Folder of the data set; by default data/ and what it is called."""
    mirror: str | None = None
    """Ask this server instead of the official one: an address to which the official path is added, http://host/a."""


PILOT_SEED = 1_000_000
"""Of pilot runs: a seed that no study reaches."""


@dataclass(frozen=True, kw_only=True)
class Ablate:
    """Trains every variant of a grid with several seeds and compares them, with error bars.

    Within one seed all variants start from the same weights and see the same batches. Options of `train` that all runs
    share stand behind `--`: python -m yolo ablate blog --jobs 2 -- --data coco --limit 100. The same command goes on
    with a study that was interrupted; with more --seeds the study grows.
    """

    grid: Annotated[Positional[str], arg(metavar="GRID")]
    """What is compared: a name of config/ablations/ (box-loss, objectness, assignment, blog, full) or a YAML file."""
    out: Path | None = None
    """Folder of the study; by default runs/ablate-NAME. With --launcher ray every machine must see it under this
    path, and the data, too."""
    seeds: int = 5
    """Runs of each variant, with the seeds 0, 1, ...; below 5 no difference is called one."""
    jobs: int | None = None
    """Runs at once; by default one on a CPU, one for each GPU. A Ray cluster that is there decides by itself."""
    threads: int | None = None
    """Cores of each run; by default all, divided by the runs at once."""
    launcher: Literal["local", "ray"] = "local"
    """Who starts the runs: this process, or Ray, on the cluster of RAY_ADDRESS or else one that it makes here."""
    dry: bool = False
    """Print the commands and their number; start nothing and write nothing."""
    train: Suppress[tuple[str, ...]] = ()
    """The words behind `--`."""

    def __post_init__(self) -> None:
        least = {"seeds": self.seeds, "jobs": self.jobs, "threads": self.threads}
        for name, value in least.items():
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: expected at least 1")
        if self.seeds > PILOT_SEED:
            raise ValueError(f"seeds={self.seeds}: expected at most {PILOT_SEED:,}")


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Why each object of one image was found or missed, and what its false detections are: as text, json, a drawing.

    For every object: which scale, anchor and cell answer for it under each assignment, what the network says there, and
    the one reason.
    """

    image: Annotated[Positional[str | None], arg(metavar="IMAGE")] = None
    """An image of the data set, by path or file name."""
    image_id: int | None = None
    """In place of the image: its id in the annotations."""
    data: Path
    """COCO json file, data.yaml, darknet .data file, or a folder with COCO, VOC or YOLO annotations."""
    weights: Path
    """.weights, .safetensors or the folder of a run."""
    split: str | None = None
    """Of the data: its name or the beginning of it; by default the image is looked for in all."""
    cfg: Path | None = None
    """Darknet .cfg of a .weights file."""
    names: Path | None = None
    """.names file of the model, one class per line; by default what the weights say, else COCO's for 80 classes."""
    size: str | None = None
    """Network input in pixels, N or WIDTHxHEIGHT; by default the cfg's."""
    placement: Literal["letterbox", "stretch"] | None = None
    """Keep the proportions of an image (grey bars), or stretch it to the network's input; by default what the weights
    were trained with, else letterbox."""
    conf: float = Filter().confidence
    """Objectness, and objectness times class score, must exceed this."""
    iou: float = Filter().nms
    """NMS: a box is dropped if it overlaps a better one of its class by more than this."""
    match_iou: float = 0.5
    """A detection finds an object of its class if their IoU reaches this."""
    assign: Literal["ratio", "prediction", "prior"] | None = None
    """The assignment that the network was trained with, which decides who lost a collision and what no anchor fits; by
    default what the run says, else prior, YOLOv3's own."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; by default a GPU if there is one."""
    out: Path = Path("runs/explain")
    """Folder for explain.json and the drawing, NAME.png."""

    def __post_init__(self) -> None:
        if (self.image is None) == (self.image_id is None):
            raise ValueError(f"give either an IMAGE or --image-id; got {'none' if self.image is None else 'both'}")
        if not 0 < self.match_iou <= 1:
            raise ValueError(f"match_iou={self.match_iou}: expected an IoU above 0 and up to 1")


@dataclass(frozen=True, kw_only=True)
class PlotLr:
    """Draws the learning rate of the four schedules and prints a few of its values.

    The chosen schedule has the given settings; the others start, rise and peak alike, so that they can be compared.
    """

    schedule: Annotated[Schedule, arg(name="")] = field(default_factory=Schedule)
    """The one that is asked for."""
    total_steps: int = 3330
    """Steps of the optimizer: epochs times batches, divided by the batches of an accumulation."""
    out: Path = Path("runs/plot-lr/schedules.png")
    """The image."""

    def __post_init__(self) -> None:
        if self.total_steps < 2:
            raise ValueError(f"total_steps={self.total_steps}: expected at least 2, or there is nothing to draw")
