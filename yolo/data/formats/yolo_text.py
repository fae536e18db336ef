"""A label file of YOLO's format, line by line. No torch.

| values in a line | what they are |
|---|---|
| 5 | class and box: `cx cy w h`, fractions of the image |
| 6 | class, box and score, as detectors write |
| an odd number from 7 on | class and polygon: `x1 y1 x2 y2 ...`, of which the enclosing box is taken |

The class is a number or one of the names. Values are separated by blanks, tabs or commas. An even number of values from
8 on is a fault: it may be a polygon with a score, or a pose.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from yolo.data.check import Rows
from yolo.names import class_index
from yolo.text import decoded, lines_of

BEYOND = 0.5  # how far a point of a polygon may lie outside its image, in images; more is not a fraction


def add_labels(rows: Rows, file: Path, text: str, names: Sequence[str], size: tuple[int, int]) -> None:
    """Add the objects of a label file to the last image of `rows`; a bad line is a fault of that image.

    Args:
        rows: the images so far.
        file: the label file, for messages.
        text: its content.
        names: the class names that its numbers refer to.
        size: width and height of the image in pixels.
    """
    for number, line in enumerate(lines_of(text), start=1):
        if not line.strip():
            continue
        try:
            label, fractions = row(line, names)
        except ValueError as problem:
            rows.add_fault(f"{file}:{number}: {problem}")
            continue
        cx, cy, w, h = (value * size[k % 2] for k, value in enumerate(fractions))
        rows.add_object(f"{file}:{number}", label, (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))


def read_text(labels: Path) -> str:
    """Return the content of a label file; empty if there is none. Raises ValueError for what is not text."""
    try:
        return decoded(labels.read_bytes(), labels)
    except FileNotFoundError:
        return ""


def row(line: str, names: Sequence[str]) -> tuple[int, list[float]]:
    """Return class index and cx, cy, w, h of a line. Raises ValueError for a bad line."""
    words = re.split(r",?\s+", line.strip())
    words = words if len(words) > 1 else words[0].split(",")
    shown = repr(line.strip()[:80])
    expected = f"expected 'class cx cy w h', an integer below {len(names)} and four fractions of the image"
    if len(words) < 5 or (len(words) > 6 and len(words) % 2 == 0):
        raise ValueError(f"{len(words)} values in {shown}; {expected}, or a class and the points of a polygon")
    try:
        label, *values = [float(word) for word in (_number_of(words[0], names), *words[1:])]
    except ValueError as problem:
        raise ValueError(f"{shown}: {expected}") from problem
    if not all(map(math.isfinite, (label, *values))):
        raise ValueError(f"{shown}: not finite; {expected}")
    if label != int(label) or not 0 <= label < len(names):
        raise ValueError(f"class {words[0]}: there are {len(names)} classes; {expected}")
    if len(values) > 5:
        return int(label), _around(values, shown)
    if min(values[2:4]) < 0:
        raise ValueError(f"{shown}: the size is negative; {expected}")
    if len(values) == 5 and not 0 <= values[4] <= 1:
        raise ValueError(f"{shown}: {words[5]} is not a score from 0 to 1; {expected}")
    return int(label), values[:4]


def _number_of(word: str, names: Sequence[str]) -> str:
    """Return a class number for a class name; other words stay as they are."""
    number = None if word.replace(".", "").isdecimal() else class_index(word, names)
    return word if number is None else str(number)


def _around(values: list[float], shown: str) -> list[float]:
    """Return cx, cy, w, h of the box around a polygon. Raises ValueError where its points are no fractions."""
    x1, x2, y1, y2 = min(values[::2]), max(values[::2]), min(values[1::2]), max(values[1::2])
    if min(x1, y1) < -BEYOND or max(x2, y2) > 1 + BEYOND:
        raise ValueError(f"{shown}: {len(values) // 2} points of a polygon; expected fractions of the image")
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
