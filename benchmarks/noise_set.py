"""A data set of noise, for benchmarks that need images and do not look at them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import measure  # noqa: F401  # makes the clone importable
import numpy as np

from yolo.names import COCO, COCO_IDS


def write_data(folder: Path, count: int) -> None:
    """Write a COCO data set of noise images with seven objects each, about COCO's mean."""
    g = np.random.default_rng(0)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    (folder / "images" / "train").mkdir(parents=True)
    for k in range(count):
        cv2.imwrite(str(folder / "images" / "train" / f"{k}.jpg"), g.integers(0, 256, (480, 640, 3), dtype=np.uint8))
        images.append({"id": k, "file_name": f"{k}.jpg", "width": 640, "height": 480})
        for _ in range(7):
            w, h = 8 + (g.random(2) ** 3 * (600, 440)).round()
            x, y = (g.random(2) * (640 - w, 480 - h)).round()
            annotations.append({"id": len(annotations), "image_id": k, "category_id": COCO_IDS[g.integers(80)],
                                "iscrowd": 0, "bbox": [x, y, w, h], "area": w * h})  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in zip(COCO_IDS, COCO, strict=True)]
    (folder / "annotations").mkdir()
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (folder / "annotations" / "instances_train.json").write_text(text)
