"""A plain training loop: targets that torchvision's Faster R-CNN takes, from masks and from COCO files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import CocoDetection
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign
from torchvision.transforms import v2

from tests.support.small_sets import write_coco
from yolo.data.marker import marker, marker_iou
from yolo.data.sample import Target
from yolo.images.files import read_image, write_image
from yolo.rcnn.plain import CocoTensors, collate_fn, mask_to_boxes_labels
from yolo.size import Size


def detector(classes: int) -> FasterRCNN:
    """Return a small Faster R-CNN with that number of classes, the background included."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=8, padding=1), nn.ReLU())
    backbone.out_channels = 8  # type: ignore[assignment]
    pool = MultiScaleRoIAlign(["0"], output_size=3, sampling_ratio=1)
    return FasterRCNN(
        backbone, num_classes=classes, min_size=64, max_size=96, box_roi_pool=pool,
        rpn_anchor_generator=AnchorGenerator(((8, 16, 32),), ((0.5, 1.0, 2.0),)),
    )  # fmt: skip


def lesson(mask: np.ndarray) -> Tensor:
    """Return the boxes as the usual code makes them: the largest column and row are right and lower edge."""
    boxes = []
    for number in np.unique(mask)[1:]:
        rows, columns = np.where(mask == number)
        boxes.append([columns.min(), rows.min(), columns.max(), rows.max()])
    return torch.as_tensor(np.array(boxes).reshape(-1, 4), dtype=torch.float32)


@given(seed=st.integers(0, 2**32 - 1), objects=st.integers(0, 5))
def test_boxes_of_masks(seed: int, objects: int) -> None:
    """They are the usual ones, apart from right and lower edge, which are 1 more."""
    random = np.random.default_rng(seed)
    mask = random.integers(0, objects + 1, (12, 17)) * random.integers(0, 2, (12, 17))
    mask[0, 0] = 0
    boxes, labels = mask_to_boxes_labels(mask)
    assert torch.equal(boxes, lesson(mask) + torch.tensor([0.0, 0, 1, 1]))
    assert boxes.dtype == torch.float32
    assert torch.equal(labels, torch.ones(len(boxes), dtype=torch.int64))
    assert torch.equal(mask_to_boxes_labels(torch.from_numpy(mask))[0], boxes)


def test_an_object_one_pixel_wide_is_a_box() -> None:
    """torchvision's Faster R-CNN accepts the box of such an object, and an image without any; not the usual box."""
    mask = np.zeros((64, 64), np.uint8)
    mask[5:20, 7] = 1
    images = [torch.rand(3, 64, 64), torch.rand(3, 48, 64)]
    boxes, labels = mask_to_boxes_labels(mask)
    assert boxes.tolist() == [[7, 5, 8, 20]]
    nobody = dict(zip(("boxes", "labels"), mask_to_boxes_labels(mask * 0), strict=True))
    assert nobody["boxes"].shape == (0, 4)
    model = detector(classes=2)
    losses = model(images, [{"boxes": boxes, "labels": labels}, nobody])
    assert all(loss.isfinite() for loss in losses.values())
    with pytest.raises(AssertionError, match="positive height and width"):
        model(images, [{"boxes": lesson(mask), "labels": labels}, nobody])


def coco(root: Path) -> CocoDetection:
    """Return torchvision's data set of two images, categories 1, 4 and 7: a degenerate box and a crowd are added."""
    file = write_coco(root) / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    shared = {"image_id": 10, "category_id": 4}
    content["annotations"] += [
        {"id": 7, "bbox": [3, 3, 0, 9], "area": 0, "iscrowd": 0, **shared},
        {"id": 8, "bbox": [3, 3, 4, 9], "iscrowd": 1, **shared},
    ]
    file.write_text(json.dumps(content))
    return CocoDetection(root / "images" / "train", str(file))


def test_coco_becomes_tensors(tmp_path: Path) -> None:
    """Labels count from 1 without gaps; a degenerate box is left out and counted; a crowd is marked; none is (0, 4)."""
    data = CocoTensors(coco(tmp_path))
    assert len(data) == 2
    assert (data.dropped, data.labels) == (1, {1: 1, 4: 2, 7: 3})
    image, target = data[0]
    assert (image.dtype, image.shape) == (torch.float32, (3, 48, 64))
    pixels = torch.from_numpy(read_image(tmp_path / "images" / "train" / "img_0.jpg")).permute(2, 0, 1) / 255
    assert torch.allclose(image, pixels, atol=0.02)  # another JPEG decoder
    order = target["boxes"][:, 2].argsort()
    assert target["boxes"][order].tolist() == [[3, 3, 7, 12], [4, 6, 30, 40], [0, 0, 64, 48]]
    assert target["labels"][order].tolist() == [2, 2, 1]
    assert target["iscrowd"][order].tolist() == [1, 0, 0]
    assert target["area"][order].tolist() == [36, 26 * 34, 64 * 48]
    assert target["image_id"] == 10
    assert [target[key].dtype for key in ("boxes", "labels", "area")] == [torch.float32, torch.int64, torch.float32]
    _, empty = data[1]
    assert (empty["boxes"].shape, empty["labels"].shape) == ((0, 4), (0,))
    # The loop: batches of lists, losses, gradients.
    model = detector(classes=4)
    for images, targets in DataLoader(data, batch_size=2, collate_fn=collate_fn):
        assert [image.shape for image in images] == [(3, 48, 64), (3, 60, 40)]
        loss = torch.stack(list(model(list(images), list(targets)).values())).sum()
    loss.backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


def test_boxes_follow_transforms(tmp_path: Path) -> None:
    """A v2 transform moves boxes with the pixels: of the image in the file, and of a drawn marker."""
    flip = v2.Compose(
        [v2.RandomPhotometricDistort(), v2.RandomHorizontalFlip(1), v2.ToDtype(torch.float32, scale=True)]
    )
    _, plain = CocoTensors(coco(tmp_path))[0]
    image, target = CocoTensors(coco(tmp_path), flip)[0]
    assert torch.equal(target["boxes"][:, [0, 2]], 64 - plain["boxes"][:, [2, 0]])
    assert 0 < image.max() <= 1
    dataset = coco(tmp_path)
    white, own = marker(Size(48, 64))
    write_image(tmp_path / "images" / "train" / "img_0.jpg", white.permute(1, 2, 0).numpy())
    left, top, right, bottom = own["boxes"][0].tolist()
    for entry in dataset.coco.imgToAnns[10]:
        entry["bbox"] = [left, top, right - left, bottom - top]
    image, target = CocoTensors(dataset, flip)[0]
    assert marker_iou((image, Target(**target))) > 0.9  # type: ignore[typeddict-item]


@pytest.mark.parametrize("name", ["transforms", "transform", "target_transform"])
def test_transforms_of_the_data_set_itself_are_refused(tmp_path: Path, name: str) -> None:
    """They see annotations as a list of dictionaries, so the boxes would stay behind."""
    dataset = coco(tmp_path)
    setattr(dataset, name, v2.RandomHorizontalFlip(1))
    with pytest.raises(ValueError, match=f"CocoDetection has its own {name}.*CocoTensors\\(dataset, transforms="):
        CocoTensors(dataset)
