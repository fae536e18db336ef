"""Detections in COCO's results format."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from yolo.boxes import Detections
from yolo.models.coco_rows import coco_rows
from yolo.names import COCO

FOUND = Detections(
    torch.tensor([[10.1, 5.2, 30.7, 45.3], [-5.0, -5.0, 20.0, 20.0]]),
    torch.tensor([0.9, 0.3]),
    torch.tensor([16, 0]),
)


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("000000000139.jpg", 139), ("7", 7), ("7.png", 7), ("dog.jpg", "dog.jpg"), ("7a.jpg", "7a.jpg"),
        ("1.2.jpg", "1.2.jpg"), ("-7.jpg", "-7.jpg"), ("٣.jpg", "٣.jpg"), ("2024.mp4#17", "2024.mp4#17"),
        ("camera 0#3", "camera 0#3"),
    ],
)  # fmt: skip
def test_image_ids(name: str, image_id: int | str) -> None:
    """An integer for names of digits, as in COCO. The frames of a video differ, whatever its name."""
    assert {row["image_id"] for row in coco_rows(name, FOUND, COCO)} == {image_id}


def test_coco_rows_have_every_digit() -> None:
    """COCO's id, x y w h exact in float64, the score exact in float32."""
    row = coco_rows("dog.jpg", FOUND, COCO)[0]
    assert (row["category_id"], row["category_name"]) == (18, "dog")
    x1, y1, x2, y2 = (float(value) for value in FOUND.boxes[0].double())
    assert row["bbox"] == [x1, y1, x2 - x1, y2 - y1]
    assert np.float32(row["score"]) == np.float32(0.9)
    assert coco_rows("dog.jpg", FOUND, [f"class {k}" for k in range(80)])[0]["category_id"] == 17
