"""Faults planted in labels: each is named, and nothing else; clean sets in every layout pass without a word."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.exports import LAYOUTS
from tests.support.preflight_problems import change, gathered, said
from tests.support.small_sets import DrawnImage, write_yolo
from tests.support.train_problems import shapes, tiny_cfg
from yolo.preflight.checks import CHECKS, run_checks
from yolo.preflight.data import data as check_data
from yolo.preflight.subject import Subject
from yolo.size import Size

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return a clean data set and a cfg, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return shapes(tmp_path), tiny_cfg(tmp_path)


def boxes(edit: Callable[[list[float]], list[float]], count: int | None = None) -> Edit:
    """Return an edit of the first boxes x, y, w, h, by default of all."""

    def change_boxes(content: dict[str, Any]) -> None:
        for one in content["annotations"][:count]:
            one["bbox"] = edit(one["bbox"])

    return change_boxes


def repeat(content: dict[str, Any]) -> None:
    """Write the first object again."""
    content["annotations"].append({**content["annotations"][0], "id": 10**6})


def forget(content: dict[str, Any]) -> None:
    """Delete all objects of the first class."""
    first = content["categories"][0]["id"]
    content["annotations"] = [one for one in content["annotations"] if one["category_id"] != first]


def name_background(content: dict[str, Any]) -> None:
    """Call the first class background."""
    content["categories"][0]["name"] = "__Background__"


FAULTS: dict[str, tuple[Edit, str, str]] = {
    "box units": (boxes(lambda box: [v / 200 for v in box]), "FAIL", "multiply x by the width"),
    "thin boxes": (boxes(lambda box: [*box[:2], 0.8, box[3]], 2), "WARN", "2 boxes (4.7%) are thinner than a pixel"),
    "repeated boxes": (repeat, "WARN", "train: 1 boxes are there twice"),
    "classes": (forget, "WARN", "train has no object of disc; val has disc"),
}


def test_a_clean_set(place: tuple[Path, Path]) -> None:
    """One line with the numbers of both splits."""
    (line,) = check_data(Subject(gathered(*place)))
    assert line.verdict == "PASS"
    assert line.sentence.startswith("train: 12 images, 0% of them without objects, 43 objects; val: 6 images, ")
    assert line.sentence.endswith("; 6 classes; the thinnest box has 4.4 pixels at 64x64")


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, place: tuple[Path, Path]) -> None:
    """By its name alone, with numbers and a remedy."""
    edit, verdict, words = FAULTS[name]
    change(place[0], edit)
    lines = list(check_data(Subject(gathered(*place))))
    assert said(lines) == [(verdict, name)]
    assert words in f"{lines[0].sentence} {lines[0].remedy}"
    assert lines[0].remedy


def test_thin_boxes_have_a_size_that_would_do(place: tuple[Path, Path]) -> None:
    """At this input no box is too thin; a file is named."""
    change(place[0], FAULTS["thin boxes"][0])
    line = next(iter(check_data(Subject(gathered(*place)))))
    assert line.remedy.startswith("--size 448x448 shows them; delete them if")
    assert "000001.jpg" in line.sentence
    assert said(check_data(Subject(gathered(*place, "--size", "448")))) == []


def test_half_of_the_boxes_are_tiny(place: tuple[Path, Path]) -> None:
    """Boxes of half a pixel, at an input where they are wide enough."""
    change(place[0], boxes(lambda box: [*box[:2], 0.4, 0.4]))
    parts = gathered(*place)
    own = replace(parts, detector=parts.detector.replace(size=Size(1216, 1216)))
    assert said(check_data(Subject(own))) == [("WARN", "box area")]


def test_labels_beyond_the_classes(place: tuple[Path, Path]) -> None:
    """A model with fewer classes than the data."""
    parts = gathered(*place)
    own = replace(parts, detector=parts.detector.replace(names=parts.detector.names[:4]))
    lines = list(check_data(Subject(own)))
    assert said(lines) == [("FAIL", "labels"), ("FAIL", "labels")]
    assert lines[0].sentence == "train: labels 4, 5, but the model has 4 classes"


def test_a_class_called_background(place: tuple[Path, Path]) -> None:
    """It is odd, whatever its spelling."""
    for split in ("train", "val"):
        change(place[0], name_background, split)
    lines = list(check_data(Subject(gathered(*place))))
    assert said(lines) == [("WARN", "background")]
    assert "'__Background__'" in lines[0].sentence


def test_a_class_that_nobody_has(place: tuple[Path, Path]) -> None:
    """In neither split."""
    for split in ("train", "val"):
        change(place[0], lambda content: content["categories"].append({"id": 99, "name": "moon"}), split)
    lines = list(check_data(Subject(gathered(*place))))
    assert said(lines) == [("WARN", "classes")]
    assert lines[0].sentence == "train has no object of moon"


def test_an_image_in_both_splits(place: tuple[Path, Path]) -> None:
    """By its bytes, whatever its name; evaluation on the training images is no leak."""
    files = [sorted((place[0] / "images" / split).iterdir())[0] for split in ("train", "val")]
    shutil.copy(*files)
    lines = list(check_data(Subject(gathered(*place))))
    assert said(lines) == [("WARN", "leaks")]
    assert "1 of 6 images of val are in train too" in lines[0].sentence
    assert said(check_data(Subject(gathered(*place, "--eval-on", "train")))) == []


def test_pixels_taken_for_fractions(place: tuple[Path, Path], tmp_path: Path) -> None:
    """The reader refuses them, with file, line and remedy."""
    data = write_yolo(tmp_path / "pixels", [DrawnImage((64, 48), [(1, 4, 6, 30, 40)])] * 3)
    for file in (data / "labels" / "train").iterdir():
        file.write_text("1 17 23 26 34\n")
    with pytest.raises(
        ValueError, match=r"img_0\.txt:1: the box .* must be fractions of the image, from 0 to 1"
    ) as error:
        gathered(data, place[1], "--eval-on", "train")
    assert error.value.about == "data"  # type: ignore[attr-defined]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_clean_sets_of_all_formats_pass_the_quick_checks(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a warning."""
    monkeypatch.chdir(tmp_path)
    LAYOUTS[layout].write(tmp_path / "set")
    parts = gathered(tmp_path / "set" / LAYOUTS[layout].given[0], tiny_cfg(tmp_path))
    lines = run_checks(Subject(parts), cheap=True)
    assert said(lines) == []
    assert len(lines) >= sum(check.cheap for check in CHECKS.values())
