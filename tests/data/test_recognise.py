"""From the path that a user has to a data set: which file or folder is meant, and what is said about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.exports import LAYOUTS, TRAIN, VAL, coco, draw, write, yolo
from tests.support.opening import check, opened
from yolo.data.datasets import open_data, splits
from yolo.data.layouts import TABLE
from yolo.data.patterns import Tree

NAMES = ("bolt", "nut")


def test_patterns(tmp_path: Path) -> None:
    """Placeholders, alternatives and fixed names in any case; a word for a split is required where it says so."""
    for name in ("Images/Train/a.jpg", "images2/val/b.jpg", "VOC2007/x.xml", "VOC2012/x.xml", "Images/extra/c.jpg"):
        write(tmp_path / name)
    tree = Tree(tmp_path)
    assert [(texts["split"], path.name) for texts, path in tree.match("images/{word}")] == [("Train", "Train")]
    assert [texts["split"] for texts, _ in tree.match("{images|pictures}/{split}")] == ["Train", "extra"]
    assert [texts["part"] for texts, _ in tree.match("VOC{part}/x.xml")] == ["2007", "2012"]
    assert [path.name for _, path in tree.match("VOC{part}", {"part": "2012"})] == ["VOC2012"]
    assert tree.existing("IMAGES/train") == tmp_path / "Images" / "Train"
    assert tree.existing("nothing") == tmp_path / "nothing"
    assert Tree(tmp_path / "Images").match("../VOC{part}")[0][1] == tmp_path / "VOC2007"


def test_rows_of_the_table_have_names_of_their_own() -> None:
    """A message names a layout by its row."""
    assert len({row.name for row in TABLE}) == len(TABLE)
    assert [row.format for row in TABLE] == sorted(
        (row.format for row in TABLE), key=["coco", "voc", "masks", "yolo"].index
    )


@pytest.mark.parametrize("depth", ["outer", "outer/inner"])
@pytest.mark.parametrize("name", ["roboflow-coco", "ultralytics", "vocdevkit", "darknet"])
def test_a_data_set_in_a_folder(tmp_path: Path, name: str, depth: str) -> None:
    """The folder above, up to two levels, is enough; the one that is used is said once."""
    LAYOUTS[name].write(tmp_path / depth)
    data = opened(tmp_path, "val")
    check(data, VAL)
    assert (
        sum(note.startswith(f"{tmp_path}: the data set is in {tmp_path / 'outer'}") for note in data.index.notes) == 1
    )


def test_several_data_sets_in_a_folder(tmp_path: Path) -> None:
    """None of them is chosen."""
    LAYOUTS["voc"].write(tmp_path / "one")
    LAYOUTS["roboflow-coco"].write(tmp_path / "two")
    with pytest.raises(ValueError, match=r"holds several data sets: \S+/one, \S+/two; give one of them"):
        splits(tmp_path)


def test_files_anywhere_are_not_a_data_set(tmp_path: Path) -> None:
    """xml files and images somewhere below a folder do not make it one; names of classes elsewhere do not matter."""
    write(tmp_path / "data" / "deep" / "a" / "x.xml", "<annotation/>")
    draw(tmp_path / "data" / "deep" / "b", TRAIN)
    write(tmp_path / "networks" / "one.names", *NAMES)
    write(tmp_path / "networks" / "two.names", *NAMES[::-1])
    with pytest.raises(ValueError, match="not recognised as a data set; found: data/"):
        splits(tmp_path)
    LAYOUTS["voc"].write(tmp_path / "parts")
    check(opened(tmp_path), TRAIN)


def test_a_near_miss_is_named(tmp_path: Path) -> None:
    """Labels without images, and images without labels."""
    write(tmp_path / "a" / "Annotations" / "x.xml", "<annotation/>")
    with pytest.raises(
        ValueError, match="Annotations holds xml files, but there are no images in JPEGImages or images"
    ):
        splits(tmp_path / "a")
    draw(tmp_path / "b" / "photos", TRAIN)
    with pytest.raises(
        ValueError, match=r"found: photos/ \(5 \.jpg\)\n.*photos holds images, but there are no class names"
    ):
        splits(tmp_path / "b")


def test_two_files_of_one_split(tmp_path: Path) -> None:
    """Neither is dropped silently."""
    draw(tmp_path / "train", TRAIN)
    for name in ("one", "two"):
        coco(tmp_path / "train" / f"{name}.json", TRAIN)
    with pytest.raises(ValueError, match=r"one\.json and \S+two\.json are both the split train"):
        splits(tmp_path)


def test_two_files_of_class_names(tmp_path: Path) -> None:
    """Numbers mean nothing without names, so two files that differ are an error, the same names twice are not."""
    LAYOUTS["labelimg-yolo"].write(tmp_path)
    write(tmp_path / "obj.names", *NAMES)
    check(opened(tmp_path), (*TRAIN, *VAL))
    write(tmp_path / "obj.names", *NAMES[::-1])
    with pytest.raises(ValueError, match=r"classes\.txt and \S+obj\.names have different class names"):
        opened(tmp_path)


def test_lists_win_over_one_folder_of_images(tmp_path: Path) -> None:
    """train.txt and val.txt beside undivided images are the division that the user made."""
    draw(tmp_path / "images", (*TRAIN, *VAL))
    yolo(tmp_path / "labels", (*TRAIN, *VAL))
    write(tmp_path / "classes.txt", *NAMES)
    for split, parts in (("train", TRAIN), ("val", VAL)):
        write(tmp_path / f"{split}.txt", *(f"./images/{part.stem}.jpg" for part in parts))
    check(opened(tmp_path, "val"), VAL)
    check(opened(tmp_path, "train", "train.txt"), TRAIN)


def test_folders_that_are_not_named_like_splits_are_one_set(tmp_path: Path) -> None:
    """images/cam0 and images/cam1 are not two splits."""
    for folder, parts in (("cam0", TRAIN), ("cam1", VAL)):
        draw(tmp_path / "images" / folder, parts)
        yolo(tmp_path / "labels" / folder, parts)
    write(tmp_path / "classes.txt", *NAMES)
    assert splits(tmp_path) == ["all"]
    check(opened(tmp_path), (*TRAIN, *VAL))


def edited(file: Path, **lists: list[dict[str, object]]) -> None:
    """Replace lists of a json file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **lists}))


@pytest.mark.parametrize("group", ["parts", "bolt"])
def test_a_group_is_not_a_class(tmp_path: Path, group: str) -> None:
    """Roboflow's category 0 has no objects in any split; it may have the name of a class."""
    for split, parts in (("train", TRAIN), ("valid", VAL)):
        draw(tmp_path / split, parts)
        coco(tmp_path / split / "_annotations.coco.json", parts, group=group)
    data = opened(tmp_path)
    check(data, TRAIN)
    assert any(group in note and "not a class" in note for note in data.index.notes)


def test_a_group_with_objects_in_another_split_is_a_class(tmp_path: Path) -> None:
    """And then it is one in every split."""
    for split, parts in (("train", TRAIN), ("valid", VAL)):
        draw(tmp_path / split, parts)
        coco(tmp_path / split / "_annotations.coco.json", parts, group="parts")
    file = tmp_path / "valid" / "_annotations.coco.json"
    annotations = json.loads(file.read_text())["annotations"]
    edited(file, annotations=[{**annotations[0], "category_id": 0}, *annotations[1:]])
    assert opened(tmp_path).names == opened(tmp_path, "val").names == ["parts", *NAMES]


def test_categories_that_only_one_split_has(tmp_path: Path) -> None:
    """The classes are the same in all splits, by id where the files agree; a class without objects stays one."""
    LAYOUTS["train-val-json"].write(tmp_path)
    more = [{"id": 0, "name": "washer"}, {"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}]
    edited(tmp_path / "val.json", categories=more)
    train, val = opened(tmp_path), opened(tmp_path, "val")
    assert train.names == val.names == ["washer", *NAMES]
    assert train.index.labels.min() == val.index.labels.min() == 1
    assert sum("train.json lists 2 of the 3 classes" in note for note in train.index.notes) == 1


def test_other_ids_of_the_same_classes(tmp_path: Path) -> None:
    """Two files number their classes differently: names decide."""
    LAYOUTS["train-val-json"].write(tmp_path)
    edited(tmp_path / "val.json", categories=[{"id": 1, "name": "nut"}, {"id": 2, "name": "bolt"}])
    assert opened(tmp_path).names == opened(tmp_path, "val").names == list(NAMES)
    assert opened(tmp_path, "val").index.labels.tolist() == [1 - label for part in VAL for label, *_ in part.objects]


def test_a_broken_split_does_not_hide_the_others(tmp_path: Path) -> None:
    """val.json is cut off: train is read as before."""
    LAYOUTS["train-val-json-folders"].write(tmp_path)
    file = tmp_path / "valid.json"
    file.write_text(file.read_text()[:-30])
    check(opened(tmp_path), TRAIN)
    with pytest.raises(ValueError, match=r"valid\.json:1: not json"):
        opened(tmp_path, "val")


@pytest.mark.parametrize("folder", ["test_data", "train"])
def test_a_folder_named_like_a_split(tmp_path: Path, folder: str) -> None:
    """The images of a json file are those beside it, whatever its folder is called and what is in other folders."""
    for name in (folder, "train_data", "val_data"):
        LAYOUTS["annotations-json"].write(tmp_path / name)
    check(open_data(tmp_path / folder / "annotations.json", split="train"), (*TRAIN, *VAL))


def test_two_years_are_one_split_and_said(tmp_path: Path) -> None:
    """VOC2007 and VOC2012 of one VOCdevkit."""
    LAYOUTS["vocdevkit-two-years"].write(tmp_path)
    notes = opened(tmp_path / "VOCdevkit").index.notes
    assert [note for note in notes if "the split train is that of VOC2007, VOC2012 together" in note]


def test_images_without_an_xml_file_are_counted(tmp_path: Path) -> None:
    """They are neither background nor silently gone; masks with the names of images are not counted."""
    LAYOUTS["kaggle-voc"].write(tmp_path)
    draw(tmp_path / "images", [VAL[0]._replace(stem="part_009")], suffix=".png")
    draw(tmp_path / "images", TRAIN[:2], suffix=".bmp")
    data = opened(tmp_path)
    check(data, (*TRAIN, *VAL))
    assert [note for note in data.index.notes if "1 of 11 images have no xml file, such as" in note]
