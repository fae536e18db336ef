"""Targets: one function makes them of arrays and of tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from yolo.data.sample import as_tv, make_target
from yolo.size import Size


@pytest.mark.parametrize("count", [0, 2])
def test_a_target_of_arrays_is_that_of_tensors(count: int) -> None:
    """Same numbers and dtypes; float64 is rounded to float32; without objects all fields are empty."""
    boxes, area = np.array([[0.1, 2, 30, 40.7], [1, 1, 1, 9]])[:count], np.array([1147.11, 0])[:count]
    labels, crowd = np.arange(count), np.zeros(count, dtype=bool)
    of_arrays = make_target(boxes, labels, 7, crowd, area, Size(48, 64))
    tensors = [torch.from_numpy(values) for values in (boxes, labels, crowd, area)]
    of_tensors = make_target(tensors[0], tensors[1], 7, tensors[2], tensors[3], Size(48, 64))
    for target in (of_arrays, of_tensors):
        assert target["size"] == Size(48, 64)
        assert target["boxes"].equal(torch.tensor(boxes, dtype=torch.float32))
        assert target["area"].equal(torch.tensor(area, dtype=torch.float32))
        assert (target["labels"].dtype, target["iscrowd"].dtype) == (torch.int64, torch.bool)
        assert (target["labels"].tolist(), target["iscrowd"].tolist()) == (list(range(count)), [False] * count)
        assert target["image_id"] == 7


def test_a_sample_for_torchvision() -> None:
    """Image and boxes have torchvision's types, with the same numbers; the canvas of the boxes is the image."""
    target = make_target(np.array([[1, 2, 3, 4.5]]), np.array([5]), 7, np.array([True]), np.array([9.0]), Size(48, 64))
    image = torch.zeros(3, 48, 64, dtype=torch.uint8)
    seen, own = as_tv((image, target))
    assert isinstance(seen, tv_tensors.Image)
    assert isinstance(own["boxes"], tv_tensors.BoundingBoxes)
    assert (own["boxes"].canvas_size, own["boxes"].format.value) == ((48, 64), "XYXY")
    assert own["boxes"].as_subclass(torch.Tensor).equal(target["boxes"])
    assert own.keys() == target.keys() - {"size"}
