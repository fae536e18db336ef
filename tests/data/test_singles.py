"""The set of single objects: its promises are counted on the files that a user gets."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.random import RandomState

from yolo.__main__ import main
from yolo.data.formats.coco_json import Annotations, read_annotations
from yolo.data.shapes.drawn import DrawnScene, add
from yolo.data.shapes.figures import OUTLINES, coverage, random_figure, stroke
from yolo.data.shapes.scenes import make_shapes
from yolo.data.shapes.singles import LEVELS, Difficulty, draw_single, make_singles
from yolo.images.files import read_image

MEAN_BOX: dict[Difficulty, float] = {"big": 0.54, "medium": 0.39, "hard": 0.30}
"""The mean IoU of the mean training box, as the docstring of `make_singles` says."""


def listed(folder: Path, split: str) -> Annotations:
    """Return the annotations of a split; a fault in them is an error."""
    return read_annotations(folder / "annotations" / f"instances_{split}.json")


def mean_box_iou(train: np.ndarray, val: np.ndarray) -> float:
    """Return the mean IoU of boxes x, y, w, h with the mean of others."""
    (x, y, w, h), ious = np.concatenate((train[:, :2], train[:, :2] + train[:, 2:]), axis=1).mean(axis=0), []
    for left, top, wide, high in val.tolist():
        both = max(min(w, left + wide) - max(x, left), 0) * max(min(h, top + high) - max(y, top), 0)
        ious.append(both / ((w - x) * (h - y) + wide * high - both))
    return float(np.mean(ious))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`get singles` draws a set in COCO's layout with exactly one object in every image, of all ten classes."""
    out = tmp_path / "set"
    words = ["get", "singles", "--out", str(out), "--images", "100", "--difficulty", "hard", "--seed", "3"]
    assert main(words) == 0
    assert capsys.readouterr().out.split() == [str(out)]
    for split, images in (("train", 100), ("val", 40)):
        found = listed(out, split)
        assert tuple(found.names) == OUTLINES
        assert found.image.tolist() == list(range(images)) == list(range(len(found.file_names)))
        assert not found.crowd.any()
        assert set(found.label.tolist()) == set(range(10))
        assert (found.boxes[:, :2] >= 0).all()
        assert (found.boxes[:, :2] + found.boxes[:, 2:] <= 128).all()
        assert (found.sizes == 128).all()
        assert read_image(out / "images" / split / found.file_names[-1]).shape == (128, 128, 3)
    assert main([*words[:-1], "4"]) == 1
    assert "seed 3, difficulty hard, size 128, 100 images; expected" in capsys.readouterr().err


class Placed(BaseException):
    """The figure has its place; what is drawn after that changes no box."""


def placed(split: int, k: int, difficulty: Difficulty) -> np.ndarray:
    """Return whose each pixel is, of an image of the default set; its drawing ends there if `add` raises `Placed`."""
    try:
        return draw_single(RandomState([0, split, k]), difficulty).owner
    except Placed as found:
        owner: np.ndarray = found.args[0]
        return owner


@pytest.mark.parametrize("difficulty", LEVELS)
def test_the_mean_box_is_as_good_as_it_says(difficulty: Difficulty, monkeypatch: pytest.MonkeyPatch) -> None:
    """The IoU of always answering the mean training box, counted on a default set before it becomes files.

    No box depends on the lines, of which one pixel is drawn, nor on colours and noise.
    """
    expected = [placed(split, k, difficulty) for split in (0, 1) for k in range(1, 6)]

    def only_placed(scene: DrawnScene, *rest: Any, crowd: bool) -> None:
        add(scene, *rest, crowd=crowd)
        raise Placed(scene.owner)

    for module in ("figures", "singles"):
        monkeypatch.setattr(f"yolo.data.shapes.{module}.stroke", lambda canvas, *rest: stroke(canvas[:1, :1], *rest))
    monkeypatch.setattr("yolo.data.shapes.drawn.paint", lambda *_: None)
    monkeypatch.setattr("yolo.data.shapes.singles.add", only_placed)
    found = [placed(split, k, difficulty) for split in (0, 1) for k in range(1, 6)]
    np.testing.assert_array_equal(found, expected)
    boxes = []
    for split, count in enumerate((1000, 400)):
        owners = (placed(split, k, difficulty) for k in range(1, count + 1))
        boxes.append(np.array([cv2.boundingRect((owner == 0).astype(np.uint8)) for owner in owners]))
    assert round(mean_box_iou(*boxes), 2) == MEAN_BOX[difficulty]
    assert f"{difficulty} {MEAN_BOX[difficulty]:.2f}" in str(make_singles.__doc__)


def test_the_pixels_are_the_same_everywhere() -> None:
    """The digest of sixty scenes before the JPEG encoder is fixed. If it changes, raise VERSION."""
    digest = hashlib.sha256()
    for difficulty in LEVELS:
        for k in range(20):
            scene = draw_single(RandomState([0, 0, k]), difficulty)
            digest.update(scene.image.tobytes() + scene.owner.astype("<i2").tobytes() + bytes(scene.labels))
    assert digest.hexdigest() == "20124d538db4f3692789408d1c4508987a03f1205d451d600e49db39ec988c1f"


def test_ten_outlines_differ() -> None:
    """No two outlines cover the same pixels, even turned: their best IoU over rotations is below 0.9."""
    masks = []
    for label in range(10):
        figure = random_figure(RandomState(1), label, 50, 50, 40, names=OUTLINES)._replace(turn=(1, 0), flat=1)
        cover, mask = coverage(figure, 100, 100), np.zeros((100, 100), np.uint8)
        mask[cover.window] = cover.mask
        assert np.hypot(*(np.argwhere(mask) + 0.5 - 50).T).max() <= 40.5  # no corner lies outside the unit circle
        masks.append(mask)
    for one in range(10):
        for other in range(one):
            for angle in range(-45, 46, 5):
                turn = cv2.getRotationMatrix2D((49.5, 49.5), angle, 1)
                turned = np.asarray(cv2.warpAffine(masks[other], turn, (100, 100)), np.uint8)
                assert (masks[one] & turned).sum() < 0.9 * (masks[one] | turned).sum()


def test_size_and_start(tmp_path: Path) -> None:
    """Images have the size that is asked for; a larger set begins with the smaller one; a second call draws nothing."""
    few, more = (make_singles(tmp_path / f"{n}", train=n, val=1, size=64) for n in (2, 3))
    for name in listed(few, "train").file_names:
        image = few / "images" / "train" / name
        assert image.read_bytes() == (more / "images" / "train" / name).read_bytes()
        assert read_image(image).shape == (64, 64, 3)
    times = {file: file.stat().st_mtime_ns for file in few.rglob("*")}
    assert make_singles(few, train=2, val=1, size=64) == few
    assert {file: file.stat().st_mtime_ns for file in few.rglob("*")} == times


def test_what_is_refused(tmp_path: Path) -> None:
    """A wrong difficulty, size or number, and a folder with another drawn set or with anything else."""
    for wrong in ({"difficulty": "easy"}, {"size": 31}, {"train": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match="expected"):
            make_singles(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()
    shapes = make_shapes(tmp_path / "shapes", train=1, val=1)
    with pytest.raises(ValueError, match=r"Shapes, drawn by .*, 1 images; expected Singles, .*; remove the folder"):
        make_singles(shapes, train=1, val=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: exists and is not a drawn set"):
        make_singles(tmp_path / "empty")
