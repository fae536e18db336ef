"""Opening a drawn set in tests: the user's files stay as they are, and what comes out is what was drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.support.exports import NAMES, Parts
from yolo.data.datasets import ImageDataset, open_data


@contextmanager
def unchanged(root: Path) -> Iterator[None]:
    """Fail if a file below `root` is new, gone, or has other bytes or another time after the block."""
    before = _state(root)
    try:
        yield
    finally:
        assert _state(root) == before, "the user's files changed"


def _state(root: Path) -> dict[Path, tuple[bytes, int]]:
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in root.rglob("*") if file.is_file()}


def opened(root: Path, split: str | None = "train", given: str = "", **options: object) -> ImageDataset:
    """Open a split of the set at `root / given`; the files stay unchanged, whether it is read or refused."""
    with unchanged(root):
        return open_data(root / given, split=split, **options)  # type: ignore[arg-type]


def part_of(path: Path) -> str:
    """Return the stem that an image was drawn with, whatever the exporter called it."""
    found = re.findall(r"part_\d{3}", path.name)
    assert len(found) == 1, path
    return str(found[0])


def stems(data: ImageDataset) -> list[str]:
    """Return the stems that the images were drawn with, sorted."""
    return sorted(part_of(data.path(k)) for k in range(len(data)))


def check(data: ImageDataset, parts: Parts) -> None:
    """Compare classes, images, pixels and boxes (to 0.01 pixels) with what was drawn, in any order of images."""
    assert data.names == list(NAMES)
    assert stems(data) == sorted(part.stem for part in parts)
    assert len(data.index.labels) == sum(len(part.objects) for part in parts)
    position = {part_of(data.path(k)): k for k in range(len(data))}
    for part in parts:
        k = position[part.stem]
        objects = slice(data.index.offsets[k], data.index.offsets[k + 1])
        drawn = np.array(part.objects, dtype=np.float64).reshape(-1, 5)
        assert data.index.labels[objects].tolist() == drawn[:, 0].tolist(), part.stem
        np.testing.assert_allclose(data.index.boxes[objects], drawn[:, 1:], atol=0.01, err_msg=part.stem)
        pixels = data.decode(k)
        assert pixels.shape[:2] == part.size[::-1]
        assert abs(float(pixels.mean()) - part.grey) < 2, f"{part.stem} is another image"
