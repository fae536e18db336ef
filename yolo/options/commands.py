"""The options of all commands but `train` and `ablate`. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from yolo.options.aliases import spellings
from yolo.options.bounds import Bound, Checked, Count, FromZero, MaxPixels
from yolo.options.detection import EVALUATION, Filter, ModelFiles
from yolo.options.schedule import Schedule
from yolo.pixels import MAX_PIXELS

HOLDOUT = Bound("a share above 0, below 1", above=0, below=1)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Print what a cfg describes: its layers, shapes, parameters and operations; with weights, whether they fit.

    Only weights take memory; layers are not allocated. Several cfgs, or a folder, are printed as one line each.
    """

    cfgs: Annotated[Positional[tuple[Path, ...]], arg(metavar="CFG")] = (Path("yolov3.cfg"),)
    """Darknet .cfg files, folders of them, or names of shipped ones (yolov3.cfg, toy.cfg, ...). Also a .weights file
    with its cfg beside it, a .safetensors or .onnx file, the folder of a run, or the name of a published model."""
    weights: Path | None = None
    """A weights file for a single cfg: prints what is loaded and what is not."""
    size: str | None = None
    """Network input in pixels, N or WIDTHxHEIGHT; by default the cfg's."""


@dataclass(frozen=True, kw_only=True)
class Detect:
    """Find objects in images, videos and camera streams: draw them, print a line for each, write result files.

    A video has a line each second, and one at its end. Cameras and live streams are detected at the newest frame; those
    that come meanwhile are skipped. Ctrl-C ends them, and the results up to there are kept.

    Without --weights and --cfg the newest trained run is used, or yolov3 if there is no run. With --cfg alone its
    official weights are used. Official weights are downloaded once.
    """

    sources: Annotated[Positional[tuple[str, ...]], arg(metavar="IMAGE")]
    """Image or video files, folders, globs in quotes, camera numbers, stream URLs."""
    recursive: bool = False
    """Take the images in subfolders of a folder too."""
    model: ModelFiles = field(default_factory=ModelFiles)
    filter: Annotated[Filter, arg(name="")] = field(default_factory=Filter)
    exact: bool = False
    """Use darknet's own resize in float32, and do not clip boxes to the image: darknet's numbers, slower."""
    classes: str | None = None
    """Detect only these classes, by name, separated by commas."""
    out: Path | None = None
    """Folder for the drawn images and the result files: new, empty, or that of an earlier call, whose results are
    replaced. By default a new one: runs/detect, runs/detect-2, ..."""
    json: bool = False
    """Write detections.json."""
    json_format: Literal["coco", "darknet"] | None = None
    """Format of detections.json, which it writes: COCO's results (the default), or darknet's `-out result.json`."""
    txt: bool = False
    """Write a data set to train on: data.yaml, images/NAME.jpg (images/NAME/17.jpg for frame 17) and
    labels/NAME.txt, lines of class cx cy w h in fractions of the image. Then: python -m yolo train --data OUT"""
    txt_score: bool = False
    """Write it with the score as a sixth column of the labels."""
    csv: bool = False
    """Write detections.csv."""
    crops: bool = False
    """Write crops/CLASS/NAME-N.png: every object as an image of its own."""
    draw: bool = True
    """Draw the detections; without it the result files and the lines are all."""
    batch_size: Annotated[Count, arg(aliases=spellings("batch_size"))] = 1
    """Images that the network sees at once. More is faster on a GPU, and on a CPU for light networks (docs/results.md),
    and may change the last digits of a result."""
    quiet: bool = False
    """Print nothing but errors, so that a job of cron sends a mail only if something is wrong."""
    max_pixels: MaxPixels = MAX_PIXELS


@dataclass(frozen=True, kw_only=True)
class ShowData(Checked):
    """Show what a data set holds and what the network will see of it: classes, box sizes, faults, a sheet of images."""

    path: Positional[Path]
    """Folder with COCO, VOC or YOLO annotations in the layout of any exporter, COCO json file, csv file of boxes,
    data.yaml, or darknet .data file."""
    split: str | None = None
    """A split, by its name or the beginning of it; by default all, one after the other."""
    val: Path | None = None
    """Another folder or file, which holds the split `val`."""
    holdout: Annotated[float | None, HOLDOUT] = None
    """Divide data without validation split as `train` does: `--split val` is this share of the images, `--split train`
    the rest."""
    data_format: Literal["coco", "voc", "yolo"] | None = None
    """Format of the annotations; by default it follows from the path, COCO before VOC before YOLO."""
    cfg: Path = Path("yolov3.cfg")
    """Darknet .cfg: the network input, and the anchors that the boxes are compared with."""
    size: str | None = None
    """Network input in pixels, N or WIDTHxHEIGHT; by default the cfg's."""
    placement: Literal["letterbox", "stretch"] = "letterbox"
    """How training will place the images in the network input."""
    names: Path | None = None
    """.names file, one class per line, that the labels refer to; by default the names in the data."""
    classes: str | None = None
    """Show only these classes, by name, separated by commas."""
    limit: int | None = None
    """Use only the first N images of a split."""
    bad: Literal["error", "skip"] = "skip"
    """What to do about faults in annotations and damaged images: list them and leave out their images, or stop."""
    fraction: float | None = None
    """Use a random part of the images, in (0, 1]."""
    seed: int = 0
    """Seed of the random part, and of the augmentation on the second sheet."""
    max_pixels: MaxPixels = MAX_PIXELS
    images: Annotated[int, Bound("at least 1 on the sheet", low=1), arg(aliases=spellings("images"))] = 12
    """Number of images on the sheet, spread evenly over the split."""
    out: Path = Path("runs/data")
    """Folder for the sheets, NAME-SPLIT.png and NAME-SPLIT-augmented.png."""
    csv: Path | None = None
    """A new csv file for the boxes, a row per object: file,class,x1,y1,x2,y2. FILE-SPLIT.csv if there are several
    splits. It is a data set too: --data FILE.csv."""


@dataclass(frozen=True, kw_only=True)
class Doctor(Checked):
    """Say what is wrong with a data set and what looks wrong, by file and line, with sheets of the images.

    Faults, one image in several splits, copies with other labels, odd boxes and classes. With --weights also labels
    and confident detections that contradict each other: the likeliest label errors. It changes nothing. The exit status
    is 1 if something must be mended, 0 if there are suspicions only.
    """

    path: Positional[Path]
    """COCO json file, csv file of boxes, data.yaml, darknet .data file, or a folder in COCO, VOC or YOLO format."""
    split: str | None = None
    """A split, by its name or the beginning of it; by default all, compared with each other."""
    data_format: Literal["coco", "voc", "yolo"] | None = None
    """Format of the annotations; by default it follows from the path, COCO before VOC before YOLO."""
    model: ModelFiles = field(default_factory=ModelFiles)
    batch_size: Count = 16
    """Images per batch of the model."""
    max_pixels: MaxPixels = MAX_PIXELS
    out: Path = Path("runs/doctor")
    """Folder for doctor.json, doctor.html and the sheets."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(Checked):
    """Compute COCO's metrics, and what explains them, of a results file or of a model on a data set.

    Give --results and --annotations, or --weights and --data; the weights of a run alone are evaluated on the images
    that the run was evaluated on. The thresholds are those of the evaluation during training: confidence 0.001,
    NMS 0.6, at most 100 detections per image (COCO counts 100 of each class).
    """

    results: Path | None = None
    """Results file in COCO's json format; images and classes are matched by name where its rows have names. Give
    --names if its category_id counts the lines of a .names file from 0."""
    annotations: Path | None = None
    """Annotation file in COCO's json format, for --results."""
    data: Path | None = None
    """Data set, for --weights: a folder with COCO, VOC or YOLO annotations in the layout of any exporter, COCO json
    file, csv file of boxes, data.yaml, or darknet .data file."""
    split: str | None = None
    """Split of the data: its name or the beginning of it, such as val for val2017."""
    val: Path | None = None
    """Another folder or file, which holds the split `val`."""
    holdout: Annotated[float | None, HOLDOUT] = None
    """Divide data without validation split as `train` does: `--split val` is this share of the images, `--split train`
    the rest."""
    data_format: Literal["coco", "voc", "yolo"] | None = None
    """Format of the annotations; by default it follows from the path, COCO before VOC before YOLO."""
    limit: int | None = None
    """Use only the first N images."""
    bad: Literal["error", "skip"] | None = None
    """What to do about faults in annotations and damaged images: stop, or list them and leave out their images. By
    default as in the run that the weights belong to, else stop."""
    allow_empty: bool = False
    """Accept data without objects, where AP is n/a; by default if the run that the weights belong to did."""
    model: ModelFiles = field(default_factory=ModelFiles)
    filter: Annotated[Filter, arg(name="")] = EVALUATION
    batch_size: Count = 16
    """Images per batch."""
    out: Path = Path("runs/eval")
    """Folder for metrics.json, per_class.csv and the plots."""
    matrix_conf: float = Filter().confidence
    """Confidence above which detections count in the confusion matrix and in darknet's counts."""
    resamples: FromZero = 1000
    """Number of bootstrap resamples of the images for the 95 % intervals; 0 leaves them out."""
    pycocotools: bool = False
    """Run pycocotools as well and print the largest difference."""
    max_pixels: MaxPixels = MAX_PIXELS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.results is not None and (self.bad or self.allow_empty):
            raise ValueError("--bad and --allow-empty are about the images of --data; leave them out with --results")
        values = {name: getattr(self, name) for name in ("results", "annotations", "data")}
        given = {name for name, value in {**values, "weights": self.model.weights}.items() if value is not None}
        run = given == {"weights"} and self.model.weights is not None and self.model.weights.suffix != ".weights"
        if not run and given not in ({"results", "annotations"}, {"weights", "data"}):
            raise ValueError(
                "give either --results FILE and --annotations FILE, or --weights FILE and --data PATH, or a run alone, "
                "as --weights RUN; "
                f"got {', '.join(f'--{name}' for name in sorted(given)) or 'none of them'}"
            )
        names = ("split", "data_format", "limit", "val", "holdout", "bad")
        others = [name for name in names if getattr(self, name) is not None]
        if run and others:
            raise ValueError(f"{', '.join(others)} without effect: a run has its own data; give --data PATH as well")


@dataclass(frozen=True, kw_only=True)
class Get:
    """Download official weights into the cache, or a data set into data/, and print where it is.

    Complete files are not downloaded again; after a failure the same command resumes. `shapes`, `singles` and
    `pedestrians` are drawn, not downloaded.
    """

    kind: Positional[Literal["weights", "shapes", "singles", "pedestrians", "coco", "voc", "bccd", "penn-fudan"]]
    """What to get."""
    names: Positional[tuple[str, ...]] = ()
    """Names of weights, such as yolov3-tiny; a wrong name prints them all."""
    split: str | None = None
    """coco: val2017 (the default) or train2017. voc: trainval2007, test2007 or trainval2012; by default all three."""
    images: int | None = None
    """Get only the first N images of coco; by default all. singles: N images to train on (by default 1,000) and 0.4 N
    to validate on. pedestrians: N images in all, by default 200."""
    difficulty: Literal["big", "medium", "hard"] | None = None
    """singles: size and place of the one object of every image; by default big, near the middle."""
    seed: int | None = None
    """singles, pedestrians: seed of the drawing; by default 0."""
    out: Path | None = None
    """Folder of the data set; by default the folder with its name in data/."""
    mirror: str | None = None
    """Server to use in place of the official one: an address to which the official path is added, http://host/a."""


@dataclass(frozen=True, kw_only=True)
class Explain(Checked):
    """Explain why each object of one image was found or missed, and what its false detections are: text, json, drawing.

    For every object: the scale, anchor and cell that are responsible under each assignment, the network's output there,
    and the reason.
    """

    image: Annotated[Positional[str | None], arg(metavar="IMAGE")] = None
    """An image of the data set, by path or file name."""
    image_id: int | None = None
    """The image's id in the annotations, in place of IMAGE."""
    data: Path
    """Folder with COCO, VOC or YOLO annotations in the layout of any exporter, COCO json file, csv file of boxes,
    data.yaml, or darknet .data file."""
    split: str | None = None
    """Split of the data: its name or the beginning of it; by default the image is searched in all splits."""
    bad: Literal["error", "skip"] | None = None
    """What to do about faults in annotations and damaged images: stop, or list them and leave out their images. By
    default as in the run that the weights belong to, else stop."""
    val: Path | None = None
    """Another folder or file, which holds the split `val`."""
    holdout: Annotated[float | None, HOLDOUT] = None
    """Divide data without validation split as `train` does: `--split val` is this share of the images, `--split train`
    the rest."""
    model: ModelFiles = field(default_factory=ModelFiles)
    filter: Annotated[Filter, arg(name="")] = field(default_factory=Filter)
    match_iou: Annotated[float, Bound("an IoU above 0 and up to 1", above=0, high=1)] = 0.5
    """IoU from which a detection of an object's class counts as finding it."""
    assign: Literal["ratio", "prediction", "prior"] | None = None
    """The assignment that the network was trained with; it decides which objects lost a collision and which no anchor
    fits. By default the run's own, else prior, YOLOv3's."""
    out: Path = Path("runs/explain")
    """Folder for explain.json and the drawing, NAME.png."""
    max_pixels: MaxPixels = MAX_PIXELS

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.image is None) == (self.image_id is None):
            raise ValueError(f"give either an IMAGE or --image-id; got {'none' if self.image is None else 'both'}")
        if self.model.weights is None:
            raise ValueError("give --weights: a .weights or .safetensors file, or the folder of a run")


@dataclass(frozen=True, kw_only=True)
class PlotLr(Checked):
    """Draw the learning rate of all schedules and print a few of its values.

    The chosen schedule has the given settings; the others start, rise and peak like it, so that they can be compared.
    """

    schedule: Annotated[Schedule, arg(name="")] = field(default_factory=Schedule)
    """The chosen schedule."""
    total_steps: Annotated[int, Bound("at least 2, or there is nothing to draw", low=2)] = 3330
    """Optimizer steps of the training: epochs times batches, divided by `accumulate`."""
    epoch_steps: Count = 111
    """Optimizer steps of an epoch, for the schedule `step`."""
    out: Path = Path("runs/plot-lr/schedules.png")
    """The drawing to write."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Print what a shell needs to complete verbs and options of the command `exact-yolov3`, which pip installs.

    For bash: eval "$(exact-yolov3 completion bash)", in ~/.bashrc as well.
    """

    shell: Positional[Literal["bash", "zsh"]]
    """The shell."""
