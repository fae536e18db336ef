"""Damaged text files: the readers of data sets and of names."""

from __future__ import annotations

from pathlib import Path

from tests.support.fuzz import survives
from yolo.names import read_names


def test_names(tmp_path: Path) -> None:
    """A file of class names."""
    survives(
        read_names, [b"person\nbicycle\ncar\n", "stra\xdfe\r\nm\xfcll\r\n".encode("cp1252")], tmp_path / "coco.names"
    )
