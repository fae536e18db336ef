"""An explained image, drawn twice: first what was found and missed, then what answers for each object; words below.

Letters: `G` objects, `D` detections. The numbers are those of the text: `3 dog` is object 3, `D3` detection 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from yolo.explain.text import Explained, headline
from yolo.images.draw import Tag, corners_of, free_place, lettering

PANEL, LARGEST = 1000, 1600  # pixels of the longer side of each of the two images, at least and at most

GAP, LINE, LETTER = 14, 20, 14  # pixels between parts, from line to line of text, of its letters

PAPER, INK = (255, 255, 255), (25, 25, 25)

REASON_COLOURS = {
    "found": (0, 150, 60),
    "suppressed": (230, 110, 0),
    "wrong class": (200, 0, 160),
    "badly placed": (0, 130, 220),
    "below threshold": (220, 180, 0),
    "collision": (120, 60, 200),
    "taken": (150, 90, 30),
    "no anchor": (90, 90, 90),
    "no box": (130, 0, 0),
    "never confident": (220, 20, 20),
    "set aside": (160, 160, 160),
}

RULE_COLOURS = {"ratio": (0, 110, 255), "prediction": (255, 120, 0), "prior": (210, 0, 130)}

MANY = 30  # objects and detections; labels are numbers then

RIGHT, FALSE = REASON_COLOURS["found"], (0, 0, 0)  # of detections


def draw_explanation(image: np.ndarray, explained: Explained) -> np.ndarray:
    """The drawing, uint8 RGB `[., ., 3]`, of a uint8 image `[h, w, C]`, C 1 or 3.

    Small images are enlarged so that lines and letters fit, very large ones shrunk.
    """
    h, w = image.shape[:2]
    scale = min(max(1.0, PANEL / max(h, w)), LARGEST / max(h, w))
    pixels = Image.fromarray(np.ascontiguousarray(np.broadcast_to(image, (h, w, 3))))
    pixels = pixels.resize((max(1, round(w * scale)), max(1, round(h * scale))), Image.Resampling.BICUBIC)
    panels = [_found_and_missed(pixels, explained, scale), _answers(pixels, explained, scale)]
    beside = pixels.width <= 2 * pixels.height  # a wide image goes below the other
    step = (pixels.width + GAP, 0) if beside else (0, pixels.height + GAP)
    width = max(PANEL, 2 * GAP + step[0] + pixels.width)
    rows = _words(explained, width - 2 * GAP)
    top = 2 * GAP + LINE
    below = top + step[1] + pixels.height + GAP
    sheet = Image.new("RGB", (width, below + len(rows) * LINE + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, GAP), _fitted(headline(explained), width - 2 * GAP), fill=INK, font=lettering(LETTER))
    for k, panel in enumerate(panels):
        sheet.paste(panel, (GAP + k * step[0], top + k * step[1]))
    for row, (rgb, text) in enumerate(rows):
        y = below + row * LINE
        if rgb is not None:
            pen.rectangle((GAP, y + 2, GAP + LETTER, y + 2 + LETTER), fill=rgb, outline=INK)
        pen.text((GAP + 2 * LETTER, y), text, fill=INK, font=lettering(LETTER))
    return np.asarray(sheet)


def _found_and_missed(pixels: Image.Image, explained: Explained, scale: float) -> Image.Image:
    """Objects in the colours of their reasons; detections dashed, in that of found or black."""
    panel = pixels.copy()
    pen, scene = ImageDraw.Draw(panel), explained.scene
    tags: list[Tag] = []
    few = len(scene.roles) + len(explained.reasons) <= MANY
    for d, role in enumerate(scene.roles):
        box = [side * scale for side in scene.candidates.boxes[scene.kept[d]].tolist()]
        rgb = RIGHT if role.name in ("found", "crowd") else FALSE
        corners = corners_of(box, panel.size)
        pen.rectangle(corners, outline=PAPER, width=3)
        _dashed(pen, corners, rgb)
        tags.append(_tag(pen, scene.said(d) if few else f"D{d + 1}", corners, rgb, tags, panel))
    for g, reason in enumerate(explained.reasons):
        corners = corners_of(_corners(explained, g, scale), panel.size)
        rgb = REASON_COLOURS[reason.name]
        pen.rectangle(corners, outline=rgb, width=3)
        name = f"{g + 1} {scene.names[int(scene.labels[g])]}" if few else str(g + 1)
        tags.append(_tag(pen, name, corners, rgb, tags, panel))
    _write(pen, tags)
    return panel


def _answers(pixels: Image.Image, explained: Explained, scale: float) -> Image.Image:
    """The objects on the pale image, the cells (thick) and anchors (thin) that answer for them by each rule."""
    panel = Image.blend(pixels, Image.new("RGB", pixels.size, PAPER), 0.6)
    pen, scene = ImageDraw.Draw(panel), explained.scene
    tags: list[Tag] = []
    for g, reason in enumerate(explained.reasons):
        rgb, corners = REASON_COLOURS[reason.name], corners_of(_corners(explained, g, scale), panel.size)
        pen.rectangle(corners, outline=rgb, width=2)
        tags.append(_tag(pen, str(g + 1), corners, rgb, tags, panel))
    for k, (rule, rows) in enumerate(scene.responsible.items()):
        for p in sorted({p for row in rows for p in row}):
            for boxes, line in ((explained.anchors, 1), (explained.cells, 3)):
                left, top, right, bottom = (side * scale for side in boxes[p].tolist())
                inset = k * (line + 1)  # the rules often agree; then their lines lie side by side
                if right - left > 2 * inset + 2 and bottom - top > 2 * inset + 2:
                    left, top, right, bottom = left + inset, top + inset, right - inset, bottom - inset
                pen.rectangle((left, top, right, bottom), outline=RULE_COLOURS[rule], width=line)
    _write(pen, tags)
    return panel


def _words(explained: Explained, width: int) -> list[tuple[tuple[int, int, int] | None, str]]:
    """The legend, then a line for each object and each false detection: its colour and its text."""
    scene = explained.scene
    rows: list[tuple[tuple[int, int, int] | None, str]] = [
        (
            None,
            "first image: solid: objects, in the colour of the reason; dashed: detections, green right, black false",
        ),
        (None, "second: for each object the cells (thick) and anchors (thin) that answer for it, by rule:"),
        *((RULE_COLOURS[rule], rule) for rule in scene.responsible),
    ]
    for g, reason in enumerate(explained.reasons):
        name = scene.names[int(scene.labels[g])]
        rows.append((REASON_COLOURS[reason.name], f"{g + 1} {name}: {reason.name}: {reason.text}"))
    for d, role in enumerate(scene.roles):
        if role.name not in ("found", "crowd"):
            rows.append((FALSE, f"{scene.said(d)}: {role.name}: {role.text}"))
    return [(rgb, _fitted(text, width - 2 * LETTER)) for rgb, text in rows]


def _fitted(text: str, width: int) -> str:
    """The beginning of a text, so much of it as fits into so many pixels."""
    while lettering(LETTER).getlength(text) > width:
        text = text[:-2] + "…"
    return text


def _corners(explained: Explained, g: int, scale: float) -> list[float]:
    left, top, w, h = explained.scene.boxes[g].tolist()
    return [side * scale for side in (left, top, left + w, top + h)]


def _dashed(pen: ImageDraw.ImageDraw, corners: tuple[int, int, int, int], rgb: tuple[int, int, int]) -> None:
    """Dashes of 8 pixels along a rectangle of 3 pixels' width."""
    left, top, right, bottom = corners
    for x in range(left, right + 1, 16):
        end = min(x + 7, right)
        pen.rectangle((x, top, end, min(top + 2, bottom)), fill=rgb)
        pen.rectangle((x, max(bottom - 2, top), end, bottom), fill=rgb)
    for y in range(top, bottom + 1, 16):
        end = min(y + 7, bottom)
        pen.rectangle((left, y, min(left + 2, right), end), fill=rgb)
        pen.rectangle((max(right - 2, left), y, right, end), fill=rgb)


def _tag(
    pen: ImageDraw.ImageDraw,
    text: str,
    corners: tuple[int, int, int, int],
    rgb: tuple[int, int, int],
    tags: Sequence[Tag],
    panel: Image.Image,
) -> Tag:
    """A label where it hides none of the earlier ones."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=lettering(LETTER))
    size = int(right - left) + 6, int(bottom - top) + 6
    return Tag(corners, free_place(corners, size, panel.size, tags), size, (left, top), text, rgb)


def _write(pen: ImageDraw.ImageDraw, tags: Sequence[Tag]) -> None:
    """The labels, on top of all lines."""
    for tag in tags:
        x, y = tag.place
        bright = 0.299 * tag.rgb[0] + 0.587 * tag.rgb[1] + 0.114 * tag.rgb[2] > 140
        ink = (0, 0, 0) if bright else (255, 255, 255)
        pen.rectangle((x, y, x + tag.size[0] - 1, y + tag.size[1] - 1), fill=tag.rgb, outline=ink)
        pen.text((x + 3 - tag.origin[0], y + 3 - tag.origin[1]), tag.text, fill=ink, font=lettering(LETTER))
