"""A sheet of suspicious images: what is odd is framed in strong colours, the other labels are thin and grey.

Letters: `h, w` height and width of a tile in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from yolo.boxes import Detections
from yolo.data.sheet import Tile, sheet
from yolo.doctor.finding import Finding, Shown
from yolo.doctor.opened import Part
from yolo.images.draw import draw
from yolo.images.files import read_image
from yolo.images.placement import Placement
from yolo.images.resize import place
from yolo.size import Size

TILE = Size(320, 320)

OTHERS = 0.35  # how much of the image outside of what is odd is mixed with grey


def finding_sheet(findings: Sequence[Finding], parts: Mapping[str, Part], title: str, limit: int) -> np.ndarray | None:
    """Return a sheet of the first images that findings show, uint8 RGB `[height, width, 3]`; None if they show none."""
    shown = [(shown, finding) for finding in findings for shown in finding.shown][:limit]
    tiles = [_tile(image, parts[image.split]) for image, _ in shown]
    return sheet(tiles, TILE, title) if tiles else None


def _tile(shown: Shown, part: Part) -> Tile:
    """Return a letterboxed image with the boxes concerned, or the error for one that cannot be read."""
    path = part.data.path(shown.image)
    try:
        pixels = read_image(path)
    except (OSError, ValueError) as problem:
        return Tile(None, str(problem))
    placement = Placement.letterbox(Size.of(pixels), TILE)
    objects = [(part.box(n), part.label(n)) for n in shown.objects]
    rows = [*objects, *((box, f"model: {words}") for box, words in shown.boxes)]
    image = place(pixels, placement)
    if not rows:
        return Tile(image, f"{part.name}: {path.name}")
    boxes = placement.to_input(torch.tensor([box for box, _ in rows], dtype=torch.float32))
    faded = np.asarray(Image.blend(Image.fromarray(image), Image.new("RGB", TILE.wh, (128, 128, 128)), OTHERS)).copy()
    for x1, y1, x2, y2 in boxes.round().long().clamp(min=0).tolist():
        faded[y1 : y2 + 1, x1 : x2 + 1] = image[y1 : y2 + 1, x1 : x2 + 1]
    found = Detections(boxes, torch.ones(len(rows)), torch.arange(len(rows)))
    return Tile(draw(faded, found, [words for _, words in rows], scores=False), f"{part.name}: {path.name}")
