"""Whether there is something to learn: errors, and warnings that count."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.small_sets import DrawnImage, write_coco, write_voc, write_yolo
from yolo.data.datasets import open_data
from yolo.data.learnable import check_learnable

BOX = (0, 2, 2, 20, 20)


def drawn(*objects: int) -> list[DrawnImage]:
    """Return images with these numbers of objects."""
    return [DrawnImage((32, 24), [BOX] * count) for count in objects]


def all_crowds(root: Path) -> Path:
    """Write a COCO set whose objects are all crowds."""
    file = write_coco(root, drawn(2, 1)) / "annotations" / "instances_train.json"
    file.write_text(file.read_text().replace('"iscrowd": 0', '"iscrowd": 1'))
    return root


def all_difficult(root: Path) -> Path:
    """Write a VOC set whose objects are all difficult."""
    for file in (write_voc(root, drawn(2, 1)) / "Annotations").glob("*.xml"):
        file.write_text(file.read_text().replace("<difficult>0", "<difficult>1"))
    return root


def crowds_and_flat(root: Path) -> Path:
    """Write a COCO set with a crowd and two boxes without area."""
    file = write_coco(root, drawn(3)) / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["iscrowd"] = 1
    for entry in content["annotations"][1:]:
        entry["bbox"][2] = 0
    file.write_text(json.dumps(content))
    return root


def faults_skipped(root: Path) -> Path:
    """Write a YOLO set whose only image with labels has a fault."""
    (write_yolo(root, drawn(1, 0)) / "labels" / "train" / "img_0.txt").write_text("0 0.5 0.5 nan 0.5\n")
    return root


REASONS = {
    all_crowds: "of 3 objects 3 are crowds or difficult, and none is left",
    all_difficult: "of 3 objects 3 are crowds or difficult, and none is left",
    crowds_and_flat: "of 3 objects 1 are crowds or difficult, 2 are boxes without area, and none is left",
    faults_skipped: "none of the 1 images has an object (1 images left out because of 1 faults)",
    lambda root: write_coco(root, drawn(0, 0)): "none of the 2 images has an object",
}


@pytest.mark.parametrize("write", REASONS)
def test_nothing_to_learn(write: object, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An error with the reason, the place and the option for who means it, which makes it a warning."""
    assert callable(write)
    index = open_data(write(tmp_path), bad="skip", quiet=True).index
    message = f"here: nothing to learn or to evaluate on: {REASONS[write]}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}; .*--allow-empty"):
        check_learnable(index, "here", allow_empty=False)
    assert not caplog.text
    check_learnable(index, "here", allow_empty=True)
    assert message in caplog.text


@pytest.mark.parametrize(("objects", "warned"), [((1, 0, 0), True), ((1, 0), False), ((2, 1), False), ((1,), False)])
def test_most_images_without_labels(
    objects: tuple[int, ...], warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Above one half there is a warning with the count; one labelled image is enough to learn."""
    index = open_data(write_yolo(tmp_path, drawn(*objects))).index
    check_learnable(index, "here", allow_empty=False)
    assert ("here: 2 of 3 images have no labels and are background" in caplog.text) == warned
    assert bool(caplog.text) == warned


def test_a_crowd_among_objects_is_enough(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One object that counts is something to learn; images with only a crowd have labels."""
    file = write_coco(tmp_path, drawn(1, 1, 1)) / "annotations" / "instances_train.json"
    file.write_text(file.read_text().replace('"iscrowd": 0', '"iscrowd": 1', 2))
    check_learnable(open_data(tmp_path).index, "here", allow_empty=False)
    assert not caplog.text
