"""A damaged image that a worker reads is the same one line as without workers."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from yolo.data.loader import Loader
from yolo.data.order import Draw
from yolo.data.sample import Target
from yolo.data.sampler import Batches
from yolo.images.files import read_image
from yolo.pixels import TooManyPixelsError
from yolo.size import Size


class Broken:
    """Samples that cannot be read: a damaged file, a missing one, one that is too large."""

    def __init__(self, folder: Path, kind: type[Exception]) -> None:
        self.file, self.kind = folder / "a.jpg", kind

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Target]:
        if self.kind is TooManyPixelsError:
            raise TooManyPixelsError(f"{self.file}: too large")
        read_image(self.file)
        raise AssertionError("it was read")


@pytest.mark.parametrize("kind", [ValueError, FileNotFoundError, TooManyPixelsError])
def test_an_error_in_a_worker_is_carried_over(kind: type[Exception], tmp_path: Path) -> None:
    """Its type and its message are those of the error without workers, without the worker's traceback."""
    data = Broken(tmp_path, kind)
    if kind is ValueError:
        data.file.write_bytes(b"\xff\xd8\xff\xe0 damaged")
    found = []
    for workers in (0, 1):
        with pytest.raises(kind) as problem:
            list(Loader(data, Batches(3, 2, Size(32, 32)), workers=workers))
        assert type(problem.value) is kind
        found.append(str(problem.value))
    assert found[0] == found[1]
    assert "\n" not in found[0]
    assert str(data.file) in found[0]
