"""COCO's json files: what is read, and the messages for bad files and entries."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.darknet.test_golden import SHARED, needs_shared
from yolo.data.formats.coco_json import Annotations, read_annotations
from yolo.evaluation.coco_results import read_results
from yolo.names import COCO, COCO_IDS

DATA = SHARED.parent / "data"
Json = dict[str, Any]


def content() -> Json:
    """Return two images, three objects, and two classes that are not in the order of their ids."""
    return {
        "images": [
            {"id": 7, "file_name": "b/7.jpg", "width": 40, "height": 30},
            {"id": 3, "file_name": "b/cat.jpg", "width": 20, "height": 10},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 18, "bbox": [1.25, 2, 3, 4], "area": 9.5, "iscrowd": 0},
            {"id": 2, "image_id": 3, "category_id": 1, "bbox": [0, 0, 5, 0], "iscrowd": 1},
            {"id": 9, "image_id": 7, "category_id": 18, "bbox": [0.1, 0.2, 30.3, 20]},
        ],
    }


def write(folder: Path, data: Any, name: str = "a.json") -> Path:
    """Write a json file and return its path; text is written as it is."""
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def rows() -> list[Json]:
    """Return a detection in each image."""
    return [
        {"image_id": 3, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 5.5, 5], "score": 0.25},
    ]


def test_annotations(tmp_path: Path) -> None:
    """Classes are sorted by id, images and objects as in the file, with every digit; a missing area is w·h."""
    found = read_annotations(write(tmp_path, content()))
    assert (found.names, found.category_ids) == (["person", "dog"], [1, 18])
    assert (found.image_ids.tolist(), found.file_names) == ([7, 3], ["b/7.jpg", "b/cat.jpg"])
    assert found.sizes.tolist() == [[40, 30], [20, 10]]
    assert found.image.tolist() == [1, 1, 0]
    assert found.label.tolist() == [1, 0, 1]
    assert found.boxes.tolist() == [[1.25, 2, 3, 4], [0, 0, 5, 0], [0.1, 0.2, 30.3, 20]]
    assert found.area.tolist() == [9.5, 0, 30.3 * 20]
    assert found.crowd.tolist() == [False, True, False]


@needs_shared
@pytest.mark.parametrize(
    ("file", "images", "objects", "crowds", "classes"),
    [
        ("coco-mini/annotations/instances_train2017.json", 168, 1580, 15, 80),
        ("coco-mini/annotations/instances_val2017.json", 141, 1178, 13, 80),
        ("bccd/annotations/instances_train.json", 205, 2805, 0, 3),
        ("bccd/annotations/instances_val.json", 87, 1138, 0, 3),
        ("bccd/annotations/instances_test.json", 72, 945, 0, 3),
    ],
)
def test_real_files(file: str, images: int, objects: int, crowds: int, classes: int) -> None:
    """The counts are the published ones; COCO's classes and ids are those of yolo.names."""
    found = read_annotations(DATA / file)
    assert (len(found.image_ids), len(found.label), int(found.crowd.sum())) == (images, objects, crowds)
    assert len(found.names) == classes
    if classes == 80:
        assert (tuple(found.names), tuple(found.category_ids)) == (COCO, COCO_IDS)


def entry(key: str, k: int, **changes: Any) -> Callable[[Json], object]:
    """Return a function that changes an entry; a value of None removes its key."""

    def change(data: Json) -> None:
        data[key][k].update(changes)
        for name in [name for name, value in changes.items() if value is None]:
            del data[key][k][name]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (entry("annotations", 0, bbox=[1, 2, 3]), "annotations[0] (id 1): bbox [1, 2, 3]: expected [left, top, width"),
        (entry("annotations", 0, bbox=[1, 2, 3, float("nan")]), "(id 1): bbox [1, 2, 3, nan]: expected"),
        (entry("annotations", 0, bbox=[1, 2, 3, True]), "expected [left, top, width, height], four finite numbers"),
        (entry("annotations", 1, bbox=[1, 2, -3, 4]), "[1] (id 2): bbox [1, 2, -3, 4]: the size is negative"),
        (entry("annotations", 1, bbox=None), "(id 2): bbox None: expected"),
        (entry("annotations", 2, image_id=8), "annotations[2] (id 9): image_id 8: no image has this id"),
        (entry("annotations", 2, category_id=2), "category_id 2: no category has this id"),
        (entry("annotations", 2, area="x"), "area 'x': expected square pixels"),
        (entry("annotations", 2, id=1), "annotations[2]: another entry has the id 1"),
        (entry("images", 1, id=7), "images[1]: another entry has the id 7"),
        (entry("images", 1, id="x"), "images[1]: id 'x': expected an integer"),
        (entry("categories", 1, name="dog"), "categories: 'dog': more than one has this name; rename"),
        (lambda data: data.pop("annotations"), "annotations: expected a list of objects; is this an annotation file"),
        (lambda data: data.update(annotations=[3]), "annotations: expected a list of objects"),
        (lambda data: data.update(images=[], annotations=[]), "0 images and 2 categories; expected at least one"),
    ],
)  # fmt: skip
def test_bad_entries_are_named(tmp_path: Path, change: Callable[[Json], object], message: str) -> None:
    """The message has the file, the place and id of the entry, and what is wrong with it."""
    data = content()
    change(data)
    path = write(tmp_path, data)
    with pytest.raises(ValueError, match="^") as problem:
        read_annotations(path)
    assert message in str(problem.value)
    assert str(problem.value).startswith(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.json:1: not json: Expecting value at column 1"),
        ('{\n"images": [,]}', "a.json:2: not json: Expecting value at column 12"),
        ("[]", "this json is a list, like a results file; expected an object with images"),
        ("3", "this json is a int; expected an object"),
    ],
)
def test_files_that_are_not_annotations(tmp_path: Path, text: str, message: str) -> None:
    """The message has line and column, or what the file is instead."""
    with pytest.raises(ValueError, match="^") as problem:
        read_annotations(write(tmp_path, text))
    assert message in str(problem.value)
    (tmp_path / "b.json").write_bytes(b"\x89PNG\xff")
    with pytest.raises(ValueError, match=r"b.json: not a text file \(byte 0\)"):
        read_annotations(tmp_path / "b.json")


def test_bad_entries_can_be_skipped(tmp_path: Path) -> None:
    """Each is listed with its image, the others are read. Without that option ten are shown and the rest is counted."""
    data = content()
    data["annotations"] += [{"id": 100 + k, "image_id": 7, "category_id": 1, "bbox": [k]} for k in range(13)]
    path = write(tmp_path, data)
    found = read_annotations(path, skip_faults=True)
    assert (len(found.faults), len(found.label)) == (13, 3)
    assert found.faults[0].text.startswith(f"{path}: annotations[3] (id 100): bbox [0]")
    assert {fault.image for fault in found.faults} == {0}
    with pytest.raises(ValueError, match="and 3 more faults") as problem:
        read_annotations(path)
    assert str(problem.value).count("\n") == 10


def truth_of(folder: Path) -> Annotations:
    """Return the annotations of `content`, read from a file."""
    return read_annotations(write(folder, content(), "truth.json"))


def test_results_by_id(tmp_path: Path) -> None:
    """Ids become indices into the images and classes of the annotations."""
    found = read_results(write(tmp_path, rows()), truth_of(tmp_path))
    assert (found.image.tolist(), found.label.tolist()) == ([1, 0], [1, 0])
    assert found.boxes.tolist() == [[1, 2, 3, 4], [0, 0, 5.5, 5]]
    assert (found.scores.tolist(), found.boxes.dtype) == ([0.5, 0.25], np.float64)
    nothing = read_results(write(tmp_path, []), truth_of(tmp_path))
    assert nothing.boxes.shape == (0, 4)


def test_results_by_name(tmp_path: Path) -> None:
    """Names win over ids, in either spelling, with or without the folder of the image."""
    data = content()
    data["categories"][0]["name"] = "motorcycle"
    truth = read_annotations(write(tmp_path, data, "truth.json"))
    named = [
        {"image_id": 99, "file_name": "cat.jpg", "category_id": 3, "category_name": "motorbike"},
        {"image_id": "cat.jpg", "category_id": 3, "category_name": "person"},
        {"image_id": 7, "file_name": "b/7.jpg", "category_id": 3, "category_name": "motorcycle"},
        {"image_id": 7, "file_name": "no such name.jpg", "category_id": 1},
    ]
    found = read_results(write(tmp_path, [row | {"bbox": [0, 0, 1, 1], "score": 1} for row in named]), truth)
    assert found.image.tolist() == [1, 1, 0, 0]
    assert found.label.tolist() == [1, 0, 1, 0]


def test_ids_that_count_lines(tmp_path: Path) -> None:
    """With given names, category 0 is the first of them; a name that the annotations lack is an error."""
    data = [row | {"category_id": k} for k, row in enumerate(rows())]
    found = read_results(write(tmp_path, data), truth_of(tmp_path), ["dog", "person"])
    assert found.label.tolist() == [1, 0]
    with pytest.raises(ValueError, match="classes 1 are not in"):
        read_results(write(tmp_path, data), truth_of(tmp_path), ["dog", "horse"])


def test_a_contradiction_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If id and file name are those of different images, the name wins."""
    data = [rows()[0] | {"image_id": 7, "file_name": "cat.jpg"}]
    with caplog.at_level(logging.WARNING, logger="yolo"):
        assert read_results(write(tmp_path, data), truth_of(tmp_path)).image.tolist() == [1]
    assert "1 rows have the image_id of another image than their file_name" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([{"image_id": 8}, {"image_id": "x.jpg"}], "2 images are not in {truth}: 8, 'x.jpg'"),
        ([{"category_id": 0}, {"category_id": 2}],
         "classes 0, 2 are not in {truth}, which has 1 person, 18 dog; if they count the lines of a names file"),
        ([{"category_name": "cow"}], "classes 'cow' are not in {truth}, which has 1 person, 18 dog"),
        ([{}, {"score": "high"}], "row 1: score 'high': expected a finite number"),
        ([{"bbox": [1, 2, 3]}], "row 0: bbox [1, 2, 3]: expected"),
        ([{"image_id": 8, "category_id": 2}], "1 images are not in {truth}: 8\n"),
    ],
)  # fmt: skip
def test_bad_rows(tmp_path: Path, changes: list[Json], message: str) -> None:
    """Unknown images and classes are all listed, once each; a bad row is named by its number."""
    data = [row | change for row, change in zip(rows(), changes, strict=False)]
    with pytest.raises(ValueError, match="^") as problem:
        read_results(write(tmp_path, data), truth_of(tmp_path))
    assert message.format(truth=tmp_path / "truth.json") in str(problem.value)


def test_files_that_are_not_results(tmp_path: Path) -> None:
    """An annotation file, a row that is not an object, a row without ids."""
    truth = truth_of(tmp_path)
    with pytest.raises(ValueError, match="expected a list of detections, got a dict; is it an annotation file"):
        read_results(tmp_path / "truth.json", truth)
    with pytest.raises(ValueError, match="row 0: expected an object, got 3"):
        read_results(write(tmp_path, [3]), truth)
    with pytest.raises(ValueError, match="row 0: image_id and category_id are needed, got the keys score"):
        read_results(write(tmp_path, [{"score": 1}]), truth)
