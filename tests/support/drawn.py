"""Drawn data sets: drawn once in a process, and written whenever a test wants one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path


def drawn(folder: Path, draw: Callable[..., Path], **numbers: int) -> Path:
    """Return `folder` with what `draw(folder, **numbers)` would write there."""
    for file, content in _files(draw, **numbers).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return folder


@cache
def _files(draw: Callable[..., Path], **numbers: int) -> Mapping[Path, bytes]:
    """Return the contents of a set's files, by their paths in its folder."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = draw(Path(temporary) / "set", **numbers)
        return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
