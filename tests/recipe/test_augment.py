"""Darknet's augmentation as a whole: what a cfg asks for happens to the pixels, and to the boxes with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.data.test_batches import sample_of
from tests.recipe.test_draws import detector
from yolo.data.order import Draw
from yolo.data.sample import Sample
from yolo.recipe.augment import DarknetAugment
from yolo.size import Size

SIZE = Size(96, 160)
STILL = "jitter=0"


class Images:
    """A data set of some samples, which notes what is read."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples, self.names = samples, ["a"]
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.samples)

    def path(self, k: int) -> Path:
        return Path(f"{k}.png")

    def sample(self, k: int) -> Sample:
        self.read.append(k)
        return self.samples[k]


def noise_images(size: Size, count: int = 1, boxes: Sequence[Sequence[float]] = ()) -> Images:
    """Return images of random pixels, all with the same boxes."""
    random = np.random.default_rng(0)
    return Images([sample_of(random.integers(0, 256, (*size, 3), np.uint8), boxes, k) for k in range(count)])


def bright(random: np.random.Generator) -> Sample:
    """Return a black image of random size with white rectangles, which are its boxes."""
    height, width = random.integers(250, 500, 2).tolist()
    pixels, boxes = np.zeros((height, width, 3), np.uint8), []
    for _ in range(3):
        x, y = int(random.integers(width - 60)), int(random.integers(height - 60))
        boxes.append([x, y, x + int(random.integers(20, 60)), y + int(random.integers(20, 60))])
        pixels[y : boxes[-1][3], x : boxes[-1][2]] = 255
    return sample_of(pixels, boxes)


def corners(sample: Sample) -> np.ndarray:
    """Return the boxes of a sample as float32 `[G, 4]`."""
    return sample[1]["boxes"].as_subclass(Tensor).numpy()


@pytest.mark.parametrize("letterbox", [False, True])
def test_nothing_changes_an_image_of_the_size_of_the_network(letterbox: bool) -> None:
    """Without anything to change, pixels and boxes are those of the image bit for bit, in an order by chance."""
    boxes = [
        [0.3, 1.7, 40.1, 33.3],
        [5.0, 6, 160, 96],
        [100.125, 50.7, 110.3, 60],
        [3.0, 3, 9, 9],
        [7.7, 8.8, 99.9, 88.8],
    ]
    data = noise_images(SIZE, boxes=boxes)
    augment = DarknetAugment(detector(f"flip=0\nletter_box={int(letterbox)}", STILL))
    image, target = augment(data, Draw(0, 0, SIZE, 3), 0)
    assert image.dtype == torch.uint8
    assert image.permute(1, 2, 0).is_contiguous()
    assert (image == data.sample(0)[0]).all()
    assert image.data_ptr() != data.sample(0)[0].data_ptr()
    order = target["labels"].argsort()
    for key in ("boxes", "labels", "iscrowd", "area"):
        assert (target[key][order] == data.sample(0)[1][key]).all(), key
    assert target["boxes"].dtype == target["area"].dtype == torch.float32
    assert target["size"] == (96, 160)
    orders = {tuple(augment(data, Draw(0, 0, SIZE, number), 0)[1]["labels"].tolist()) for number in range(20)}
    assert len(orders) > 10


def test_the_identity_of_a_chosen_sample_is_kept() -> None:
    """The id is that of the drawn image, in a mosaic and in a mixup too."""
    data = noise_images(SIZE, 5)
    for net in ("mosaic=1", "mixup=1", ""):
        augment = DarknetAugment(detector(net))
        assert [augment(data, Draw(0, k, SIZE, k), 0)[1]["image_id"] for k in range(5)] == list(range(5))


def test_flip() -> None:
    """Half of the images are mirrored, boxes with them, and none with `flip=0`."""
    data = noise_images(SIZE, boxes=[[10, 20, 50, 70]])
    flipped = 0
    augment = DarknetAugment(detector("", STILL))
    for number in range(200):
        image, target = sample = augment(data, Draw(0, 0, SIZE, number), 0)
        mirrored = not bool((image == data.sample(0)[0]).all())
        assert not mirrored or (image == data.sample(0)[0].flip(2)).all()
        assert corners(sample).tolist() == ([[110, 20, 150, 70]] if mirrored else [[10, 20, 50, 70]])
        assert target["area"].tolist() == [1000]
        flipped += mirrored
    assert 72 < flipped < 128  # four standard deviations


def inside(boxes: np.ndarray, margin: float) -> np.ndarray:
    """Return which pixels of the input are in any of the boxes `[G, 4]`, enlarged by a margin; bool `[h, w]`."""
    y, x = np.mgrid[: SIZE.height, : SIZE.width] + 0.5
    x0, y0, x1, y1 = (boxes + np.array([-1, -1, 1, 1]) * margin).T[:, :, None, None]
    return ((x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)).any(axis=0)


@pytest.mark.parametrize("letterbox", [False, True])
@pytest.mark.parametrize("net", ["flip=0", "", "mosaic=1\nmosaic_bound=1", "mosaic=1", "mixup=1"])
@pytest.mark.parametrize("head", ["jitter=0.2\nresize=1.4", "jitter=0.1\nresize=0.7"])
def test_boxes_follow_the_pixels(net: str, head: str, letterbox: bool) -> None:
    """What is bright is in a box, and what is in a box is bright, within one and a half pixels."""
    data = Images([bright(np.random.default_rng(k)) for k in range(6)])
    augment = DarknetAugment(detector(f"{net}\nletter_box={int(letterbox)}", head))
    boxes_seen = 0
    for number in range(25):
        sample = augment(data, Draw(1, number % 6, SIZE, number), 7)
        image, found = sample[0].permute(1, 2, 0).numpy(), corners(sample)
        # In a mixup the white of one image is a little more than half; a mean colour is darker.
        mask = (image.min(axis=2) > (64 if "mixup" in net else 127)).astype(np.uint8)
        mask = (
            cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
        )  # without slivers, which are dropped
        assert not (mask & ~inside(found, 1.5)).any(), number
        if net != "mosaic=1":  # without mosaic_bound=1 a box may reach over the neighbours
            darker = image.max(axis=2) < (64 if "mixup" in net else 127)
            assert not (darker & inside(found, -1.5)).any(), number
        assert (found[:, :2] >= 0).all()
        assert (found[:, 2:] <= SIZE.wh).all()
        assert (found[:, 2:] - found[:, :2] >= 1).all()
        boxes_seen += len(found)
    assert boxes_seen > 40


def test_letterbox_pixels() -> None:
    """A letterboxed image is in the middle of its mean colour; its areas are scaled."""
    data = Images([sample_of(np.full((40, 160, 3), (9, 80, 200), np.uint8), [[0, 0, 160, 40]])])
    data.samples[0][0][:, :, 80:] = 0
    image, target = sample = DarknetAugment(detector("flip=0\nletter_box=1", STILL))(data, Draw(0, 0, SIZE), 0)
    assert (image[:, :28] == torch.tensor([4, 40, 100])[:, None, None]).all()  # 4.5 is rounded to even
    assert (image[:, 68:] == torch.tensor([4, 40, 100])[:, None, None]).all()
    assert (image[:, 28:68] == data.sample(0)[0]).all()
    assert corners(sample).tolist() == [[0, 28, 160, 68]]
    assert DarknetAugment(detector("flip=0", STILL))(data, Draw(0, 0, SIZE), 0)[1]["area"] == 7680
    assert target["area"].tolist() == [3200]


def test_small_boxes_are_dropped_and_areas_cut() -> None:
    """A box thinner than a pixel of the input is dropped, one of a pixel is not; so are classes that no head knows."""
    image = np.zeros((96 * 4, 160 * 4, 3), np.uint8)
    boxes = [[100, 100, 103.9, 200], [100.0, 100, 104, 200], [100.0, 100, 200, 103], [8.0, 8, 8, 8], [9.0, 9, 90, 90]]
    sample = DarknetAugment(detector("flip=0", STILL, classes=4))(
        Images([sample_of(image, boxes)]), Draw(0, 0, SIZE), 0
    )
    assert sample[1]["labels"].tolist() == [1]
    assert corners(sample).tolist() == [[25, 25, 26, 50]]
    assert sample[1]["area"].tolist() == [12.5]


@pytest.mark.parametrize("net", ["", "mosaic=1", "mixup=1"])
def test_max(net: str) -> None:
    """`max` objects of a sample remain, each time other ones; crowds are not counted."""
    boxes = [[10 + k, 10, 150 - k, 90 - k] for k in range(20)]
    data, seen, counts = noise_images(SIZE, boxes=boxes), set(), []
    for number in range(40):
        _, target = DarknetAugment(detector(net, f"{STILL}\nmax=7"))(data, Draw(0, 0, SIZE, number), 0)
        truths = target["labels"][~target["iscrowd"]]
        counts.append(len(truths))
        seen |= set(truths.tolist())
        assert set(target["labels"][target["iscrowd"]].tolist()) <= {3}
        assert len(target["boxes"]) == len(target["area"]) == len(target["labels"])
        assert net or target["iscrowd"].sum() == 1
    assert max(counts) == 7
    assert net == "mosaic=1" or min(counts) == 7
    assert seen == set(range(20)) - {3}


def test_mixup_is_the_mean_of_two_images() -> None:
    """Half a level is rounded up."""
    data = Images([sample_of(np.full((9, 9, 3), level, np.uint8), []) for level in (10, 13)])
    augment = DarknetAugment(detector("mixup=1", STILL))
    levels = [augment(data, Draw(0, 0, SIZE, number), 0)[0].unique().tolist() for number in range(100)]
    assert sorted(map(tuple, levels)) == [(10,)] * levels.count([10]) + [(12,)] * levels.count([12])
    assert 10 < levels.count([12]) < 45  # a quarter: a mixup, and with the other image


@pytest.mark.parametrize(
    ("net", "grey", "value", "colour"),
    [
        ("hue=0.2", False, False, True),
        ("saturation=3", False, False, True),
        ("exposure=3", True, True, True),
        ("angle=90\naspect=2", False, False, False),
    ],
)
def test_every_key_does_its_own(net: str, grey: bool, value: bool, colour: bool) -> None:
    """Which keys change a grey image, the value (largest channel) of a colour, and the colour."""
    augment = DarknetAugment(detector(net, STILL))

    def changes(pixels: np.ndarray) -> tuple[bool, bool]:
        """Return whether values, and whether pixels differ in any of 12 samples of an image."""
        data = Images([sample_of(pixels, [])])
        images = [augment(data, Draw(0, 0, SIZE, number), 0)[0].permute(1, 2, 0).numpy() for number in range(12)]
        values = max(int(np.abs(image.max(axis=2).astype(int) - pixels.max(axis=2)).max()) for image in images)
        return values > 0, any((image != pixels).any() for image in images)

    assert changes(np.full((*SIZE, 3), 77, np.uint8)) == (grey, grey)
    assert changes(np.full((*SIZE, 3), (120, 77, 50), np.uint8)) == (value, colour)


@pytest.mark.parametrize(("net", "count"), [("mosaic=1\nmixup=1\ncutmix=1", 4), ("mixup=1", 2)])
def test_chunks_and_partners(net: str, count: int) -> None:
    """Half of the chunks of batch / 6 samples become mosaics or mixups; partners are any images, with replacement."""
    data, augment = noise_images(Size(8, 8), 10), DarknetAugment(detector(f"{net}\nbatch=13"))
    numbers, partners = [], []
    for number in range(500):
        data.read = []
        augment(data, Draw(0, 4, Size(8, 8), number), 0)
        assert data.read[0] == 4
        numbers.append(len(data.read))
        partners += data.read[1:]
    chunks = np.array(numbers).reshape(250, 2)
    assert (chunks == chunks[:, :1]).all()
    assert set(numbers) == {1, count}
    assert 94 < (chunks[:, 0] == count).sum() < 156
    expected = len(partners) / 10
    assert ((np.bincount(partners, minlength=10) - expected) ** 2 / expected).sum() < 27.9  # chi-squared, 0.1 %


def test_a_sample_depends_on_seed_and_draw_alone() -> None:
    """The same draw gives the same sample whatever was made before; another number, epoch or seed another one."""
    data = Images([bright(np.random.default_rng(k)) for k in range(6)])
    cfg = detector("mosaic=1\nhue=0.1\nsaturation=1.5\nexposure=1.5", "jitter=0.2\nresize=1.5")
    augment, draw = DarknetAugment(cfg), Draw(2, 3, SIZE, 5)
    image, target = augment(data, draw, 1)
    other = DarknetAugment(cfg)(data, draw, 1)
    assert (image == other[0]).all()
    assert (target["boxes"] == other[1]["boxes"]).all()
    for changed, seed in ((draw._replace(number=6), 1), (draw._replace(epoch=1), 1), (draw, 2)):
        assert (image != augment(data, changed, seed)[0]).float().mean() > 0.05
