"""Rotation: boxes are those of the turned corners, and nothing changes where it is off."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from tests.data.test_batches import SIZE, Drawn, marked, sample_of
from tests.support.many import examples
from yolo.data import transforms
from yolo.data.mosaic import partners, quarters
from yolo.data.order import Draw, chance
from yolo.data.transforms import Augmented
from yolo.data.warp import Turned, Warp
from yolo.images.resize import GREY
from yolo.options.augment import PLAIN, Augment
from yolo.size import Size

TURNED = replace(PLAIN, rotate=45)


@examples(40)
@given(
    seed=st.integers(0, 2**31),
    flip=st.sampled_from([0.0, 1.0]),
    rotate=st.floats(0.1, 45),
    size=st.sampled_from([(96, 160), (160, 96), (64, 64), (608, 416)]),
    letterbox=st.booleans(),
)
@example(seed=1837994, flip=0.0, rotate=32.0, size=(608, 416), letterbox=False)  # enlarged 7 by 11 times
def test_boxes_are_those_of_the_corners(
    seed: int, flip: float, rotate: float, size: tuple[int, int], letterbox: bool
) -> None:
    """The box is that of the turned corners, clipped to the input; it holds all pixels of the object, and no more."""
    data, (h, w) = Drawn(1, seed, empty=False), size
    options = replace(PLAIN, flip=flip, rotate=rotate)
    image, target = Augmented(data, options, seed=seed, letterbox=letterbox)[Draw(0, 0, Size(*size))]
    # The corners: into the input without rotation, then turned about its middle, clockwise as it is seen.
    straight = Augmented(data, replace(options, rotate=0, hue=0.01), seed=seed, letterbox=letterbox)
    left, top, right, bottom = straight[Draw(0, 0, Size(*size))][1]["boxes"][0].tolist()
    angle = np.radians(chance(seed, 0, 0, use=4).uniform(-rotate, rotate))
    middle = w / 2 + h / 2 * 1j
    corners = (
        np.array([left + top * 1j, right + top * 1j, right + bottom * 1j, left + bottom * 1j]) - middle
    ) * np.exp(1j * angle) + middle
    whole = np.array([corners.real.min(), corners.imag.min(), corners.real.max(), corners.imag.max()])
    shown = marked(image, (0, 0, w, h))
    boxes = target["boxes"].as_subclass(Tensor).numpy()
    if len(boxes):
        assert shown is not None
        assert np.abs(boxes[0] - np.clip(whole, 0, [w, h, w, h])).max() <= 1  # whole pixels of letterbox and crop
        assert (boxes[0, :2] <= np.array(shown[:2]) + 1).all()
        assert (boxes[0, 2:] >= np.array(shown[2:]) - 1).all()
        if (whole[:2] > 0).all() and (whole[2:] < (w, h)).all():
            # No pixel at a sharp corner is half covered. An enlarged image is blurred over a pixel of its own: at a
            # corner, half of the brightness is reached 0.207 of these pixels inside, along each side.
            x0, y0, x1, y1 = data.sample(0)[1]["boxes"][0].tolist()
            across, down = (right - left) / (x1 - x0), (bottom - top) / (y1 - y0)
            cosine, sine = np.cos(angle), abs(np.sin(angle))
            inset = 0.207 * max(across * cosine + down * sine, across * sine + down * cosine)
            assert np.abs(boxes[0] - shown).max() <= max(2.5, 1.5 + inset)


@examples(20)
@given(seed=st.integers(0, 2**31), letterbox=st.booleans())
def test_a_mosaic(seed: int, letterbox: bool) -> None:
    """Each part is turned by itself; its box holds the object's pixels and stays in its quarter."""
    data, size = Drawn(4, seed, empty=False), Size(320, 320)
    options = Augment(mosaic=1, hue=0, saturation=1, value=1, rotate=20)
    image, target = Augmented(data, options, seed=seed, letterbox=letterbox)[Draw(3, 1, size)]
    random = chance(seed, 3, 1)
    random.random()
    partners(random, Draw(3, 1, size), 4, seed)
    boxes, owned = target["boxes"].as_subclass(Tensor).numpy(), 0
    for window in quarters(random, size):
        inside = (boxes >= np.array(window[:2] * 2)).all(1) & (boxes <= np.array(window[2:] * 2)).all(1)
        owned += int(inside.sum())
        shown = marked(image, window)
        if inside.any() and shown is not None:
            assert (boxes[inside, :2] <= np.array(shown[:2]) + 1).all()
            assert (boxes[inside, 2:] >= np.array(shown[2:]) - 1).all()
    assert owned == len(boxes) <= 4


@pytest.mark.parametrize("axes", [(80, 80), (100, 50)])
def test_boxes_become_loose(axes: tuple[int, int]) -> None:
    """The IoU of the box with the tight one of a disc or an ellipse, counted in pixels: what the option says."""
    pixels = np.zeros((300, 300, 3), np.uint8)
    cv2.ellipse(pixels, (150, 150), axes, 0, 0, 360, (255, 255, 255), -1)
    x, y, w, h = cv2.boundingRect(pixels[..., 0])
    for angle, expected in ((5, 0.85), (10, 0.75), (15, 0.67)):
        turned, canvas = Turned(Warp.fit(Size(300, 300), Size(300, 300)), angle, Size(300, 300)), pixels.copy()
        turned.pixels(pixels, canvas)
        left, top, wide, high = cv2.boundingRect((canvas[..., 0] > 190).astype(np.uint8))
        (box,) = turned.boxes(np.array([[x, y, x + w, y + h]], float))
        assert (box[:2] <= (left, top)).all()
        assert (box[2:] >= (left + wide, top + high)).all()
        iou = wide * high / (box[2:] - box[:2]).prod()
        assert iou == pytest.approx(expected, abs=0.01 if axes[0] == axes[1] else 0.06)


def test_a_quarter_turn_by_hand() -> None:
    """An image of 4 x 2 that is turned by 90 degrees clockwise on a canvas of 4 x 4, mirrored or not."""
    image = np.random.default_rng(0).integers(0, 256, (2, 4, 3), np.uint8)
    for mirrored in (False, True):
        turned = Turned(Warp.fit(Size(2, 4), Size(4, 4), mirrored=mirrored), 90, Size(2, 4))
        canvas = np.empty((4, 4, 3), np.uint8)
        turned.pixels(image, canvas)
        assert np.array_equal(canvas[:, 1:3], np.rot90(image[:, ::-1] if mirrored else image, -1))
        assert (canvas[:, [0, 3]] == GREY).all()
        (box,) = turned.boxes(np.array([[0, 0, 1, 2]], float))
        assert box == pytest.approx([1, 3, 3, 4] if mirrored else [1, 0, 3, 1])


def test_grey_corners_area_and_shrinking() -> None:
    """What lies outside the image is grey; the area of an object is kept; shrinking averages, as without rotation."""
    board = (np.indices((200, 200)).sum(0) % 2 * 200).astype(np.uint8)  # 100 on average
    data = Drawn(1)
    data.samples = [sample_of(np.repeat(board[..., None], 3, axis=2), [[80, 80, 120, 120]])]
    seen = set()
    for epoch in range(20):
        image, target = Augmented(data, TURNED)[Draw(epoch, 0, Size(50, 50))]
        angle = chance(0, epoch, 0, use=4).uniform(-45, 45)
        assert (image[:, 15:35, 15:35].int() - 100).abs().max() <= 1
        if abs(angle) > 10:
            assert (image[:, [0, 0, -1, -1], [0, -1, 0, -1]] == GREY).all()
        assert target["area"].tolist() == pytest.approx([800 / 16])
        seen.add(angle > 0)
    assert seen == {False, True}
    turned, canvas = Turned(Warp.fit(Size(9, 9), SIZE, move=(1000, 0)), 10, Size(9, 9)), np.zeros((*SIZE, 3), np.uint8)
    turned.pixels(np.zeros((9, 9, 3), np.uint8), canvas)  # an image outside the input
    assert (canvas == GREY).all()


def test_other_random_numbers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The angle has random numbers of its own, drawn only if there is a rotation; a sample is the same each time."""
    data, options = Drawn(6), Augment(mosaic=0.5, mixup=0.3)
    almost, off, much = (Augmented(data, replace(options, rotate=angle), seed=2) for angle in (1e-7, 0, 10))
    for k in range(12):
        draw = Draw(k, k % 6, SIZE)
        (image, target), (other, truth) = almost[draw], off[draw]
        assert (image.int() - other.int()).float().abs().mean() < 4
        assert np.allclose(target["boxes"], truth["boxes"], atol=1e-3)
        (image, target), (again, truth) = much[draw], much[draw]
        assert image.equal(again)
        assert target["boxes"].equal(truth["boxes"])
        assert not image.equal(other)
    uses = set()

    def noted(seed: int, epoch: int, number: int, use: int = 0) -> np.random.Generator:
        uses.add(use)
        return chance(seed, epoch, number, use)

    monkeypatch.setattr(transforms, "chance", noted)
    off[Draw(0, 0, SIZE)]
    assert uses == {0}
    much[Draw(0, 0, SIZE)]
    assert uses == {0, 4}
    assert Augment(rotate=0) == Augment()
    assert PLAIN.rotate == 0


@pytest.mark.parametrize("rotate", [-1, 46])
def test_out_of_range(rotate: float) -> None:
    """The error has the name and the value."""
    with pytest.raises(ValueError, match=f"rotate={rotate}: expected degrees from 0 .off. to 45"):
        Augment(rotate=rotate)
