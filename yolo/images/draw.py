"""Boxes on images: readable at any size, one stable colour per class."""

from __future__ import annotations

import colorsys
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from yolo.boxes import Detections

GOLDEN_RATIO = 0.618033988749895


def colour(label: int) -> tuple[int, int, int]:
    """RGB of a class: hues spread by the golden ratio, so that near indices differ and a class keeps its colour."""
    hue = (label * GOLDEN_RATIO + 0.33) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, (0.95, 0.75)[label // 7 % 2])
    return round(red * 255), round(green * 255), round(blue * 255)


def draw(image: np.ndarray, detections: Detections, names: Sequence[str], *, scores: bool = True) -> np.ndarray:
    """A copy of a uint8 RGB (or one-channel) image `[h, w, C]` with boxes, names and (if wanted) scores; `[h, w, 3]`.

    Lines and letters grow with the image. The best boxes are drawn last, on top; a label stands above its box, or
    inside where the image ends or another label is in the way.
    """
    canvas = Image.fromarray(np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3))))
    pen = ImageDraw.Draw(canvas)
    side = (image.shape[0] * image.shape[1]) ** 0.5
    line, font = max(1, round(side / 300)), lettering(max(9, round(side / 45)))
    tags: list[Tag] = []
    for box, score, label in zip(
        detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True
    ):
        corners = corners_of(box, canvas.size)
        text = f"{names[label]} {score:.2f}" if scores else names[label]
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        size = int(right - left) + 2 * line + 2, int(bottom - top) + 2 * line + 2
        place = free_place(corners, size, canvas.size, tags)
        tags.append(Tag(corners, place, size, (left, top), text, colour(label)))
    for tag in reversed(tags):  # the best on top
        pen.rectangle(tag.corners, outline=tag.rgb, width=line)
        x, y = tag.place
        pen.rectangle((x, y, x + tag.size[0] - 1, y + tag.size[1] - 1), fill=tag.rgb)
        bright = 0.299 * tag.rgb[0] + 0.587 * tag.rgb[1] + 0.114 * tag.rgb[2] > 140
        ink = (0, 0, 0) if bright else (255, 255, 255)
        pen.text((x + line + 1 - tag.origin[0], y + line + 1 - tag.origin[1]), tag.text, fill=ink, font=font)
    return np.asarray(canvas)


class Tag(NamedTuple):
    """A box (pixels left, top, right, bottom) and its label: left top corner and size in pixels, text, colour."""

    corners: tuple[int, int, int, int]
    place: tuple[int, int]
    size: tuple[int, int]
    origin: tuple[float, float]
    text: str
    rgb: tuple[int, int, int]


def free_place(
    corners: tuple[int, int, int, int], size: tuple[int, int], image: tuple[int, int], tags: Sequence[Tag]
) -> tuple[int, int]:
    """Where a label hides none of the earlier ones: above the box, inside it at the top, further down; else above."""
    x = max(0, min(corners[0], image[0] - size[0]))
    tries = [corners[1] - size[1] + 1, *range(corners[1], min(corners[3], image[1] - size[1]), size[1])]
    places = [(x, y) for y in tries if y >= 0] or [(x, max(0, min(corners[1], image[1] - size[1])))]
    return next((place for place in places if not any(_meet(place, size, tag) for tag in tags)), places[0])


def _meet(place: tuple[int, int], size: tuple[int, int], tag: Tag) -> bool:
    return all(place[k] < tag.place[k] + tag.size[k] and tag.place[k] < place[k] + size[k] for k in (0, 1))


def corners_of(box: Sequence[float], image: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box as pixel indices inside the image, wherever it lies, finite or not."""
    x1, y1, x2, y2 = (_clip(value, image[k % 2]) for k, value in enumerate(box))
    return x1, y1, max(x1, x2), max(y1, y2)


def _clip(value: float, end: int) -> int:
    """A coordinate as a pixel index inside the image; boxes may be far outside, or not finite."""
    return int(min(max(value, 0), end - 1)) if value == value else 0


@cache
def lettering(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and knows most alphabets. Found without importing matplotlib."""
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(folder / "DejaVuSans.ttf", size)
