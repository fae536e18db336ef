"""What belongs to one split of a data set, and where it lies: the same for every format. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

Format = Literal["coco", "voc", "yolo", "csv", "masks"]


class Place(NamedTuple):
    """Labels and images that belong together. A split has one, or several that are read one after the other."""

    images: tuple[Path, ...]
    """Folders of images: the first that holds the images counts. For YOLO one folder, or a list of images."""
    labels: Path | None = None
    """COCO, csv: the file. VOC: the folder of xml files. Masks: their folder. YOLO: None, text files are found by the
    images' paths."""
    listing: Path | None = None
    """A list of the images of the split; without it all labels belong to the split."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One split of a data set."""

    format: Format
    layout: str
    """Name of the layout, for messages."""
    split: str
    """Its name as found on the disk."""
    root: Path
    """The folder of the data set: files that are not where a path says are looked for below it."""
    source: Path
    """The file or folder that names the split, for messages."""
    places: tuple[Place, ...]
    every: tuple[Path, ...] = ()
    """The labels of all splits: the classes are those of all of them."""
    names: tuple[str, ...] | None = None
    """Class names that lie beside the data, for a format whose labels are numbers."""
    notes: tuple[str, ...] = ()
    """What is worth saying about the place of the data, one per line."""
    allow_empty: bool = False
    """Whether images without labels are meant, although files elsewhere look like their labels."""
    holdout: float = 0.0
    """The share of the images that is held out of an undivided set; 0 for a split that is not divided."""
    held: bool = False
    """Whether this is the part that is held out."""
