"""Boxes drawn on images: readable at any size, one fixed colour per class."""

from __future__ import annotations

import colorsys
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib.metadata import distribution
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from yolo.boxes import Detections

LONGEST = 200
"""Letters of a text that are drawn at most."""

GOLDEN_RATIO = 0.618033988749895


def colour(label: int) -> tuple[int, int, int]:
    """Return the RGB colour of a class. Hues are spread by the golden ratio, so near indices differ."""
    hue = (label * GOLDEN_RATIO + 0.33) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, (0.95, 0.75)[label // 7 % 2])
    return round(red * 255), round(green * 255), round(blue * 255)


def draw(image: np.ndarray, detections: Detections, names: Sequence[str], *, scores: bool = True) -> np.ndarray:
    """Return a copy `[h, w, 3]` of a uint8 RGB or one-channel image `[h, w, C]` with boxes, names and perhaps scores.

    Lines and letters grow with the image. The best boxes are drawn last, on top. A label is above its box, or inside it
    if the image ends there or another label is in the way.
    """
    canvas = Image.fromarray(np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3))))
    pen = ImageDraw.Draw(canvas)
    side = (image.shape[0] * image.shape[1]) ** 0.5
    line, font = max(1, round(side / 300)), lettering(max(9, round(side / 45)))
    # Labels are placed by descending score, so the best get the best places.
    tags: list[Tag] = []
    rows = zip(detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)
    for box, score, label in rows:
        corners = corners_of(box, canvas.size)
        text = drawable(names[label]) + (f" {score:.2f}" if scores else "")
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        size = int(right - left) + 2 * line + 2, int(bottom - top) + 2 * line + 2
        place = free_place(corners, size, canvas.size, tags)
        tags.append(Tag(corners, place, size, (left, top), text, colour(label)))
    # They are drawn by ascending score, so the best are on top.
    for tag in reversed(tags):
        pen.rectangle(tag.corners, outline=tag.rgb, width=line)
        x, y = tag.place
        pen.rectangle((x, y, x + tag.size[0] - 1, y + tag.size[1] - 1), fill=tag.rgb)
        # Black letters on bright colours, white ones on dark colours.
        bright = 0.299 * tag.rgb[0] + 0.587 * tag.rgb[1] + 0.114 * tag.rgb[2] > 140
        ink = (0, 0, 0) if bright else (255, 255, 255)
        pen.text((x + line + 1 - tag.origin[0], y + line + 1 - tag.origin[1]), tag.text, fill=ink, font=font)
    return np.asarray(canvas)


class Tag(NamedTuple):
    """A box and its label.

    `corners` are left, top, right and bottom of the box, `place` the left top corner of the label and `size` its width
    and height, all in pixels. `origin` is where Pillow starts the `text` within its own bounding box.
    """

    corners: tuple[int, int, int, int]
    place: tuple[int, int]
    size: tuple[int, int]
    origin: tuple[float, float]
    text: str
    rgb: tuple[int, int, int]


def free_place(
    corners: tuple[int, int, int, int], size: tuple[int, int], image: tuple[int, int], tags: Sequence[Tag]
) -> tuple[int, int]:
    """Return the place of a label that hides no earlier one: above the box, or inside it from the top down."""
    x = max(0, min(corners[0], image[0] - size[0]))
    tries = [corners[1] - size[1] + 1, *range(corners[1], min(corners[3], image[1] - size[1]), size[1])]
    places = [(x, y) for y in tries if y >= 0] or [(x, max(0, min(corners[1], image[1] - size[1])))]
    return next((place for place in places if not any(_meet(place, size, tag) for tag in tags)), places[0])


def _meet(place: tuple[int, int], size: tuple[int, int], tag: Tag) -> bool:
    """Return whether a label at `place` overlaps the label of `tag`."""
    return all(place[k] < tag.place[k] + tag.size[k] and tag.place[k] < place[k] + size[k] for k in (0, 1))


def corners_of(box: Sequence[float], image: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a box xyxy as pixel indices inside the image (width, height), wherever it is, finite or not."""
    x1, y1, x2, y2 = (_clip(value, image[k % 2]) for k, value in enumerate(box))
    return x1, y1, max(x1, x2), max(y1, y2)


def _clip(value: float, end: int) -> int:
    """Return a coordinate as a pixel index from 0 to `end` - 1; 0 for NaN."""
    return int(min(max(value, 0), end - 1)) if value == value else 0


def drawable(text: str) -> str:
    """Return a text that can be drawn on one line, with boxes for what has no shape, and an ellipsis after 200 letters.

    Pillow's layout fails at several paragraphs, control characters and surrogates, all of which names and paths may
    have. Very long names would take minutes.
    """
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    shapeless = ("Cc", "Cs", "Zl", "Zp")
    return "".join("□" if unicodedata.category(letter) in shapeless else letter for letter in text)


@cache
def lettering(size: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which has most alphabets. It comes with matplotlib, which is slow to import."""
    font = distribution("matplotlib").locate_file("matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf")
    return ImageFont.truetype(str(font), size)
