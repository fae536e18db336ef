"""An explained image as a drawing of two panels: what was found and missed, and which cells are responsible.

A legend and the reasons are below the panels. Letters: `G` objects, `D` detections. The numbers are those of the text:
`3 dog` is object 3, `D3` detection 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from yolo.explain.text import Explained, headline
from yolo.images.draw import Tag, corners_of, drawable, free_place, lettering

PANEL, LARGEST = 1000, 1600  # pixels of the longer side of each panel, at least and at most

GAP, LINE, LETTER = 14, 20, 14  # pixels between parts, from one line of text to the next, and of the letters

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

MANY = 30  # with more objects and detections than this, tags show numbers only

RIGHT, FALSE = REASON_COLOURS["found"], (0, 0, 0)  # of detections

Colour = tuple[int, int, int]


def draw_explanation(image: np.ndarray, explained: Explained) -> np.ndarray:
    """Return the drawing, uint8 RGB `[., ., 3]`, for a uint8 image `[h, w, C]` with 1 or 3 channels.

    Small images are enlarged so that lines and letters fit, very large ones are shrunk.
    """
    h, w = image.shape[:2]
    scale = min(max(1.0, PANEL / max(h, w)), LARGEST / max(h, w))
    pixels = Image.fromarray(np.ascontiguousarray(np.broadcast_to(image, (h, w, 3))))
    pixels = pixels.resize((max(1, round(w * scale)), max(1, round(h * scale))), Image.Resampling.BICUBIC)
    panels = [_found_and_missed(pixels, explained, scale), _responsible(pixels, explained, scale)]
    # The panels are side by side, or one above the other if the image is wide.
    beside = pixels.width <= 2 * pixels.height
    step = (pixels.width + GAP, 0) if beside else (0, pixels.height + GAP)
    width = max(PANEL, 2 * GAP + step[0] + pixels.width)
    rows = _legend(explained)
    top = 2 * GAP + LINE
    below = top + step[1] + pixels.height + GAP
    sheet = Image.new("RGB", (width, below + len(rows) * LINE + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, GAP), _fitted(headline(explained), width - 2 * GAP), fill=INK, font=lettering(LETTER))
    for k, panel in enumerate(panels):
        sheet.paste(panel, (GAP + k * step[0], top + k * step[1]))
    # Each row has a patch of its colour and its text.
    for row, (rgb, text) in enumerate(rows):
        y = below + row * LINE
        if rgb is not None:
            pen.rectangle((GAP, y + 2, GAP + LETTER, y + 2 + LETTER), fill=rgb, outline=INK)
        text = _fitted(text, width - 2 * GAP - 2 * LETTER)
        pen.text((GAP + 2 * LETTER, y), text, fill=INK, font=lettering(LETTER))
    return np.asarray(sheet)


class _Panel:
    """A copy of an image to draw on. Tags are placed so that they do not hide each other, and are drawn on top."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image.copy()
        self.pen = ImageDraw.Draw(self.image)
        self._tags: list[Tag] = []

    def corners(self, box: Sequence[float], scale: float) -> tuple[int, int, int, int]:
        """Return a box xyxy in pixels of the image as pixels of the panel."""
        return corners_of([side * scale for side in box], self.image.size)

    def tag(self, text: str, corners: tuple[int, int, int, int], rgb: Colour) -> None:
        """Add a tag at a box."""
        text = drawable(text)
        left, top, right, bottom = self.pen.textbbox((0, 0), text, font=lettering(LETTER))
        size = int(right - left) + 6, int(bottom - top) + 6
        place = free_place(corners, size, self.image.size, self._tags)
        self._tags.append(Tag(corners, place, size, (left, top), text, rgb))

    def finished(self) -> Image.Image:
        """Draw the tags on top of all lines and return the image."""
        for tag in self._tags:
            x, y = tag.place
            bright = 0.299 * tag.rgb[0] + 0.587 * tag.rgb[1] + 0.114 * tag.rgb[2] > 140
            ink = (0, 0, 0) if bright else (255, 255, 255)
            self.pen.rectangle((x, y, x + tag.size[0] - 1, y + tag.size[1] - 1), fill=tag.rgb, outline=ink)
            self.pen.text((x + 3 - tag.origin[0], y + 3 - tag.origin[1]), tag.text, fill=ink, font=lettering(LETTER))
        return self.image


def _found_and_missed(pixels: Image.Image, explained: Explained, scale: float) -> Image.Image:
    """Return the panel with objects in the colours of their reasons, and detections dashed, right or false."""
    panel, scene = _Panel(pixels), explained.scene
    few = len(scene.roles) + len(explained.reasons) <= MANY
    for d, role in enumerate(scene.roles):
        rgb = FALSE if role.is_false else RIGHT
        corners = panel.corners(scene.candidates.boxes[scene.kept[d]].tolist(), scale)
        panel.pen.rectangle(corners, outline=PAPER, width=3)
        _dashed(panel.pen, corners, rgb)
        panel.tag(scene.detection(d) if few else f"D{d + 1}", corners, rgb)
    for g, reason in enumerate(explained.reasons):
        rgb, corners = REASON_COLOURS[reason.name], panel.corners(scene.corners(g), scale)
        panel.pen.rectangle(corners, outline=rgb, width=3)
        panel.tag(f"{g + 1} {scene.class_of(g)}" if few else str(g + 1), corners, rgb)
    return panel.finished()


def _responsible(pixels: Image.Image, explained: Explained, scale: float) -> Image.Image:
    """Return the panel with, by each rule, the cells (thick) and anchors (thin) that are responsible for objects."""
    panel, scene = _Panel(Image.blend(pixels, Image.new("RGB", pixels.size, PAPER), 0.6)), explained.scene
    for g, reason in enumerate(explained.reasons):
        rgb, corners = REASON_COLOURS[reason.name], panel.corners(scene.corners(g), scale)
        panel.pen.rectangle(corners, outline=rgb, width=2)
        panel.tag(str(g + 1), corners, rgb)
    for k, (rule, rows) in enumerate(scene.responsible.items()):
        for p in sorted({p for row in rows for p in row}):
            for boxes, line in ((explained.anchors, 1), (explained.cells, 3)):
                left, top, right, bottom = (side * scale for side in boxes[p].tolist())
                # The rules often agree. Their lines are then drawn side by side, where the box has room for them.
                inset = k * (line + 1)
                if min(right - left, bottom - top) > 2 * inset + 2:
                    left, top, right, bottom = left + inset, top + inset, right - inset, bottom - inset
                panel.pen.rectangle((left, top, right, bottom), outline=RULE_COLOURS[rule], width=line)
    return panel.finished()


def _legend(explained: Explained) -> list[tuple[Colour | None, str]]:
    """Return the colour and text of each line below the panels: the legend, each object, each false detection."""
    scene = explained.scene
    rows: list[tuple[Colour | None, str]] = [
        (None, "first image: objects, in the colour of the reason; dashed: detections, right (green) or false (black)"),
        (None, "second image: for each object the responsible cells (thick) and anchors (thin), by rule:"),
        *((RULE_COLOURS[rule], rule) for rule in scene.responsible),
    ]
    for g, reason in enumerate(explained.reasons):
        rows.append((REASON_COLOURS[reason.name], f"{g + 1} {scene.class_of(g)}: {reason.name}: {reason.text}"))
    for d, role in enumerate(scene.roles):
        if role.is_false:
            rows.append((FALSE, f"{scene.detection(d)}: {role.name}: {role.text}"))
    return rows


def _fitted(text: str, width: int) -> str:
    """Return a text, shortened to a width in pixels."""
    text = drawable(text)
    while lettering(LETTER).getlength(text) > width:
        text = text[:-2] + "…"
    return text


def _dashed(pen: ImageDraw.ImageDraw, corners: tuple[int, int, int, int], rgb: Colour) -> None:
    """Draw dashes of 8 pixels along a rectangle whose lines are 3 pixels wide."""
    left, top, right, bottom = corners
    for x in range(left, right + 1, 16):
        end = min(x + 7, right)
        pen.rectangle((x, top, end, min(top + 2, bottom)), fill=rgb)
        pen.rectangle((x, max(bottom - 2, top), end, bottom), fill=rgb)
    for y in range(top, bottom + 1, 16):
        end = min(y + 7, bottom)
        pen.rectangle((left, y, min(left + 2, right), end), fill=rgb)
        pen.rectangle((max(right - 2, left), y, right, end), fill=rgb)
