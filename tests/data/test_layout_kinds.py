"""What people and their tools do to a data set's files: each is read as it is meant, or refused by name.

Subfolders, junk files, masks beside images, names with blanks, paths of another machine, images in two places, labels
elsewhere. `test_layouts.py` has the layouts themselves.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.support import exports
from tests.support.exports import LAYOUTS, TRAIN, VAL, Layout, Part
from tests.support.opening import check, opened, stems
from yolo.data.datasets import splits

PLAIN = LAYOUTS["ultralytics-without-yaml"]
SPLIT = PLAIN.words[0]
BESIDE = ["ultralytics-without-yaml", "ultralytics-beside", "roboflow-darknet", "roboflow-voc", "roboflow-coco",
          "labelimg-yolo", "labelimg-voc", "kaggle-voc", "voc", "voc-without-lists", "fiftyone-voc", "coco-2017",
          "cvat-yolo11", "annotations-json"]  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_junk_of_operating_systems_is_ignored(tmp_path: Path, name: str) -> None:
    """`._NAME`, .DS_Store, Thumbs.db and __MACOSX are no images, no labels and no splits, in whatever folder."""
    layout = LAYOUTS[name]
    layout.write(tmp_path)
    for folder in [tmp_path, *(place for place in tmp_path.rglob("*") if place.is_dir())]:
        for file in [place for place in folder.iterdir() if place.is_file()]:
            (folder / f"._{file.name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X\xff")
        (folder / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1\xff")
        (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (tmp_path / "__MACOSX" / "train").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "train" / "._part_000.jpg").write_bytes(b"\x00\x05\x16\x07")
    for split, parts in layout.splits.items():
        check(opened(tmp_path, split), parts)


@pytest.mark.parametrize("name", ["voc", "voc-without-lists", "kaggle-voc", "fiftyone-voc", "labelimg-voc"])
def test_masks_and_texts_beside_images_are_no_images(tmp_path: Path, name: str) -> None:
    """An image among several files of one stem is chosen by its name, never a mask, a text or a preview."""
    layout = LAYOUTS[name]
    layout.write(tmp_path)
    for image in [file for file in tmp_path.rglob("*") if file.suffix == layout.suffix]:
        image.with_suffix(".txt").write_text("a note of the user\n")
        image.with_suffix(".json").write_text("{}\n")
        mask = image.with_suffix(".png" if layout.suffix == ".jpg" else ".bmp")
        shutil.copy(image, mask)  # an image of the same size, which is not the one that the xml names
        mask.write_bytes(mask.read_bytes()[:20])
    for split, parts in layout.splits.items():
        data = opened(tmp_path, split)
        assert {data.path(k).suffix for k in range(len(data))} == {layout.suffix}
        check(data, parts)


@pytest.mark.parametrize("labels_too", [True, False], ids=["labels in subfolders", "labels flat"])
def test_subfolders_of_a_split_are_read(tmp_path: Path, labels_too: bool) -> None:
    """Images in subfolders of a split belong to it, with the labels in the same subfolders of the labels."""
    PLAIN.write(tmp_path)
    for folder in (tmp_path / "images" / SPLIT, *([tmp_path / "labels" / SPLIT] if labels_too else [])):
        for file in sorted(folder.iterdir()):
            place = folder / f"camera {int(file.stem[-1]) % 2}" / "day"
            place.mkdir(parents=True, exist_ok=True)
            file.rename(place / file.name)
    if labels_too:
        check(opened(tmp_path), TRAIN)
    else:  # labels that are not where they belong are never taken for images without objects
        with pytest.raises(ValueError, match=r"labels"):
            opened(tmp_path)


@pytest.mark.parametrize("name", ["coco-2017", "kaggle-voc-splits", "roboflow-darknet", "ultralytics-beside"])
def test_subfolders_in_other_layouts(tmp_path: Path, name: str) -> None:
    """File names with a folder in COCO's entries, and label files that moved with their images."""
    layout = LAYOUTS[name]
    layout.write(tmp_path)
    word = layout.words[0]
    for kind in {layout.images.format(split=word), layout.at.format(split=word)}:
        folder = tmp_path / kind
        for file in sorted(folder.iterdir()) if folder.is_dir() else []:
            if "part_" in file.name:
                (folder / "a" / "b").mkdir(parents=True, exist_ok=True)
                file.rename(folder / "a" / "b" / file.name)
    if layout.labels is exports.coco:
        layout.labels(tmp_path / layout.at.format(split=word), TRAIN, layout.rename, "a/b/{}.jpg")
    check(opened(tmp_path), TRAIN)


@pytest.mark.parametrize("ending", ["{}", "{}.jpg", '"{}"', "{} ", "JPEGImages/{}.jpg", "{}.JPG"])
def test_names_with_blanks_and_endings_in_voc_lists(tmp_path: Path, ending: str) -> None:
    """A line of a list is a name, with blanks in it or not, with the ending of the image or not, in quotes or not."""
    folder = {"labels": exports.voc, "at": "Annotations", "images": "JPEGImages", "splits": exports.TWO}
    blank = Layout(**folder, rename=lambda stem: f"my {stem} a", lists={"ImageSets/Main/{split}.txt": ending})  # type: ignore[arg-type]
    fixed = {file: line.replace("{}", "{name}") for file, line in blank.lists.items()}
    Layout(**{**folder, "rename": blank.rename, "lists": fixed}).write(tmp_path)  # type: ignore[arg-type]
    check(opened(tmp_path), TRAIN)
    check(opened(tmp_path, "val"), VAL)


def test_a_list_of_one_class_is_no_split(tmp_path: Path) -> None:
    """`bolt_train.txt` with 1 and -1 in its second column is no split, also where names have blanks."""
    LAYOUTS["voc"].write(tmp_path)
    exports.write(tmp_path / "ImageSets" / "Main" / "nut_train.txt", *(f"{part.stem} -1" for part in TRAIN))
    check(opened(tmp_path), TRAIN)
    assert splits(tmp_path) == ["train", "val"]


@pytest.mark.parametrize("name", ["voc-without-lists", "kaggle-voc", "labelimg-voc", "fiftyone-voc"])
def test_the_file_name_in_an_xml_wins_over_its_stem(tmp_path: Path, name: str) -> None:
    """An xml file of another name than its image belongs to the image that it names."""
    layout = LAYOUTS[name]
    layout.write(tmp_path)
    for k, file in enumerate(sorted(tmp_path.rglob("*.xml"))):
        file.rename(file.with_name(f"label_{7 - k}.xml"))
    check(opened(tmp_path), (*TRAIN, *VAL))


@pytest.mark.parametrize("name", ["voc-without-lists", "kaggle-voc"])
def test_a_file_name_that_is_nowhere_falls_back_to_the_stem(tmp_path: Path, name: str) -> None:
    """labelImg keeps the old `<filename>` when a user renames image and xml together."""
    layout = LAYOUTS[name]
    layout.write(tmp_path)
    for file in tmp_path.rglob("*.xml"):
        file.write_text(re.sub("<filename>.*</filename>", "<filename>old name.jpg</filename>", file.read_text()))
    check(opened(tmp_path), (*TRAIN, *VAL))


def test_one_name_in_two_subfolders_is_two_images(tmp_path: Path) -> None:
    """Cameras count from 0 each: images of one name in two subfolders have labels of their own."""
    PLAIN.write(tmp_path)
    for camera, parts in (("left", VAL[:1]), ("right", [VAL[1]._replace(stem=VAL[0].stem)])):
        exports.draw(tmp_path / "images" / SPLIT / camera, parts)
        exports.yolo(tmp_path / "labels" / SPLIT / camera, parts)
    data = opened(tmp_path)
    assert stems(data) == [*(part.stem for part in TRAIN), "part_005", "part_005"]
    assert sorted(data.index.size(k).wh for k in (5, 6)) == sorted((VAL[0].size, VAL[1].size))


def test_a_voc_image_in_two_places_is_an_error(tmp_path: Path) -> None:
    """Two images of the name that an xml gives, in two folders, are both named."""
    LAYOUTS["kaggle-voc"].write(tmp_path)
    (tmp_path / "images" / "old").mkdir()
    shutil.copy(tmp_path / "images" / "part_001.png", tmp_path / "images" / "part_000.png.bak")
    shutil.copy(tmp_path / "images" / "part_001.png", tmp_path / "images" / "old" / "part_000.png")
    with pytest.raises(ValueError, match=r"images/(old/)?part_000\.png.*images/(old/)?part_000\.png"):
        opened(tmp_path)


def test_an_image_that_a_darknet_list_has_twice_is_shown_twice(tmp_path: Path) -> None:
    """Darknet draws from the lines of its list, so a repeated line is a weight and not a fault."""
    LAYOUTS["darknet"].write(tmp_path)
    listing = tmp_path / "train.txt"
    listing.write_text(listing.read_text() + "images/part_000.jpg\n")
    data = opened(tmp_path, "train", "parts.data")
    assert stems(data) == sorted([*(part.stem for part in TRAIN), "part_000"])
    assert len(data.index.labels) == 8 + 2
    assert len(set(data.index.image_ids.tolist())) == 6


# Paths of another machine.


def spelled(layout: str, line: str) -> Layout:
    """Return a layout with this line for each image of its lists, or this file name in COCO's entries."""
    base = LAYOUTS[layout]
    if base.labels is exports.coco:
        return Layout(**{**vars(base), "options": {**base.options, "file_name": line}})
    return Layout(**{**vars(base), "lists": dict.fromkeys(base.lists, line)})


TAILS = {
    "backslashes": "images\\{}.jpg",
    "Windows, absolute": "C:\\Users\\me\\parts\\images\\{}.jpg",
    "Windows, slashes": "D:/parts/images/{}.jpg",
    "absolute": "/home/other/work/parts/images/{}.jpg",
    "server": "/data/upload/1/{}.jpg",
    "server share": "\\\\server\\share\\parts\\images\\{}.jpg",
    "up": "../../label-studio/data/media/upload/1/{}.jpg",
    "data/": "data/images/{}.jpg",
    "url of local files": "/data/local-files/?d=parts/images/{}.jpg",
    "dot": "./images/{}.jpg",
    "folder of the exporter": "parts-export/images/{}.jpg",
}


@pytest.mark.parametrize("kind", TAILS)
@pytest.mark.parametrize("layout", ["label-studio-coco", "train-val-json", "darknet"])
def test_paths_of_another_machine(tmp_path: Path, kind: str, layout: str, caplog: pytest.LogCaptureFixture) -> None:
    """The longest tail that exists is the image; it is said once, with the number of images."""
    line = TAILS[kind].replace("{}", "{name}") if layout == "darknet" else TAILS[kind]
    base = spelled(layout, line)
    base.write(tmp_path)
    data = opened(tmp_path, "train", base.given[0])
    check(data, base.splits["train"])
    if kind != "dot":
        said = [note for note in data.index.notes if re.search(rf"\b{len(data)}\b", note) and "path" in note.lower()]
        assert len(said) == 1, data.index.notes
        assert sum(said[0] in message for message in caplog.messages) == 1


@pytest.mark.parametrize("layout", ["label-studio-coco", "darknet"])
def test_a_path_that_two_files_fit_is_not_guessed(tmp_path: Path, layout: str) -> None:
    """Two files end like the path: the error names both."""
    line = "/home/other/{}.jpg".replace("{}", "{name}" if layout == "darknet" else "{}")
    base = spelled(layout, line)
    base.write(tmp_path)
    shutil.rmtree(tmp_path / "images")
    for folder, parts in (("a", base.splits["train"]), ("b", TRAIN[:1])):  # neither is a folder that a layout knows
        exports.draw(tmp_path / folder, parts, base.rename)
        if layout == "darknet":
            exports.yolo(tmp_path / folder, parts)
    with pytest.raises(ValueError, match=r"(a|b)/\S*part_000\.jpg[\s\S]*(a|b)/\S*part_000\.jpg"):
        opened(tmp_path, "train", base.given[0])


def test_the_longest_tail_wins(tmp_path: Path) -> None:
    """Of two files with the name of the image, the one with more of its path is meant."""
    base = spelled("label-studio-coco", "/srv/parts/images/{}.jpg")
    base.write(tmp_path)
    exports.draw(tmp_path / "old", [Part(part.stem, (8, 8), ()) for part in (*TRAIN, *VAL)], base.rename)
    check(opened(tmp_path), (*TRAIN, *VAL))


# What is not found is said.


def test_an_unknown_layout_lists_what_was_looked_for_and_found(tmp_path: Path) -> None:
    """The message has layouts that are known, and files that are there."""
    exports.draw(tmp_path / "photos", TRAIN)
    exports.write(tmp_path / "photos" / "labels.csv", "part_000.jpg,bolt")
    with pytest.raises(ValueError, match="found") as problem:
        opened(tmp_path)
    for word in ("COCO", "VOC", "YOLO", "photos", "csv", "5"):
        assert word.lower() in str(problem.value).lower(), word


@pytest.mark.parametrize("folder", ["labels_yolo", "annotations", "txt/deep"])
def test_labels_elsewhere_are_named(tmp_path: Path, folder: str) -> None:
    """No label file where the layout has them, but text files of the images' names somewhere else: their place."""
    LAYOUTS["ultralytics"].write(tmp_path)
    (tmp_path / folder).parent.mkdir(exist_ok=True)
    (tmp_path / "labels").rename(tmp_path / folder)
    with pytest.raises(ValueError, match=re.escape(folder)):
        opened(tmp_path, "train", "data.yaml")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """An empty folder has a message of one cause, not of a format."""
    exports.write(tmp_path / "read me.txt", "nothing yet")
    with pytest.raises(ValueError, match=re.escape(os.fspath(tmp_path))):
        opened(tmp_path)
