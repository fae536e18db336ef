"""COCO's json files: what is read, and the messages for bad files and entries."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.darknet.test_golden import SHARED, needs_shared
from tests.support.many import examples
from yolo.data.formats.coco_json import POLYGONS, Annotations, read_annotations
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
        (entry("annotations", 0, area=float("inf")), "area inf: expected square pixels"),
        (entry("annotations", 0, area=10**400), "expected square pixels"),
        (entry("annotations", 0, bbox=[1, 2, 3, 10**400]), "four finite numbers"),
        (entry("annotations", 0, bbox=["1", "2", "3", "4"]), "(id 1): bbox ['1', '2', '3', '4']: expected"),
        (entry("annotations", 0, iscrowd="maybe"), "(id 1): iscrowd 'maybe': expected 0 or 1"),
        (entry("annotations", 0, iscrowd=[1]), "(id 1): iscrowd [1]: expected 0 or 1"),
        (entry("annotations", 0, image_id=True), "(id 1): image_id True: no image has this id"),
        (entry("annotations", 0, category_id=[1]), "(id 1): category_id [1]: no category has this id"),
        (entry("images", 0, width=-40), "images[0] (id 7): width -40: expected a number of pixels"),
        (entry("images", 0, height="tall"), "images[0] (id 7): height 'tall': expected a number of pixels"),
        (entry("images", 1, id=7), "images[1]: another entry has the id 7"),
        (entry("images", 1, id=7.0), "images[0]: another entry has the id 7"),
        (entry("images", 1, id=None), "images[1]: id None: expected a number or a text"),
        (entry("images", 1, id=True), "images[1]: id True: expected a number or a text"),
        (entry("categories", 1, id=18), "categories[1]: another entry has the id 18"),
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


def test_a_fault_names_its_image(tmp_path: Path) -> None:
    """By index, where it is known: of an annotation its image, of an image itself. Bad images stay in the arrays."""
    data = content()
    data["images"] += [{"id": 8, "width": -1}, {"id": 7}]
    data["annotations"] += [{"image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 1]}]
    data["annotations"][0]["bbox"] = None
    found = read_annotations(write(tmp_path, data), skip_faults=True)
    of = {fault.text.split(": ", 1)[1]: fault.image for fault in found.faults}
    assert of == {
        "images[0]: another entry has the id 7": 0,
        "images[3]: another entry has the id 7": 3,
        "images[2] (id 8): width -1: expected a number of pixels": 2,
        "annotations[0] (id 1): bbox None: expected [left, top, width, height], four finite numbers": 1,
        "annotations[3]: image_id 99: no image has this id": None,
    }
    assert (len(found.image_ids), found.ids.tolist()) == (4, [2, 9])


@pytest.mark.parametrize(
    ("images", "references", "found", "numbers"),
    [
        ([7, 3], [3, 3.0, "3", " 03 ", "7"], [1, 1, 1, 1, 0], [7, 3]),
        (["7", "003"], [3, "3", "003", 7.0], [1, 1, 1, 0], [7, 3]),
        ([7.0, 3.0], [7, "3"], [0, 1], [7, 3]),
        (["train_1", "b.jpg"], ["b.jpg", "train_1"], [1, 0], [1, 2]),
        ([3, "3"], ["3", 3], [1, 0], [1, 2]),  # only what is written alike decides
        ([2**70, 1], [2**70], [0], [1, 2]),
    ],
)
def test_ids_are_numbers_or_texts(
    tmp_path: Path, images: list[Any], references: list[Any], found: list[int], numbers: list[int]
) -> None:
    """A reference finds the id that is written alike, else the only one that means the same number."""
    data = content()
    data["images"] = [{"id": value, "file_name": "a.jpg"} for value in images]
    data["annotations"] = [{"image_id": value, "category_id": 1, "bbox": [0, 0, 1, 1]} for value in references]
    read = read_annotations(write(tmp_path, data))
    assert (read.image.tolist(), read.image_ids.tolist(), read.image_ids.dtype) == (found, numbers, np.int64)
    # Classes: in the order of the numbers that their ids mean, else in that of the file.
    data["annotations"] = [{"image_id": images[0], "category_id": value, "bbox": [0, 0, 1, 1]} for value in references]
    data["categories"] = [{"id": value, "name": f"class {k}"} for k, value in enumerate(images)]
    read = read_annotations(write(tmp_path, data))
    assert [read.names[k] for k in read.label] == [f"class {k}" for k in found]
    assert read.category_ids == sorted(numbers)


@pytest.mark.parametrize("references", [["3"], [5], ["x"], [3.5]])
def test_an_ambiguous_reference_is_a_fault(tmp_path: Path, references: list[Any]) -> None:
    """ "3" means neither "03" nor "003", and a half means nothing."""
    data = content()
    data["images"] = [{"id": value} for value in ("03", "003", 4)]
    data["annotations"] = [{"image_id": value, "category_id": 1, "bbox": [0, 0, 1, 1]} for value in references]
    with pytest.raises(ValueError, match=r"annotations\[0\]: image_id .*: no image has this id"):
        read_annotations(write(tmp_path, data))


def test_ids_of_annotations_only_serve_messages(tmp_path: Path) -> None:
    """They may restart, repeat, be missing or be texts: no object is lost, and each has a place."""
    data = content()
    for entry, number in zip(data["annotations"], (1, 1, "a1"), strict=True):
        entry["id"] = number
    data["annotations"].append({"image_id": 3, "category_id": 1, "bbox": [0, 0, 1, 1]})
    path = write(tmp_path, data)
    found = read_annotations(path)
    assert found.ids.tolist() == [1, 1, -1, -1]
    assert [found.where(k) for k in (1, 3)] == [f"{path}: annotations[1] (id 1)", f"{path}: annotations[3]"]


def test_values_that_tools_write_otherwise(tmp_path: Path) -> None:
    """Sizes as texts and floats, area null, iscrowd as a bool or a text, a name that is null."""
    data = content()
    data["images"][0].update(width="40", height=30.0)
    data["images"][1].update(width=None, file_name=None)
    for entry, area, crowd in zip(data["annotations"], (None, None, 7), (True, "0", "1"), strict=True):
        entry.update(area=area, iscrowd=crowd)
    data["categories"][0]["name"] = None
    found = read_annotations(write(tmp_path, data))
    assert (found.sizes.tolist(), found.file_names) == ([[40, 30], [0, 10]], ["b/7.jpg", ""])
    assert (found.area.tolist(), found.crowd.tolist()) == ([12, 0, 7], [True, False, True])
    assert found.names == ["person", "category 18"]


def test_polygons_replace_a_missing_box(tmp_path: Path) -> None:
    """Their enclosing box; without polygons the box is still missing. A box that is there is never replaced."""
    data = content()
    shape = [[1, 2, 5, 2, 5, 8.5], [9, 1.5, 3, 4, 2, 2]]
    for entry, box, polygons in zip(
        data["annotations"], (None, [], [0, 0, 1, 1]), (shape, shape[0], shape), strict=True
    ):
        entry.update(bbox=box, segmentation=polygons)
    assert read_annotations(write(tmp_path, data)).boxes.tolist() == [[1, 1.5, 8, 7], [1, 2, 4, 6.5], [0, 0, 1, 1]]
    for polygons in ([], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5]], [["a"] * 6], {"counts": "x", "size": [3, 4]}, None):
        data["annotations"][0]["segmentation"] = polygons
        with pytest.raises(ValueError, match=r"annotations\[0\] \(id 1\): bbox None: expected"):
            read_annotations(write(tmp_path, data))


def test_roboflows_group_is_not_a_class(tmp_path: Path) -> None:
    """Category 0, the group of all others, also if a class has its name; it is a class where an object has it."""
    data = content()
    group = {"id": 0, "name": "dog", "supercategory": "none"}
    data["categories"] = [group, *(entry | {"supercategory": "dog"} for entry in data["categories"])]
    assert read_annotations(write(tmp_path, data)).names == ["person", "dog"]
    group["id"] = 99
    assert read_annotations(write(tmp_path, data)).names == ["person", "dog"]
    data["categories"][1]["name"] = "cat"
    assert read_annotations(write(tmp_path, data)).names == ["person", "cat", "dog"]  # it may be a class
    group["id"] = 0
    assert read_annotations(write(tmp_path, data)).names == ["person", "cat"]
    data["annotations"][0]["category_id"] = 0
    assert read_annotations(write(tmp_path, data)).names == ["dog", "person", "cat"]
    data["categories"] = [group]
    data["annotations"] = []
    assert read_annotations(write(tmp_path, data)).names == ["dog"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    """Each is recognised; one that is not names the file."""
    data = content()
    data["categories"][0]["name"] = "Schlüssel"
    text = json.dumps(data, ensure_ascii=False)
    (tmp_path / "a.json").write_bytes(text.encode(encoding))
    assert read_annotations(tmp_path / "a.json").names == ["person", "Schlüssel"]
    (tmp_path / "a.json").write_bytes(text.replace("Schlüssel", "螺栓").encode("gb2312"))
    with pytest.raises(ValueError, match=r"a.json: not a text file .* not in utf-8; if it is one, save it as UTF-8"):
        read_annotations(tmp_path / "a.json")


numbers = st.one_of(st.integers(-3, 9**9), st.floats(allow_nan=False, allow_infinity=False))
names = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ['"segmentation": [[1, 2]]', '\\"segmentation": [[1]]', "segmentation", "\\", '"', '"segmentation']
    ),
)
shapes = st.one_of(
    st.lists(st.lists(numbers, max_size=7), max_size=3),
    st.lists(numbers, max_size=6),
    st.fixed_dictionaries({"counts": st.one_of(st.text(max_size=5), st.lists(st.integers(0, 9)))}),
    st.none(),
    names,
)
values = st.one_of(numbers, names, shapes, st.dictionaries(names, shapes, max_size=2))
objects = st.dictionaries(st.one_of(st.just("segmentation"), names), values, max_size=5)


def without_polygons(value: Any) -> Any:
    """Return a json value with 0 for every list of lists under the key `segmentation`."""
    if isinstance(value, list):
        return [without_polygons(part) for part in value]
    if not isinstance(value, dict):
        return value
    polygons = [key for key, part in value.items() if key == "segmentation" and _is_polygons(part)]
    return {key: 0 if key in polygons else without_polygons(part) for key, part in value.items()}


def _is_polygons(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, list) for part in value)


@examples(60)
@given(
    st.lists(objects, max_size=4),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.sampled_from([(",", ":"), (" ,\n", " :\t")]),
)
def test_polygons_are_removed_and_nothing_else(
    content: list[Json], indent: int | None, ascii_only: bool, separators: tuple[str, str]
) -> None:
    """Whatever names and texts hold, the rest is what json.loads reads."""
    text = json.dumps(content, indent=indent, ensure_ascii=ascii_only, separators=separators)
    data = text.encode("utf-8", "surrogatepass")
    assert json.loads(POLYGONS.sub(b'"segmentation":0', data)) == without_polygons(json.loads(text))


def test_a_damaged_polygon_is_still_an_error(tmp_path: Path) -> None:
    """With line and column of the whole file, as far as an error comes after polygons."""
    text = json.dumps(content(), indent=1).replace('"id": 1,', '"segmentation": [[1, 2,\n 3]],\n"id": 1,')
    for damage in ('"bbox": [', '"area": '):
        with pytest.raises(ValueError, match=r"a.json:\d+: not json: .* at column \d+") as problem:
            read_annotations(write(tmp_path, text.replace(damage, damage + "x")))
        line = int(str(problem.value).split(":")[1])
        assert damage + "x" in text.replace(damage, damage + "x").split("\n")[line - 1]
    for broken in ("[[1, 2", "[[1, x]]", "[[[[1]]", "[" * 100_000):
        with pytest.raises(ValueError, match="a.json:?[0-9]*: not json"):
            read_annotations(write(tmp_path, text.replace("[[1, 2,\n 3]]", broken)))


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


def test_results_by_ids_that_are_texts(tmp_path: Path) -> None:
    """The ids of the results are those of the annotations, whatever they are."""
    data = content()
    data["images"][0]["id"], data["images"][1]["id"] = "train_7", "3"
    data["annotations"] = []
    truth = read_annotations(write(tmp_path, data, "truth.json"))
    results = [row | {"image_id": value} for row, value in zip(rows(), (3, "train_7"), strict=True)]
    assert read_results(write(tmp_path, results), truth).image.tolist() == [1, 0]


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
