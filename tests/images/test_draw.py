"""Drawing: the input image is not changed, and any box, name and size can be drawn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from yolo.boxes import Detections
from yolo.images.draw import colour, draw
from yolo.names import COCO


def found(*boxes: tuple[float, float, float, float], labels: list[int] | None = None) -> Detections:
    """Detections of these boxes, by descending score."""
    scores = torch.linspace(0.9, 0.3, len(boxes)) if boxes else torch.zeros(0)
    kinds = torch.tensor(labels or [0] * len(boxes), dtype=torch.int64)
    return Detections(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), scores, kinds)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    """An image of random pixels."""
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_the_argument_is_not_modified() -> None:
    """A new uint8 image of the same size, with the class's colour on the border of the box."""
    image = noise(120, 200)
    before = image.copy()
    drawn = draw(image, found((50, 40, 150, 100), labels=[3]), COCO)
    assert (drawn.shape, drawn.dtype) == ((120, 200, 3), np.uint8)
    assert np.array_equal(image, before)
    assert not np.shares_memory(drawn, image)
    assert tuple(drawn[100, 100]) == tuple(drawn[70, 150]) == colour(3)
    assert np.array_equal(drawn[110:], image[110:])


def test_nothing_found_changes_nothing() -> None:
    """An identical image, also from one that is read-only or not contiguous."""
    image = noise(33, 47)
    image.setflags(write=False)
    assert np.array_equal(draw(image, found(), COCO), image)
    assert np.array_equal(draw(image[::-1, ::2], found(), COCO), image[::-1, ::2])


def test_one_channel_becomes_three() -> None:
    """Grey stays grey, boxes are coloured."""
    image = noise(60, 80, 1)
    assert np.array_equal(draw(image, found(), COCO), image.repeat(3, axis=2))
    assert tuple(draw(image, found((20, 30, 70, 50)), COCO)[50, 40]) == colour(0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (7, 5), (100, 140)])
def test_boxes_of_all_kinds(shape: tuple[int, int]) -> None:
    """Outside, empty, inside out, huge, not finite: no image leads to a crash or a warning."""
    nan, inf = float("nan"), float("inf")
    boxes = [
        (-50, -50, -10, -10), (500, 500, 600, 600), (10, 10, 10, 10), (40, 40, 20, 20), (-1e30, -1e30, 1e30, 1e30),
        (nan, nan, nan, nan), (-inf, -inf, inf, inf), (inf, nan, -inf, 3), (0, 0, 1, 1), (-5, 3, 4, 1e9),
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for box in boxes:
            assert draw(noise(*shape), found(box), COCO).shape == (*shape, 3)
        assert draw(noise(*shape), found(*boxes), COCO).shape == (*shape, 3)


def test_names_of_all_alphabets() -> None:
    """Letters with and without a glyph, no letters, many letters, a line break."""
    names = ["Straßenbahn", "собака", "犬", "🐕", "", "a\nb", "x" * 500, "مرحبا", "%s"]
    boxes = [(10.0 * k, 10.0 * k, 10.0 * k + 60, 10.0 * k + 60) for k in range(len(names))]
    assert draw(noise(200, 300), found(*boxes, labels=list(range(len(names)))), names).shape == (200, 300, 3)


def test_a_class_keeps_its_colour() -> None:
    """Whatever the other classes are. Neighbours differ clearly."""
    assert colour(5) == colour(5)
    assert len({colour(k) for k in range(80)}) == 80
    for k in range(79):
        assert max(abs(a - b) for a, b in zip(colour(k), colour(k + 1), strict=True)) > 40
    alone = draw(np.zeros((90, 90, 3), np.uint8), found((10, 40, 80, 80), labels=[7]), COCO)
    assert tuple(alone[80, 40]) == colour(7)


def test_lines_and_letters_grow_with_the_image() -> None:
    """A label of an image ten times as wide covers far more than ten times the pixels."""
    covered = []
    for scale in (1, 10):
        blank = np.zeros((150 * scale, 200 * scale, 3), np.uint8)
        drawn = draw(blank, found((50 * scale, 60 * scale, 150 * scale, 120 * scale), labels=[2]), COCO)
        covered.append(int((drawn[: 60 * scale] != 0).any(-1).sum()))  # the label above the box
    assert covered[0] > 50
    assert covered[1] > 30 * covered[0] / 2


def test_many_boxes() -> None:
    """Two hundred labels find a place each."""
    corners = np.random.default_rng(1).uniform(0, 500, (200, 2))
    boxes = [(float(x), float(y), float(x) + 80, float(y) + 60) for x, y in corners]
    assert draw(noise(560, 580), found(*boxes), COCO).shape == (560, 580, 3)
