"""Whether a darknet model sees its images letterboxed or stretched.

The first darknet (pjreddie's) letterboxes every image. AlexeyAB's stretches unless the cfg says `letter_box=1`. A
`.weights` file does not say which of the two it was trained with, so a published file is recognised by its content.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from yolo.darknet.cfg import Cfg
from yolo.download.fetch import OfficialFile
from yolo.download.partial import Wanted
from yolo.download.weights import WEIGHTS

FIRST_DARKNET = "pjreddie.com"
"""The server of the models that were trained with the first darknet."""


class Placing(NamedTuple):
    """Whether images keep their proportions (`letterbox`), and the `reason` in words."""

    letterbox: bool
    reason: str

    def __str__(self) -> str:
        return f"images are {'letterboxed' if self.letterbox else 'stretched'}: {self.reason}"


def placing(cfg: Cfg, weights: Path | None) -> Placing:
    """Return how the model of a cfg and a `.weights` file wants its images placed.

    Published files of the first darknet are letterboxed, whatever their name and cfg. For all other files the cfg
    decides, as in AlexeyAB's darknet.
    """
    official = recognised(weights) if weights is not None else None
    if official and FIRST_DARKNET in official.urls[0]:
        return Placing(True, f"{weights} is the published {official.file}, whose darknet letterboxes")
    if cfg.net.letter_box:
        return Placing(True, f"{cfg.file} has letter_box={cfg.net.letter_box}")
    return Placing(False, f"{cfg.file} has no letter_box=1 (--placement letterbox keeps their proportions)")


def recognised(path: Path) -> OfficialFile | None:
    """Return the published file whose bytes these are, by size and checksum, or by size where none is known."""
    if not path.is_file():
        return None
    same = (file for file in WEIGHTS.values() if Wanted(file.size, file.checksum).mismatch(path) is None)
    return next(same, None)
