"""A small data set on the disk in three formats. Imports nothing from yolo."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

NAMES = ("cat", "dog", "red ball")


class DrawnImage(NamedTuple):
    """An image of `size` (w, h) pixels with objects (class index, x1, y1, x2, y2) in whole pixels."""

    size: tuple[int, int]
    objects: Sequence[tuple[int, int, int, int, int]]


TWO = (DrawnImage((64, 48), [(1, 4, 6, 30, 40), (0, 0, 0, 64, 48)]), DrawnImage((40, 60), []))
"""An image with two objects and one without."""


def write_images(folder: Path, images: Sequence[DrawnImage], stems: Sequence[str]) -> None:
    """Write JPEG files of these sizes; every second one has one channel."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, (image, stem) in enumerate(zip(images, stems, strict=True)):
        w, h = image.size
        shape = (h, w) if k % 2 else (h, w, 3)
        cv2.imwrite(str(folder / f"{stem}.jpg"), np.random.default_rng(k).integers(0, 256, shape, dtype=np.uint8))


def stems_of(images: Sequence[DrawnImage]) -> list[str]:
    """Return `img_0`, `img_1`, ..."""
    return [f"img_{k}" for k in range(len(images))]


def write_coco(root: Path, images: Sequence[DrawnImage] = TWO) -> Path:
    """Write `annotations/instances_train.json` with gaps in its ids, and `images/train/`; return the folder."""
    stems = stems_of(images)
    write_images(root / "images" / "train", images, stems)
    entries = [
        {"id": 10 + k, "file_name": f"{stem}.jpg", "width": image.size[0], "height": image.size[1]}
        for k, (image, stem) in enumerate(zip(images, stems, strict=True))
    ]
    objects = [(10 + k, *thing) for k, image in enumerate(images) for thing in image.objects]
    annotations = [
        {"id": 100 + n, "image_id": image_id, "category_id": 3 * label + 1, "iscrowd": 0,
         "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
        for n, (image_id, label, x1, y1, x2, y2) in enumerate(objects)
    ]  # fmt: skip
    categories = [{"id": 3 * k + 1, "name": name} for k, name in enumerate(NAMES)]
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    text = json.dumps({"images": entries, "annotations": annotations[::-1], "categories": categories[::-1]})
    (root / "annotations" / "instances_train.json").write_text(text)
    return root


def write_voc(root: Path, images: Sequence[DrawnImage] = TWO) -> Path:
    """Write `Annotations`, `ImageSets/Main/train.txt` and `JPEGImages`; return the folder.

    Pixels count from 1 and include the last one.
    """
    stems = stems_of(images)
    write_images(root / "JPEGImages", images, stems)
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("\n".join(stems) + "\n")
    (root / "ImageSets" / "Main" / "cat_train.txt").write_text("".join(f"{stem}  1\n" for stem in stems))
    for image, stem in zip(images, stems, strict=True):
        things = "".join(
            f"<object>\n<name>{NAMES[label]}</name>\n<difficult>0</difficult>\n<bndbox>\n<xmin>{x1 + 1}</xmin>\n"
            f"<ymin>{y1 + 1}</ymin>\n<xmax>{x2}</xmax>\n<ymax>{y2}</ymax>\n</bndbox>\n</object>\n"
            for label, x1, y1, x2, y2 in image.objects
        )
        w, h = image.size
        text = f"<annotation>\n<size><width>{w}</width><height>{h}</height></size>\n{things}</annotation>\n"
        (root / "Annotations" / f"{stem}.xml").write_text(text)
    return root


def write_yolo(root: Path, images: Sequence[DrawnImage] = TWO) -> Path:
    """Write `images/train`, `labels/train` and `classes.txt`; return the folder.

    An image without objects has no label file.
    """
    stems = stems_of(images)
    write_images(root / "images" / "train", images, stems)
    (root / "labels" / "train").mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("\n".join(NAMES) + "\n")
    for image, stem in zip(images, stems, strict=True):
        w, h = image.size
        lines = [
            f"{label} {(x1 + x2) / 2 / w:.6f} {(y1 + y2) / 2 / h:.6f} {(x2 - x1) / w:.6f} {(y2 - y1) / h:.6f}\n"
            for label, x1, y1, x2, y2 in image.objects
        ]
        if lines:
            (root / "labels" / "train" / f"{stem}.txt").write_text("".join(lines))
    return root


WRITERS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}
