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
from yolo.files.text import lines_of
from yolo.files.text import read_text as content_of
from yolo.names import class_index

BEYOND = (
    0.5  # how far a point of a polygon may lie outside its image, in images; coordinates beyond that are not fractions
)


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
        return content_of(labels)
    except FileNotFoundError:
        return ""


def row(line: str, names: Sequence[str]) -> tuple[int, list[float]]:
    """Return class index and cx, cy, w, h of a line. Raises ValueError for a bad line."""

    def bad(problem: str) -> ValueError:
        shown = problem.replace("LINE", repr(line.strip()[:80]))
        return ValueError(
            f"{shown} expected 'class cx cy w h', an integer below {len(names)} and four fractions of the image, or a "
            f"class and the points of a polygon"
        )

    words = line.split() if "," not in line else re.split(r",?\s+", line.strip())
    words = words if len(words) > 1 else words[0].split(",")
    if len(words) < 5 or (len(words) > 6 and len(words) % 2 == 0):
        raise bad(f"{len(words)} values in LINE;")
    if not words[0].isdecimal() and (named := class_index(words[0], names)) is not None:
        words[0] = str(named)
    try:
        label, *values = map(float, words)
    except ValueError:
        raise bad("LINE:") from None
    if not all(map(math.isfinite, (label, *values))):
        raise bad("LINE: not finite;")
    if label != int(label) or not 0 <= label < len(names):
        raise bad(f"class {words[0][:80]}: there are {len(names)} classes;")
    if len(values) > 5:
        x1, x2, y1, y2 = min(values[::2]), max(values[::2]), min(values[1::2]), max(values[1::2])
        if min(x1, y1) < -BEYOND or max(x2, y2) > 1 + BEYOND:
            raise bad("LINE: points of a polygon far outside the image;")
        values = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
    elif values[2] < 0 or values[3] < 0:
        raise bad("LINE: the size is negative;")
    elif len(values) == 5 and not 0 <= values[4] <= 1:
        raise bad(f"LINE: {words[5][:80]} is not a score from 0 to 1;")
    return int(label), values[:4]
