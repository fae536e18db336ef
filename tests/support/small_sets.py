"""One small data set on the disk in the three formats. Imports nothing from yolo."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

NAMES = ("cat", "dog", "red ball")


class Picture(NamedTuple):
    """A picture of `size` (w, h) pixels with objects (class index, x1, y1, x2, y2), whole pixels."""

    size: tuple[int, int]
    objects: Sequence[tuple[int, int, int, int, int]]


TWO = (Picture((64, 48), [(1, 4, 6, 30, 40), (0, 0, 0, 64, 48)]), Picture((40, 60), []))
"""One picture with two objects, one without."""


def write_pictures(folder: Path, pictures: Sequence[Picture], stems: Sequence[str]) -> None:
    """JPEG files of these sizes; every second one has one channel."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, (picture, stem) in enumerate(zip(pictures, stems, strict=True)):
        w, h = picture.size
        shape = (h, w) if k % 2 else (h, w, 3)
        cv2.imwrite(str(folder / f"{stem}.jpg"), np.random.default_rng(k).integers(0, 256, shape, dtype=np.uint8))


def stems_of(pictures: Sequence[Picture]) -> list[str]:
    """`img_0`, `img_1`, ..."""
    return [f"img_{k}" for k in range(len(pictures))]


def write_coco(root: Path, pictures: Sequence[Picture] = TWO) -> Path:
    """`annotations/instances_train.json` with ids that have gaps, and `images/train/`."""
    stems = stems_of(pictures)
    write_pictures(root / "images" / "train", pictures, stems)
    images = [
        {"id": 10 + k, "file_name": f"{stem}.jpg", "width": picture.size[0], "height": picture.size[1]}
        for k, (picture, stem) in enumerate(zip(pictures, stems, strict=True))
    ]
    objects = [(10 + k, *thing) for k, picture in enumerate(pictures) for thing in picture.objects]
    annotations = [
        {"id": 100 + n, "image_id": image, "category_id": 3 * label + 1, "iscrowd": 0,
         "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
        for n, (image, label, x1, y1, x2, y2) in enumerate(objects)
    ]  # fmt: skip
    categories = [{"id": 3 * k + 1, "name": name} for k, name in enumerate(NAMES)]
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    text = json.dumps({"images": images, "annotations": annotations[::-1], "categories": categories[::-1]})
    (root / "annotations" / "instances_train.json").write_text(text)
    return root


def write_voc(root: Path, pictures: Sequence[Picture] = TWO) -> Path:
    """`Annotations`, `ImageSets/Main/train.txt`, `JPEGImages`; pixels count from 1 and include the last one."""
    stems = stems_of(pictures)
    write_pictures(root / "JPEGImages", pictures, stems)
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("\n".join(stems) + "\n")
    (root / "ImageSets" / "Main" / "cat_train.txt").write_text("".join(f"{stem}  1\n" for stem in stems))
    for picture, stem in zip(pictures, stems, strict=True):
        things = "".join(
            f"<object>\n<name>{NAMES[label]}</name>\n<difficult>0</difficult>\n<bndbox>\n<xmin>{x1 + 1}</xmin>\n"
            f"<ymin>{y1 + 1}</ymin>\n<xmax>{x2}</xmax>\n<ymax>{y2}</ymax>\n</bndbox>\n</object>\n"
            for label, x1, y1, x2, y2 in picture.objects
        )
        w, h = picture.size
        text = f"<annotation>\n<size><width>{w}</width><height>{h}</height></size>\n{things}</annotation>\n"
        (root / "Annotations" / f"{stem}.xml").write_text(text)
    return root


def write_yolo(root: Path, pictures: Sequence[Picture] = TWO) -> Path:
    """`images/train`, `labels/train`, `classes.txt`; no label file for a picture without objects."""
    stems = stems_of(pictures)
    write_pictures(root / "images" / "train", pictures, stems)
    (root / "labels" / "train").mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("\n".join(NAMES) + "\n")
    for picture, stem in zip(pictures, stems, strict=True):
        w, h = picture.size
        lines = [
            f"{label} {(x1 + x2) / 2 / w:.6f} {(y1 + y2) / 2 / h:.6f} {(x2 - x1) / w:.6f} {(y2 - y1) / h:.6f}\n"
            for label, x1, y1, x2, y2 in picture.objects
        ]
        if lines:
            (root / "labels" / "train" / f"{stem}.txt").write_text("".join(lines))
    return root


WRITERS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}
