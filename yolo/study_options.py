"""Options of what takes the loss apart: studies of variants, explanations of pictures. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, Suppress, arg

from yolo.options import Filter

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
    """Why each object of one picture was found or missed, and what its false detections are: as text, json, a drawing.

    For every object: which scale, anchor and cell answer for it under each assignment, what the network says there, and
    the one reason.
    """

    picture: Annotated[Positional[str | None], arg(metavar="PICTURE")] = None
    """A picture of the data set, by path or file name."""
    image_id: int | None = None
    """In place of the picture: its id in the annotations."""
    data: Path
    """COCO json file, data.yaml, darknet .data file, or a folder with COCO, VOC or YOLO annotations."""
    weights: Path
    """.weights, .safetensors or the folder of a run."""
    split: str | None = None
    """Of the data: its name or the beginning of it; by default the picture is looked for in all."""
    cfg: Path | None = None
    """Darknet .cfg of a .weights file."""
    names: Path | None = None
    """.names file of the model, one class per line; by default what the weights say, else COCO's for 80 classes."""
    size: str | None = None
    """Network input in pixels, N or WIDTHxHEIGHT; by default the cfg's."""
    placement: Literal["letterbox", "stretch"] | None = None
    """Keep the proportions of a picture (grey bars), or stretch it to the network's input; by default what the weights
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
        if (self.picture is None) == (self.image_id is None):
            raise ValueError(f"give either a PICTURE or --image-id; got {'none' if self.picture is None else 'both'}")
        if not 0 < self.match_iou <= 1:
            raise ValueError(f"match_iou={self.match_iou}: expected an IoU above 0 and up to 1")
