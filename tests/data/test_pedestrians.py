"""The drawn pedestrians: what the docstring of `make_pedestrians` promises, on the files that a user gets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.random import RandomState

from yolo.__main__ import main
from yolo.data.datasets import open_data
from yolo.data.formats.masks import instances
from yolo.data.shapes.pedestrians import draw_street, make_pedestrians


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`get pedestrians` draws a set in Penn-Fudan's layout, which is read and divided like any other."""
    out = tmp_path / "set"
    words = ["get", "pedestrians", "--out", str(out), "--images", "20", "--seed", "3"]
    assert main(words) == 0
    assert capsys.readouterr().out.split() == [str(out)]
    data = open_data(out, decode=True, quiet=True)
    assert data.names == ["person"]
    assert [data.path(k).name for k in range(len(data))] == [f"Ped{k:05}.png" for k in range(1, 21)]
    assert not data.index.notes
    parts = [open_data(out, split=split, holdout=0.2) for split in ("train", "val")]
    assert sum(map(len, parts)) == 20
    assert min(map(len, parts)) > 0
    # It is drawn once; another set in this folder is refused, and nothing is replaced.
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    assert main(words) == 0
    for other in (["--images", "21"], ["--seed", "4"]):
        assert main([*words, *other]) == 1
        assert "expected {'description': 'Pedestrians, drawn by Exact YOLOv3'" in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["set"]


def test_a_larger_set_begins_with_a_smaller_one(tmp_path: Path) -> None:
    """The files are equal, byte for byte; another seed gives others."""
    contents = [
        {file.name: file.read_bytes() for file in make_pedestrians(tmp_path / str(k), images, seed).rglob("*.png")}
        for k, (images, seed) in enumerate([(2, 0), (3, 0), (2, 1)])
    ]
    assert contents[0].items() < contents[1].items()
    assert len(contents[1]) == 6
    assert not contents[0].items() & contents[2].items()
    assert json.loads((tmp_path / "2" / "drawn.json").read_text())["seed"] == 1


def test_streets() -> None:
    """One to four pedestrians, numbered from 1, each of a size that can be seen, in images of different sizes."""
    counts, heights, sizes = [], [], set()
    for k in range(60):
        image, mask = draw_street(RandomState([0, k]))
        values, boxes, areas = instances(mask)
        assert values.tolist() == list(range(1, len(values) + 1))
        assert image.shape == (*mask.shape, 3)
        sizes.add(mask.shape)
        counts.append(len(values))
        heights += ((boxes[:, 3] - boxes[:, 1]) / mask.shape[0]).tolist()
        assert (areas > 100).all()
    assert set(counts) == {1, 2, 3, 4}
    assert len(sizes) > 50
    assert 0.1 < min(heights) < 0.2
    assert 0.55 < max(heights) < 0.65


def test_the_pixels_are_those_of_every_machine() -> None:
    """A new version number is due when these change."""
    image, mask = draw_street(RandomState([0, 1]))
    assert hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()[:16] == "9e040aef24ea9eca"


@pytest.mark.parametrize(("images", "seed"), [(0, 0), (5, -1), (5, 2**32)])
def test_out_of_range(tmp_path: Path, images: int, seed: int) -> None:
    """Numbers out of range are named, and nothing is written."""
    with pytest.raises(ValueError, match=f"seed={seed}, images={images}: expected"):
        make_pedestrians(tmp_path / "set", images, seed)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_kept(tmp_path: Path) -> None:
    """It is refused."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds no drawn set; expected .* name another folder"):
        make_pedestrians(tmp_path)
    assert np.array_equal([file.name for file in tmp_path.iterdir()], ["mine.txt"])
