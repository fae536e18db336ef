"""Results files: boxes and ids that annotation files do not have. tests/data/test_coco_json.py has the other cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from yolo.data.formats.coco_json import read_annotations
from yolo.evaluation.coco_results import Results, read_results

BOX = [10.0, 20.0, 30.0, 40.0]


def read_row(folder: Path, row: dict[str, Any]) -> Results:
    """Read a results file of one row, against one image with the id 7 and one class with the id 1."""
    truth, results = folder / "truth.json", folder / "results.json"
    images = [{"id": 7, "file_name": "a.jpg"}]
    truth.write_text(json.dumps({"images": images, "annotations": [], "categories": [{"id": 1, "name": "dog"}]}))
    results.write_text(json.dumps([{"image_id": 7, "category_id": 1, "bbox": BOX, "score": 0.5} | row]))
    return read_results(results, read_annotations(truth))


@pytest.mark.parametrize("box", [[10, 20, -3, 4], [10, 20, 3, -4], [10, 20, 0, 0]])
def test_boxes_without_area(tmp_path: Path, box: list[float]) -> None:
    """A box of negative size is a fault in an annotation file, but a detection like any other here."""
    assert read_row(tmp_path, {"bbox": box}).boxes.tolist() == [box]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"bbox": [10, 20, -3, "4"]}, r"row 0: bbox \[10, 20, -3, '4'\]: expected \[left, top, width, height\]"),
        ({"image_id": [7]}, r"1 images are not in .*truth.json: \[7\]"),
        ({"image_id": 7.5}, r"1 images are not in .*truth.json: 7\.5"),
        ({"category_id": [1]}, r"classes '\[1\]' are not in .*truth.json, which has 1 dog"),
        ({"category_id": None}, "classes None are not in .*; if they count the lines of a names file from 0"),
    ],
)
def test_values_of_wrong_types(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    """The message names the row or the id, for any json value."""
    with pytest.raises(ValueError, match=message):
        read_row(tmp_path, row)
