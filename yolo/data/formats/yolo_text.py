"""A label file of YOLO's format, line by line. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from yolo.data.check import Rows


def add_labels(rows: Rows, file: Path, text: str, names: Sequence[str], size: tuple[int, int]) -> None:
    """Add the objects of a label file to the last image of `rows`; a bad line is a fault of that image.

    Args:
        rows: the images so far.
        file: the label file, for messages.
        text: its content.
        names: the class names that its numbers refer to.
        size: width and height of the image in pixels.
    """
    for number, line in enumerate(text.splitlines(), start=1):
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
        return labels.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as problem:
        raise ValueError(f"{labels}: not a text file (byte {problem.start})") from problem


def row(line: str, names: Sequence[str]) -> tuple[int, list[float]]:
    """Return class index and cx, cy, w, h of a line. Raises ValueError for a bad line."""
    words = line.split()
    expected = f"expected 'class cx cy w h', an integer below {len(names)} and four fractions of the image"
    if len(words) != 5:
        raise ValueError(f"{len(words)} values in {line.strip()[:80]!r}; {expected}")
    try:
        values = [float(word) for word in words]
    except ValueError as problem:
        raise ValueError(f"{line.strip()!r}: {expected}") from problem
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{line.strip()!r}: not finite; {expected}")
    if values[0] != int(values[0]) or not 0 <= values[0] < len(names):
        raise ValueError(f"class {words[0]}: there are {len(names)} classes; {expected}")
    if min(values[3:]) < 0:
        raise ValueError(f"{line.strip()!r}: the size is negative; {expected}")
    return int(values[0]), values[1:]
