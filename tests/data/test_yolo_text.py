"""Label files of YOLO's format as tools write them: boxes, scores, polygons, separators, encodings."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo.data.check import Rows
from yolo.data.formats.yolo_text import add_labels, read_text, row

NAMES = ["bolt", "Schlüssel", "3"]


@pytest.mark.parametrize(
    ("line", "label", "box"),
    [
        ("1 0.5 0.25 0.125 0.0625", 1, [0.5, 0.25, 0.125, 0.0625]),
        ("1.0 .5 25e-2 1.25E-1 0.0625", 1, [0.5, 0.25, 0.125, 0.0625]),
        ("0\t0.5\t0.25  0.125 0.0625 \t", 0, [0.5, 0.25, 0.125, 0.0625]),
        ("0,0.5,0.25,0.125,0.0625", 0, [0.5, 0.25, 0.125, 0.0625]),
        ("0, 0.5, 0.25, 0.125, 0.0625", 0, [0.5, 0.25, 0.125, 0.0625]),
        ("0 0.5 0.25 0.125 0.0625 0.875", 0, [0.5, 0.25, 0.125, 0.0625]),  # a score
        ("bolt 0.5 0.25 0.125 0.0625", 0, [0.5, 0.25, 0.125, 0.0625]),
        ("Schlüssel 0.5 0.25 0.125 0.0625 1", 1, [0.5, 0.25, 0.125, 0.0625]),
        ("1 0.25 0.5 0.75 0.5 0.5 1", 1, [0.5, 0.75, 0.5, 0.5]),  # a triangle
        ("1 0.25 0.5 0.75 0.5 0.75 1 0.25 1", 1, [0.5, 0.75, 0.5, 0.5]),  # the corners of a turned box
        ("1 0.25 0.5 0.75 0.5 0.75 1 0.25 1 0.3 0.6", 1, [0.5, 0.75, 0.5, 0.5]),
    ],
)
def test_lines(line: str, label: int, box: list[float]) -> None:
    """A box, a box with its score, a polygon, of which the enclosing box is taken."""
    assert row(line, NAMES) == (label, box)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2", "4 values in '0 0.5 0.5 0.2'; expected 'class cx cy w h'"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2 0.9", "8 values in .*, or a class and the points of a polygon"),
        ("0 0,5 0,5 0,2 0,2", "'0 0,5 0,5 0,2 0,2': expected 'class cx cy w h'"),  # never 9 values
        ("0;0.5;0.5;0.2;0.2", "1 values in"),
        ("nut 0.5 0.5 0.2 0.2", "'nut 0.5 0.5 0.2 0.2': expected 'class cx cy w h', an integer below 3"),
        ("3 0.5 0.5 0.2 0.2", "class 3: there are 3 classes"),  # a number, though a class is called so
        ("-1 0.5 0.5 0.2 0.2", "class -1: there are 3 classes"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5: there are 3 classes"),
        ("0 0.5 0.5 0.2 nan", "not finite"),
        ("0 0.5 0.5 0.2 0.2 inf", "not finite"),
        ("0 0.5 0.5 -0.2 0.2 0.5", "the size is negative"),
        ("0 0.5 0.5 0.2 0.2 7", "7 is not a score from 0 to 1"),
        ("0 0.5 0.5 0.2 0.2 0.9 17", "points of a polygon far outside the image; expected"),  # score and track
        ("0 12 8 50 8 50 40", "points of a polygon far outside the image; expected"),
        ("# class cx cy w h", "'# class cx cy w h'"),
    ],
)
def test_bad_lines(line: str, message: str) -> None:
    """What is neither a box nor a polygon is an error that shows the line."""
    with pytest.raises(ValueError, match=message):
        row(line, NAMES)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
def test_files(tmp_path: Path, encoding: str) -> None:
    """Line ends of every system, blank lines, a line separator of Unicode, and faults with the line's number."""
    file = tmp_path / "a.txt"
    text = "0 .5 .5 1 1\r\n\r\n  \nSchlüssel .5 .5 .5 .5\r1 .5 .5 .5\n0 .5 .5 .5 .5\u2028\n"
    file.write_bytes(text.encode(encoding, "ignore"))
    rows = Rows()
    rows.add_image("a.jpg")
    add_labels(rows, file, read_text(file), NAMES, (40, 20))
    assert [(place, label, box) for place, _, label, box, _ in rows.objects] == [
        (f"{file}:1", 0, (0, 0, 40, 20)),
        (f"{file}:4", 1, (10, 5, 30, 15)),
        (f"{file}:6", 0, (10, 5, 30, 15)),
    ]
    assert [(fault.text[: len(str(file)) + 12], fault.image) for fault in rows.faults] == [(f"{file}:5: 4 values", 0)]


def test_files_that_are_not_text(tmp_path: Path) -> None:
    """Zeros, as a crashed program leaves, and other bytes; no file at all is no object."""
    file = tmp_path / "a.txt"
    assert read_text(file) == ""
    for data in (b"\0" * 40, b"0 .5 .5 1 1\n\x00\x01", b"\xff\xd8\xff\xe0 JFIF"):
        file.write_bytes(data)
        with pytest.raises(ValueError, match=r"a.txt: not a text file \(byte \d+\)"):
            read_text(file)
