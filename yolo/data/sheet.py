"""Contact sheets: images of a data set with their boxes, letterboxed as the network sees them.

Letters: `h, w` height and width of a tile, which is the network input, in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw

from yolo.boxes import Detections
from yolo.data.sample import DataSet, Sample
from yolo.images.draw import LONGEST, draw, drawable, lettering
from yolo.images.placement import Placement
from yolo.images.resize import place
from yolo.size import Size

PAPER, INK = (255, 255, 255), (30, 30, 30)

GAP = 12  # pixels between tiles

CAPTION = 22  # pixels of height below a tile

TITLE = 40


def spread(images: int, count: int) -> list[int]:
    """Return `count` indices that are evenly spread over the images, in order; all of them if there are fewer."""
    count = min(images, count)
    return [k * images // count for k in range(count)]


def contact_sheet(data: DataSet, chosen: Sequence[int], size: Size, title: str = "") -> np.ndarray:
    """Return a sheet of the `chosen` images in rows, uint8 RGB `[height, width, 3]`.

    Args:
        data: any data set; one that yields augmented samples shows what augmentation makes of the images.
        chosen: indices of images.
        size: network input, which is the size of a tile.
        title: text above the tiles.

    The tile of an image that cannot be read is empty, its caption is the error.
    """
    tiles = []
    for k in chosen:
        try:
            tiles.append(Tile(tile(data.sample(k), data.names, size), data.path(k).name))
        except (OSError, ValueError) as problem:
            tiles.append(Tile(None, str(problem)))
    return sheet(tiles, size, title)


class Tile(NamedTuple):
    """An image on a sheet, uint8 RGB `[h, w, 3]`, or None where it cannot be read, and the text below it."""

    image: np.ndarray | None
    caption: str


def sheet(tiles: Sequence[Tile], size: Size, title: str = "") -> np.ndarray:
    """Return tiles of `size` in rows below a title, uint8 RGB `[height, width, 3]`."""
    # About one and a half times as wide as high.
    h, w = size
    columns = max(1, min(len(tiles), round(math.sqrt(len(tiles) * 1.5 * h / w))))
    rows = math.ceil(len(tiles) / columns)
    paper = Image.new("RGB", (GAP + columns * (w + GAP), TITLE + rows * (h + CAPTION + GAP)), PAPER)
    pen = ImageDraw.Draw(paper)
    pen.text((GAP, TITLE // 2), drawable(title), fill=INK, font=lettering(20), anchor="lm")
    for n, (image, caption) in enumerate(tiles):
        x, y = GAP + n % columns * (w + GAP), TITLE + n // columns * (h + CAPTION + GAP)
        paper.paste(Image.fromarray(np.full((h, w, 3), 220, np.uint8) if image is None else image), (x, y))
        pen.text((x, y + h + CAPTION // 2), _fitting(caption, w), fill=INK, font=lettering(13), anchor="lm")
    return np.asarray(paper)


def tile(sample: Sample, names: Sequence[str], size: Size, *, letterbox: bool = True) -> np.ndarray:
    """Return a sample placed in `size` with its boxes, uint8 RGB `[h, w, 3]`. Crowds are labelled as such."""
    image, target = sample
    pixels = image.permute(1, 2, 0).numpy()
    placement = Placement.of(Size.of(pixels), size, letterbox=letterbox)
    labels = target["labels"] + len(names) * target["iscrowd"]
    order = target["area"].argsort(stable=True)  # the smallest boxes are drawn on top
    boxes = placement.to_input(target["boxes"])
    found = Detections(boxes[order], torch.ones(len(boxes)), labels[order])
    return draw(place(pixels, placement), found, [*names, *(f"{name} (crowd)" for name in names)], scores=False)


def _fitting(text: str, width: int) -> str:
    """Return the longest end of a text that fits into `width` pixels, after an ellipsis where it is cut."""
    text = drawable(text[-LONGEST:])
    while lettering(13).getlength(text) > width:
        text = "…" + text[2:]
    return text
