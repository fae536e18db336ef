"""Options of making anchors for a data set. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from yolo.options.bounds import Checked, MaxPixels, MaybeCount
from yolo.options.commands import HOLDOUT
from yolo.pixels import MAX_PIXELS


@dataclass(frozen=True, kw_only=True)
class Anchors(Checked):
    """Make anchors for a data set by k-means with 1 - IoU, measure on held-out images what they gain, write a cfg.

    The new cfg has the smallest anchors at the head with the smallest stride, and their number in `num` and `filters`;
    comments are not kept. What training learned with other anchors does not fit new ones at once: see the gain first.
    """

    data: Path
    """Folder with COCO, VOC or YOLO annotations in the layout of any exporter, COCO json file, csv file of boxes,
    data.yaml, or darknet .data file."""
    cfg: Path = Path("yolov3.cfg")
    """Darknet .cfg: the network input, the heads, and the anchors to compare with."""
    clusters: MaybeCount = None
    """Number of anchors for all heads together; by default as many as the cfg has."""
    out: Path | None = None
    """The cfg to write; by default anchors are only printed."""
    force: bool = False
    """Replace an existing file."""
    size: str | None = None
    """Network input in pixels, N or WIDTHxHEIGHT; by default the cfg's. The new cfg has it."""
    placement: Literal["letterbox", "stretch"] = "letterbox"
    """How training will place the images in the input: `train` letterboxes, darknet and its calc_anchors stretch unless
    the cfg says letter_box=1."""
    split: str = "train"
    """Split that the anchors are made for."""
    val: Path | None = None
    """Another folder or file, which holds the split `val`, on which they are measured."""
    holdout: Annotated[float, HOLDOUT] = 0.2
    """Share of the images that is held out to measure on where the data has no validation split, as in `train`."""
    data_format: Literal["coco", "voc", "yolo"] | None = None
    """Format of the annotations; by default it follows from the path, COCO before VOC before YOLO."""
    bad: Literal["error", "skip"] = "error"
    """What to do about faults in annotations and damaged images: stop, or list them and leave out their images."""
    seed: int = 0
    """Seed of the starts of the k-means."""
    max_pixels: MaxPixels = MAX_PIXELS
    darknet: bool = False
    """Take the mean of an anchor's boxes, as darknet's calc_anchors does; by default the median, which fits better."""
