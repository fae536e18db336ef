"""Planted faults: each raises a message with file and line, and no file of the user changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.small_sets import NAMES, WRITERS, DrawnImage
from yolo.data.datasets import Format, open_data

TXT, JSON, XML = "labels/train/img_0.txt", "annotations/instances_train.json", "Annotations/img_0.xml"


def put(file: str, text: str) -> Callable[[Path], None]:
    """Return a fault: the file has this content."""

    def plant(root: Path) -> None:
        (root / file).write_text(text)

    return plant


def swap(file: str, old: str, new: str) -> Callable[[Path], None]:
    """Return a fault: the first `old` in the file has become `new`."""

    def plant(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new, 1))

    return plant


def cut(file: str) -> Callable[[Path], None]:
    """Return a fault: the second half of the file is missing."""

    def plant(root: Path) -> None:
        data = (root / file).read_bytes()
        (root / file).write_bytes(data[: len(data) // 2])

    return plant


def remove(file: str) -> Callable[[Path], None]:
    """Return a fault: the file is not there."""
    return lambda root: (root / file).unlink()


class Fault(NamedTuple):
    """A fault, how it is planted, and the message that is expected."""

    name: str
    format: Format
    plant: Callable[[Path], None]
    message: str
    """Its text after the folder of the data set, `{root}`."""
    left: tuple[int, int] | None = None
    """Images and objects that are left of (2, 2) when it is skipped; None if it cannot be skipped."""


FAULTS = [
    Fault("NaN box, txt", "yolo", put(TXT, "0 0.5 nan 0.2 0.2\n"), f"{TXT}:1: '0 0.5 nan 0.2 0.2': not finite", (1, 0)),
    Fault(
        "NaN box, json",
        "coco",
        swap(JSON, "[4, 6,", "[NaN, 6,"),
        f"{JSON}: annotations[1] (id 100): bbox [nan, 6, 26, 34]: expected [left, top, width, height]",
        (1, 0),
    ),
    Fault(
        "NaN box, xml",
        "voc",
        swap(XML, "<xmin>5<", "<xmin>nan<"),
        f"{XML}:7: xmin 'nan': expected a number of pixels",
        (1, 0),
    ),
    Fault(
        "a word instead of a number",
        "yolo",
        put(TXT, "\n0 0.5 half 0.2 0.2\n"),
        f"{TXT}:2: '0 0.5 half 0.2 0.2': expected 'class cx cy w h'",
        (1, 0),
    ),
    Fault(
        "a value missing",
        "yolo",
        put(TXT, "0 0.5 0.5 0.2\n"),
        f"{TXT}:1: 4 values in '0 0.5 0.5 0.2'; expected 'class cx cy w h'",
        (1, 0),
    ),
    Fault(
        "box outside, txt in pixels",
        "yolo",
        put(TXT, "0 32 24 10 10\n"),
        f"{TXT}:1: the box (1728, 912) to (2368, 1392) lies outside its image, 64 x 48 pixels",
        (1, 0),
    ),
    Fault(
        "box outside, json",
        "coco",
        swap(JSON, "[4, 6,", "[60, 6,"),
        f"{JSON}: annotations[1] (id 100): the box (60, 6) to (86, 40) lies outside its image, 64 x 48 pixels",
        (1, 0),
    ),
    Fault(
        "box outside, xml",
        "voc",
        swap(XML, "<ymax>40<", "<ymax>140<"),
        f"{XML}:3: the box (4, 6) to (30, 140) lies outside its image, 64 x 48 pixels",
        (1, 0),
    ),
    Fault(
        "class too large",
        "yolo",
        put(TXT, "3 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n"),
        f"{TXT}:1: class 3: there are 3 classes; expected",
        (1, 0),
    ),
    Fault(
        "unknown category",
        "coco",
        swap(JSON, '"category_id": 4', '"category_id": 5'),
        f"{JSON}: annotations[1] (id 100): category_id 5: no category has this id",
        (1, 0),
    ),
    Fault(
        "negative size, txt",
        "yolo",
        put(TXT, "0 0.5 0.5 -0.2 0.2\n"),
        f"{TXT}:1: '0 0.5 0.5 -0.2 0.2': the size is negative",
        (1, 0),
    ),
    Fault(
        "negative size, json",
        "coco",
        swap(JSON, "6, 26, 34]", "6, -26, 34]"),
        f"{JSON}: annotations[1] (id 100): bbox [4, 6, -26, 34]: the size is negative",
        (1, 0),
    ),
    Fault(
        "negative size, xml",
        "voc",
        swap(XML, "<xmax>30<", "<xmax>3<"),
        f"{XML}:6: box (5, 7) to (3, 40): the size is negative",
        (1, 0),
    ),
    Fault(
        "negative image size",
        "coco",
        swap(JSON, '"width": 40', '"width": -40'),
        f"{JSON}: images[1] (id 11): width -40: expected a number of pixels",
        (1, 2),
    ),
    Fault(
        "missing image, json",
        "coco",
        remove("images/train/img_0.jpg"),
        f"{JSON}: no such image: {{root}}/images/train/img_0.jpg",
        (1, 0),
    ),
    Fault(
        "missing image, xml",
        "voc",
        remove("JPEGImages/img_0.jpg"),
        "ImageSets/Main/train.txt: no such image: {root}/JPEGImages/img_0.jpg",
        (1, 0),
    ),
    Fault(
        "label for no image",
        "yolo",
        put("labels/train/img_7.txt", "0 0.5 0.5 0.2 0.2\n"),
        "labels/train/img_7.txt: labels without an image",
        (2, 2),
    ),
    Fault(
        "object of no image",
        "coco",
        swap(JSON, '"image_id": 10', '"image_id": 99'),
        f"{JSON}: annotations[0] (id 101): image_id 99: no image has this id",
        (2, 1),
    ),
    Fault("no xml", "voc", remove(XML), f"ImageSets/Main/train.txt: img_0: there is no {{root}}/{XML}", (1, 0)),
    Fault("truncated JPEG", "coco", cut("images/train/img_1.jpg"), "images/train/img_1.jpg: truncated JPEG", (1, 2)),
    Fault(
        "not an image",
        "yolo",
        put("images/train/img_1.jpg", "<html>404</html>"),
        "images/train/img_1.jpg: cannot be read as an image",
        (1, 2),
    ),
    Fault(
        "other size than the file",
        "coco",
        swap(JSON, '"width": 40, "height": 60', '"width": 60, "height": 40'),
        "images/train/img_1.jpg: 40 x 60 pixels, but its annotations are for 60 x 40",
        (1, 2),
    ),
    Fault("empty json", "coco", put(JSON, ""), f"{JSON}:1: not json: Expecting value at column 1"),
    Fault(
        "json without images",
        "coco",
        put(JSON, '{"images": [], "annotations": [], "categories": []}'),
        f"{JSON}: 0 images and 0 categories; expected at least one each",
    ),
    Fault("a results file", "coco", put(JSON, "[]"), f"{JSON}: this json is a list, like a results file"),
    Fault(
        "duplicate image id",
        "coco",
        swap(JSON, '"id": 11', '"id": 10'),
        f"{JSON}: images[1]: another entry has the id 10",
    ),
    Fault(
        "image listed twice",
        "voc",
        put("ImageSets/Main/train.txt", "img_0\nimg_1\nimg_0\n"),
        "ImageSets/Main/train.txt: {root}/JPEGImages/img_0.jpg is listed more than once",
        (2, 2),
    ),
    Fault("broken xml", "voc", swap(XML, "</object>", "</objekt>"), f"{XML}:12: not xml: mismatched tag", (1, 0)),
    Fault(
        "unreadable yaml",
        "yolo",
        put("data.yaml", "train: images/train\nnames: [cat, dog\nval: x\n"),
        "data.yaml:3: this is not YAML: expected ',' or ']'",
    ),
    Fault(
        "yaml with another nc",
        "yolo",
        put("data.yaml", "train: images/train\nnames: [cat, dog]\nnc: 3\n"),
        "data.yaml:3: nc is 3, but there are 2 names",
    ),
    Fault(
        "yaml, split of nothing",
        "yolo",
        put("data.yaml", "train: images/trian\nnames: [cat, dog, ball]\n"),
        "images/trian: no such folder and no list of images",
    ),
    Fault(
        "no class names",
        "yolo",
        remove("classes.txt"),
        "images/train: no class names; expected classes.txt or data.yaml",
    ),
]


def state(root: Path) -> dict[Path, tuple[bytes, int]]:
    """Return bytes and modification time of every file."""
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in sorted(root.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_planted_faults(fault: Fault, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is an error by default. Skipped, it is logged in the same words, and its image is missing: not background."""
    WRITERS[fault.format](tmp_path)
    fault.plant(tmp_path)
    before = state(tmp_path)
    message = f"{tmp_path}/{fault.message.format(root=tmp_path)}"
    with pytest.raises((ValueError, OSError), match=re.escape(message)):
        _read_all(tmp_path)
    if fault.left is None:
        with pytest.raises((ValueError, OSError), match=re.escape(message)):
            open_data(tmp_path, bad="skip")
    else:
        data = open_data(tmp_path, bad="skip")
        assert (len(data), sum(len(data[k][1]["labels"]) for k in range(len(data)))) == fault.left
        assert message in caplog.text
        assert [message in line for line in data.index.faults] == [True]
        assert f"{data.index.left_out} images left out because of 1 faults:\n" in caplog.text
    assert state(tmp_path) == before


def _read_all(root: Path) -> None:
    data = open_data(root)
    for k in range(len(data)):
        data[k]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolo", "are others:\n  class 1: dog in the data, cow given\n  class 2: red ball in the data, none given"),
        ("coco", "1 classes of the data are not among the 2 class names: 'dog'; the names"),
        ("voc", "1 classes of the data are not among the 2 class names: 'dog'; the names are 'cat', 'cow'"),
    ],
)
def test_a_names_file_of_other_classes(name: Format, message: str, tmp_path: Path) -> None:
    """The message compares the names of the data with those that were given, one by one."""
    (tmp_path / "wrong.names").write_text("cat\ncow\n")
    with pytest.raises(ValueError, match=re.escape(message)):
        open_data(WRITERS[name](tmp_path / "set"), names=tmp_path / "wrong.names")


@pytest.mark.parametrize("name", WRITERS)
def test_without_faults_nothing_is_logged(name: Format, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same sets without a fault are complete, and no line is logged."""
    data = open_data(WRITERS[name](tmp_path), bad="skip", names=NAMES)
    assert (len(data), len(data[0][1]["labels"]), caplog.text) == (2, 2, "")


def test_many_faults_are_counted(tmp_path: Path) -> None:
    """Ten are shown and the rest is counted, so that a bad file does not fill the screen."""
    WRITERS["yolo"](tmp_path)
    (tmp_path / TXT).write_text("9 0.5 0.5 0.2 0.2\n" * 25)
    with pytest.raises(ValueError, match=r"img_0.txt:10: class 9.*\n\.\.\. and 15 more faults"):
        open_data(tmp_path)


def test_an_image_of_several_faults_is_one_image(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Images and faults are counted apart; an image with one bad line among good ones is no background either."""
    root = WRITERS["yolo"](tmp_path, [DrawnImage((64, 48), [(0, 0, 0, 9, 9)])] * 4)
    for name, text in (
        ("img_0", "9 0.5 0.5 0.2 0.2\n0 nan 0 0 0\n1 0.5 0.5 0.2 0.2\n"),
        ("img_2", "0 7 0.5 0.2 0.2\n"),
    ):
        (root / "labels" / "train" / f"{name}.txt").write_text(text)
    data = open_data(root, bad="skip")
    assert [data.path(k).stem for k in range(len(data))] == ["img_1", "img_3"]
    assert [len(data[k][1]["labels"]) for k in range(2)] == [1, 1]
    assert (data.index.left_out, len(data.index.faults)) == (2, 3)
    assert "2 images left out because of 3 faults:\n" in caplog.text
    with pytest.raises(ValueError, match="Correct the files, or have their images left out: --bad skip"):
        open_data(root)


def test_a_path_that_is_not_a_data_set(tmp_path: Path) -> None:
    """The message has what was expected; a path that does not exist; images that are not found."""
    with pytest.raises(ValueError, match="not recognised as a data set; found: nothing\nlooked for coco: COCO"):
        open_data(tmp_path)
    with pytest.raises(ValueError, match="not recognised as voc"):
        open_data(WRITERS["yolo"](tmp_path / "y"), data_format="voc")
    with pytest.raises(FileNotFoundError, match="nothing: no such file or folder"):
        open_data(tmp_path / "nothing")
    WRITERS["coco"](tmp_path / "c")
    for file in (tmp_path / "c" / "images" / "train").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="its images are not found: img_0.jpg, img_1.jpg; looked in .*images/train"):
        open_data(tmp_path / "c")
