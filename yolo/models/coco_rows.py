"""Detections in COCO's results format: the one way in which `detect --json` and Python write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from yolo.boxes import Detections, xyxy_to_xywh
from yolo.names import category_ids


def image_id(name: str) -> int | str:
    """Return an integer if the stem of a file name consists of digits, as COCO's do. Else the name itself.

    A frame such as `2024.mp4#17` and a name with folders are their own ids.
    """
    match = re.fullmatch(r"([0-9]+)(\.[^.#/]*)?", name)
    return int(match[1]) if match else name


def coco_rows(
    name: str, detections: Detections, names: Sequence[str], own_id: int | str | None = None
) -> list[dict[str, Any]]:
    """Return the detections of one image in COCO's results format, by descending score.

    Each has `image_id` (that of the file name, or `own_id`), `file_name`, `category_id`, `category_name`, `bbox` and
    `score`. `bbox` is [left, top, width, height] in original pixels with every digit. JSON has no infinity, so infinite
    coordinates become the largest float32.
    """
    ids, number = category_ids(names), image_id(name) if own_id is None else own_id
    boxes = xyxy_to_xywh(detections.boxes).tolist()
    return [
        {
            "image_id": number,
            "file_name": name,
            "category_id": ids[label],
            "category_name": names[label],
            "bbox": box,
            "score": score,
        }
        for box, score, label in zip(boxes, detections.scores.tolist(), detections.labels.tolist(), strict=True)
    ]
