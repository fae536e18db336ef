"""One small drawn set in the layout of every exporter. Imports nothing from yolo.

`LAYOUTS` is the table: what lies where, what each split holds, and the paths that a user would give. Objects are
(class index, x1, y1, x2, y2) in whole pixels. VOC files count pixels from 1, as VOC itself does. Every image has a grey
level of its own, so that a test can tell which file was decoded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

NAMES = ("bolt", "nut")


class Part(NamedTuple):
    """An image of `size` (w, h) pixels with its objects."""

    stem: str
    size: tuple[int, int]
    objects: tuple[tuple[int, int, int, int, int], ...]

    @property
    def grey(self) -> int:
        """The grey level of all its pixels."""
        return 20 + 20 * int(self.stem[-3:])


TRAIN = (
    Part("part_000", (160, 120), ((0, 10, 20, 50, 50), (1, 90, 50, 140, 110))),
    Part("part_001", (120, 160), ((1, 20, 30, 80, 70), (0, 60, 90, 110, 150))),
    Part("part_002", (128, 128), ((0, 8, 8, 68, 68),)),
    Part("part_003", (200, 100), ((1, 30, 20, 110, 70), (0, 130, 40, 170, 80), (1, 100, 5, 120, 25))),
    Part("part_004", (140, 140), ()),
)
VAL = (
    Part("part_005", (160, 160), ((0, 40, 40, 130, 110), (1, 5, 120, 35, 150))),
    Part("part_006", (96, 64), ((0, 0, 0, 96, 64), (1, 10, 4, 30, 60))),
    Part("part_007", (64, 96), ((1, 20, 30, 44, 70), (0, 3, 80, 61, 95))),
)
TEST = (Part("part_008", (128, 128), ((0, 8, 8, 68, 68),)),)

Parts = Sequence[Part]

WHOLE: Mapping[str, Parts] = {"train": (*TRAIN, *VAL)}
"""A set that is not divided: `train` means all of it."""
TWO: Mapping[str, Parts] = {"train": TRAIN, "val": VAL}
THREE: Mapping[str, Parts] = {**TWO, "test": TEST}

Rename = Callable[[str], str]


def roboflow(stem: str) -> str:
    """Return the name that Roboflow gives the image `STEM.jpg`: its own name with the hash of the copy."""
    return f"{stem}_jpg.rf.{int(stem[-3:]) * 7919 + 40961:032x}"


def label_studio(stem: str) -> str:
    """Return the name that Label Studio gives an uploaded image: eight hexadecimal digits before its own name."""
    return f"{int(stem[-3:]) * 7919 + 40961:08x}-{stem}"


def draw(folder: Path, parts: Parts, rename: Rename = str, suffix: str = ".jpg") -> None:
    """Write the images."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        w, h = part.size
        cv2.imwrite(str(folder / (rename(part.stem) + suffix)), np.full((h, w, 3), part.grey, dtype=np.uint8))


def write(file: Path, *lines: str) -> Path:
    """Write a text file and the folders above it; return the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def coco(
    file: Path, parts: Parts, rename: Rename = str, file_name: str = "{}.jpg", first: int = 1, group: str = ""
) -> None:
    """Write an annotation file whose ids begin with `first`. `group` is a category 0 that no object has."""
    categories = [{"id": first + k, "name": name, "supercategory": group} for k, name in enumerate(NAMES)]
    if group:
        categories.insert(0, {"id": 0, "name": group, "supercategory": "none"})
    images = [
        {"id": k, "file_name": file_name.format(rename(part.stem)), "width": part.size[0], "height": part.size[1]}
        for k, part in enumerate(parts, start=first)
    ]
    objects = [(k, *thing) for k, part in enumerate(parts, start=first) for thing in part.objects]
    annotations = [
        {"id": n, "image_id": image, "category_id": first + label, "bbox": [x1, y1, x2 - x1, y2 - y1],
         "area": (x2 - x1) * (y2 - y1), "segmentation": [], "iscrowd": 0}
        for n, (image, label, x1, y1, x2, y2) in enumerate(objects, start=first)
    ]  # fmt: skip
    write(file, json.dumps({"images": images, "categories": categories, "annotations": annotations}))


def voc(
    folder: Path, parts: Parts, rename: Rename = str, file_name: str = "{}.jpg", number: str = "{}", path: str = ""
) -> None:
    """Write an xml file for each image. `number` formats a corner, `path` is the folder that labelImg remembers."""
    for part in parts:
        name, (w, h) = file_name.format(rename(part.stem)), part.size
        rows = [f"<folder>{folder.name}</folder>", f"<filename>{name}</filename>"]
        rows += [f"<path>{path}{name}</path>"] if path else []
        rows += [f"<size><width>{w}</width><height>{h}</height><depth>3</depth></size>", "<segmented>0</segmented>"]
        for label, x1, y1, x2, y2 in part.objects:
            corners = zip(("xmin", "ymin", "xmax", "ymax"), (x1 + 1, y1 + 1, x2, y2), strict=True)
            box = "".join(f"<{key}>{number.format(value)}</{key}>" for key, value in corners)
            rows += ["<object>", f"<name>{NAMES[label]}</name>", "<pose>Unspecified</pose>"]
            rows += ["<truncated>0</truncated>", "<difficult>0</difficult>", f"<bndbox>{box}</bndbox>", "</object>"]
        write(folder / f"{rename(part.stem)}.xml", "<annotation>", *rows, "</annotation>")


def yolo(folder: Path, parts: Parts, rename: Rename = str, empty: bool = True) -> None:
    """Write a text file for each image; `empty`: also for one without objects."""
    for part in parts:
        w, h = part.size
        rows = [
            f"{label} {(x1 + x2) / 2 / w:.6f} {(y1 + y2) / 2 / h:.6f} {(x2 - x1) / w:.6f} {(y2 - y1) / h:.6f}"
            for label, x1, y1, x2, y2 in part.objects
        ]
        if rows or empty:
            write(folder / f"{rename(part.stem)}.txt", *rows)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What lies where. Texts are templates: {split} is the exporter's word for it, {year} and {name} as needed."""

    labels: Callable[..., None]
    """`coco`, `voc` or `yolo`."""
    at: str
    """The annotation file (COCO) or the folder of label files."""
    images: str
    splits: Mapping[str, Parts] = field(default_factory=lambda: WHOLE)
    words: Sequence[str] = ("train", "val", "test")
    """The exporter's words for `splits`."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Further arguments of `labels`."""
    lists: Mapping[str, str] = field(default_factory=dict)
    """Lists of images: file, and the line of each image."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Further files and their content."""
    rename: Rename = str
    suffix: str = ".jpg"
    years: Sequence[str] = ("",)
    """The images are dealt to these in turn."""
    given: Sequence[str] = ("",)
    """The paths below the folder that a user may give."""

    def write(self, root: Path) -> None:
        """Write the set into a folder, new or not."""
        for (_, whole), word in zip(self.splits.items(), self.words, strict=False):
            for k, year in enumerate(self.years):
                parts = whole[k :: len(self.years)]
                place = {"split": word, "year": year}
                draw(root / self.images.format(**place), parts, self.rename, self.suffix)
                self.labels(root / self.at.format(**place), parts, self.rename, **self.options)
                for file, line in self.lists.items():
                    rows = (line.format(**place, name=self.rename(part.stem)) for part in parts)
                    write(root / file.format(**place), *rows)
        for file, content in self.files.items():
            write(root / file, content)


CLASSES = "\n".join(NAMES)
TABLE = "names:\n  0: bolt\n  1: nut"
LIST = "nc: 2\nnames: ['bolt', 'nut']"
VALID = ("train", "valid", "test")
README = {"README.roboflow.txt": "parts - v1", "README.dataset.txt": "# parts > 2024-01-01"}
NOTES = json.dumps({"categories": [{"id": 0, "name": "bolt"}, {"id": 1, "name": "nut"}], "info": {"version": "1.0"}})
LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nbolt:128,0,0::\nnut:0,128,0::"
OBJ_DATA = "classes = 2\ntrain = data/train.txt\n{}names = data/obj.names\nbackup = backup/"
MAIN = {"ImageSets/Main/{split}.txt": "{name}", "ImageSets/Main/bolt_{split}.txt": "{name}  1"}

# fmt: off
LAYOUTS: Mapping[str, Layout] = {
    # Roboflow: a folder for each split.
    "roboflow-coco": Layout(labels=coco, at="{split}/_annotations.coco.json", images="{split}", splits=THREE,
        words=VALID, rename=roboflow, options={"first": 1, "group": "parts"}, files=README),
    "roboflow-yolo": Layout(labels=yolo, at="{split}/labels", images="{split}/images", splits=THREE, words=VALID,
        rename=roboflow, given=("", "data.yaml"), files={**README, "data.yaml": "train: ../train/images\n"
            f"val: ../valid/images\ntest: ../test/images\n\n{LIST}\n\nroboflow:\n  version: 1"}),
    "roboflow-darknet": Layout(labels=yolo, at="{split}", images="{split}", splits=THREE, words=VALID, rename=roboflow,
        files={**README, **{f"{split}/_darknet.labels": CLASSES for split in VALID}}),
    "roboflow-voc": Layout(labels=voc, at="{split}", images="{split}", splits=THREE, words=VALID, rename=roboflow,
        files=README),
    # CVAT: a task is one set, `default`; a project has its own words for splits, by its menu Train and Validation.
    "cvat-coco": Layout(labels=coco, at="annotations/instances_default.json", images="images/default"),
    "cvat-coco-flat": Layout(labels=coco, at="annotations/instances_default.json", images="images"),
    "cvat-coco-subsets": Layout(labels=coco, at="annotations/instances_{split}.json", images="images/{split}",
        splits=TWO, words=("Train", "Validation")),
    "cvat-yolo11": Layout(labels=yolo, at="obj_train_data", images="obj_train_data", suffix=".PNG",
        lists={"train.txt": "data/obj_train_data/{name}.PNG"}, given=("", "obj.data"),
        files={"obj.data": OBJ_DATA.format(""), "obj.names": CLASSES}),
    "cvat-yolo11-subsets": Layout(labels=yolo, at="obj_{split}_data", images="obj_{split}_data", suffix=".PNG",
        splits=TWO, words=VALID, lists={"{split}.txt": "data/obj_{split}_data/{name}.PNG"}, given=("", "obj.data"),
        files={"obj.data": OBJ_DATA.format("valid = data/valid.txt\n"), "obj.names": CLASSES}),
    "cvat-voc": Layout(labels=voc, at="Annotations", images="JPEGImages", words=("default",),
        options={"number": "{}.0"}, lists=MAIN, files={"labelmap.txt": LABELMAP}),
    "cvat-voc-subsets": Layout(labels=voc, at="Annotations", images="JPEGImages", splits=TWO,
        words=("Train", "Validation"), options={"number": "{}.0"}, lists=MAIN, files={"labelmap.txt": LABELMAP}),
    "cvat-ultralytics": Layout(labels=yolo, at="labels/{split}", images="images/{split}",
        lists={"{split}.txt": "images/{split}/{name}.jpg"}, given=("", "data.yaml"),
        files={"data.yaml": f"path: . # dataset root dir\ntrain: train.txt\n\n{TABLE}"}),
    "cvat-ultralytics-data": Layout(labels=yolo, at="labels/{split}", images="images/{split}", splits=TWO,
        words=("Train", "Validation"), lists={"{split}.txt": "data/images/{split}/{name}.jpg"},
        given=("", "data.yaml"),
        files={"data.yaml": f"path: ./\nTrain: Train.txt\nValidation: Validation.txt\n{TABLE}"}),
    # Label Studio: one set.
    "label-studio-coco": Layout(labels=coco, at="result.json", images="images", rename=label_studio,
        options={"file_name": "images/{}.jpg", "first": 0}, given=("", "result.json")),
    "label-studio-coco-windows": Layout(labels=coco, at="result.json", images="images", rename=label_studio,
        options={"file_name": "images\\{}.jpg", "first": 0}, given=("", "result.json")),
    "label-studio-yolo": Layout(labels=yolo, at="labels", images="images", rename=label_studio,
        options={"empty": False}, files={"classes.txt": CLASSES, "notes.json": NOTES}),
    # labelImg: one set; label files beside the images or in a folder of the user's choice, classes.txt with the texts.
    "labelimg-yolo": Layout(labels=yolo, at="", images="", options={"empty": False}, files={"classes.txt": CLASSES}),
    "labelimg-yolo-two-folders": Layout(labels=yolo, at="labels", images="images", options={"empty": False},
        files={"labels/classes.txt": CLASSES}),
    "labelimg-voc": Layout(labels=voc, at="", images="", options={"path": "/home/user/parts/"}),
    "labelimg-voc-two-folders": Layout(labels=voc, at="labels", images="images",
        options={"path": "C:\\Users\\user\\parts\\images\\"}),
    # FiftyOne.
    "fiftyone-coco": Layout(labels=coco, at="labels.json", images="data", given=("", "labels.json")),
    "fiftyone-coco-splits": Layout(labels=coco, at="{split}/labels.json", images="{split}/data", splits=TWO,
        words=("train", "validation")),
    "fiftyone-yolov4": Layout(labels=yolo, at="data", images="data", lists={"images.txt": "data/{name}.jpg"},
        files={"obj.names": CLASSES}),
    "fiftyone-yolov5": Layout(labels=yolo, at="labels/{split}", images="images/{split}", splits=TWO,
        given=("", "dataset.yaml"), files={"dataset.yaml":
            "names:\n- bolt\n- nut\nnc: 2\ntrain: ./images/train/\nval: ./images/val/"}),
    "fiftyone-voc": Layout(labels=voc, at="labels", images="data"),
    # Kaggle-like VOC: lower case, no list of images.
    "kaggle-voc": Layout(labels=voc, at="annotations", images="images", suffix=".png", options={"file_name": "{}.png"}),
    "kaggle-voc-splits": Layout(labels=voc, at="{split}/annotations", images="{split}/images", splits=TWO),
    "kaggle-voc-splits-inside": Layout(labels=voc, at="annotations/{split}", images="images/{split}", splits=TWO,
        words=("Train", "Valid")),
    # Ultralytics: three forms of folders, with and without its yaml, whose `path` may be that of another machine.
    "ultralytics": Layout(labels=yolo, at="labels/{split}", images="images/{split}", splits=TWO,
        options={"empty": False}, given=("", "data.yaml"),
        files={"data.yaml": f"train: images/train\nval: images/val\ntest:\n\n{TABLE}"}),
    "ultralytics-path": Layout(labels=yolo, at="parts/labels/{split}", images="parts/images/{split}", splits=TWO,
        options={"empty": False}, given=("", "parts.yaml", "parts"),
        files={"parts.yaml": f"path: parts # dataset root dir\ntrain: images/train\nval: images/val\n\n{TABLE}"}),
    "ultralytics-other-machine": Layout(labels=yolo, at="labels/{split}", images="images/{split}", splits=TWO,
        given=("", "data.yaml"),
        files={"data.yaml": f"path: /content/datasets/parts\ntrain: images/train\nval: images/val\n\n{TABLE}"}),
    "ultralytics-absolute-places": Layout(labels=yolo, at="{split}/labels", images="{split}/images", splits=TWO,
        words=VALID, given=("", "data.yaml"),
        files={"data.yaml": f"train: /content/parts/train/images\nval: /content/parts/valid/images\n{LIST}"}),
    "ultralytics-splits-outside": Layout(labels=yolo, at="{split}/labels", images="{split}/images", splits=TWO,
        words=("train", "valid"), files={"classes.txt": CLASSES}),
    "ultralytics-beside": Layout(labels=yolo, at="{split}", images="{split}", splits=TWO, words=("Train", "Validation"),
        files={"classes.txt": CLASSES}),
    "ultralytics-without-yaml": Layout(labels=yolo, at="labels/{split}", images="images/{split}", splits=TWO,
        words=("train2017", "dev"), files={"classes.txt": CLASSES}),
    # darknet.
    "darknet": Layout(labels=yolo, at="labels", images="images", splits=TWO, words=VALID, given=("", "parts.data"),
        lists={"{split}.txt": "images/{name}.jpg"}, files={"parts.names": CLASSES, "parts.data":
            "classes = 2\ntrain = train.txt\nvalid = valid.txt\nnames = parts.names\nbackup = backup"}),
    # COCO's json without a tool.
    "coco-2017": Layout(labels=coco, at="annotations/instances_{split}.json", images="{split}", splits=TWO,
        words=("train2017", "val2017")),
    "train-val-json": Layout(labels=coco, at="{split}.json", images="images", splits=TWO),
    "train-val-json-folders": Layout(labels=coco, at="{split}.json", images="{split}", splits=TWO, words=VALID),
    "annotations-train-json": Layout(labels=coco, at="annotations/{split}.json", images="images/{split}", splits=TWO),
    "annotations-train-json-flat": Layout(labels=coco, at="annotations/{split}.json", images="images", splits=TWO,
        words=("TRAIN", "VAL")),
    "annotations-json": Layout(labels=coco, at="annotations.json", images="", given=("", "annotations.json")),
    "annotations-json-splits": Layout(labels=coco, at="{split}/annotations.json", images="{split}", splits=TWO,
        words=("Train", "dev")),
    # VOC: one year, two years that are one set, and their parents.
    "voc": Layout(labels=voc, at="Annotations", images="JPEGImages", splits=TWO, lists=MAIN),
    "voc-without-lists": Layout(labels=voc, at="Annotations", images="JPEGImages"),
    "vocdevkit": Layout(labels=voc, at="VOCdevkit/VOC{year}/Annotations", images="VOCdevkit/VOC{year}/JPEGImages",
        splits=TWO, years=("2007",), lists={f"VOCdevkit/VOC{{year}}/{file}": line for file, line in MAIN.items()},
        given=("", "VOCdevkit", "VOCdevkit/VOC2007")),
    "vocdevkit-two-years": Layout(labels=voc, at="VOCdevkit/VOC{year}/Annotations",
        images="VOCdevkit/VOC{year}/JPEGImages", splits=TWO, years=("2007", "2012"),
        lists={f"VOCdevkit/VOC{{year}}/{file}": line for file, line in MAIN.items()}, given=("", "VOCdevkit")),
}
# fmt: on
"""Every layout by name: exporter, format, and how it differs."""
