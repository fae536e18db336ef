"""What a caller gives as images: every kind has the pixels that its file has, and what is refused has a remedy."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from yolo.images.files import read_image
from yolo.images.inputs import images_in, pixels_of

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def saved(path: Path, image: Image.Image, orientation: int = 1) -> Path:
    """Write a Pillow image as a file, with an orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


def transparent_palette() -> Image.Image:
    """An image with a palette of which some entries are transparent, as many a GIF and PNG."""
    image = Image.fromarray(RGB).quantize(16)
    image.info["transparency"] = bytes(range(0, 256, 16))
    return image


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_pillow_image_has_the_pixels_of_its_file(mode: str, channels: int, tmp_path: Path) -> None:
    """In every mode of PNG: alpha is dropped and not blended, of 16 bits the high byte is kept."""
    deep = Image.fromarray(np.arange(0, 65520, 1872, dtype=np.uint16).reshape(5, 7))
    image = {"P": transparent_palette(), "I;16": deep}.get(mode) or Image.fromarray(RGB).convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(RGB[..., 0]))
    file = saved(tmp_path / "a.png", image)
    opened = Image.open(file)
    assert opened.mode == mode
    got = pixels_of(opened, channels)
    assert (got.dtype, got.shape) == (np.uint8, (5, 7, channels))
    # Both make grey of RGB, Pillow from a palette of its own; nothing else may differ.
    np.testing.assert_array_equal(got, read_image(file, channels))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pillow_image_is_turned_upright(orientation: int, tmp_path: Path) -> None:
    """All eight orientations of EXIF, as `read_image` does it."""
    file = saved(tmp_path / "a.png", Image.fromarray(RGB), orientation)
    np.testing.assert_array_equal(pixels_of(Image.open(file), 3), read_image(file))


def test_other_pillow_modes() -> None:
    """CMYK becomes RGB. A range that is not known, and a network of five channels, are errors."""
    assert pixels_of(Image.new("CMYK", (7, 5), (0, 255, 255, 0)), 3)[0, 0].tolist() == [255, 0, 0]
    for mode in ("I", "F"):
        with pytest.raises(ValueError, match=rf'mode {mode}, whose range is not known; give .*astype\("uint8"\)'):
            pixels_of(Image.new(mode, (7, 5)), 3)
    with pytest.raises(ValueError, match=r"mode RGB; networks with 5 input channels take uint8 arrays \[h, w, 5\]"):
        pixels_of(Image.fromarray(RGB), 5)


@pytest.mark.parametrize("problem", [OSError("cut"), SystemError("x"), MemoryError(), ValueError("y")])
def test_a_damaged_pillow_image(problem: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow reads the pixels late, and has many kinds of errors for damage; each is a ValueError."""

    def load(_: Image.Image) -> None:
        raise problem

    image = Image.new("RGB", (7, 5))
    monkeypatch.setattr(Image.Image, "load", load)
    with pytest.raises(ValueError, match="got a PIL image of mode RGB"):
        pixels_of(image, 3)


@pytest.mark.parametrize("kind", [Tensor, tv_tensors.Image])
def test_tensors(kind: type[Tensor]) -> None:
    """A tensor `[3, h, w]` is one image, `[B, 3, h, w]` a list of them."""
    one = torch.from_numpy(RGB).permute(2, 0, 1).as_subclass(kind)
    np.testing.assert_array_equal(pixels_of(one, 3), RGB)
    for given, single in ((one, True), (torch.stack([one, one]), False)):
        got, images = images_in(given, 3)
        assert got == single
        found = list(images)
        assert len(found) == 1 + (not single)
        for image in found:
            assert isinstance(image.image, np.ndarray)
            np.testing.assert_array_equal(image.image, RGB)


@pytest.mark.parametrize(
    "wrong",
    [
        RGB / 255, RGB.astype(np.float32) / 255, RGB.astype(np.int64), RGB.transpose(2, 0, 1),
        np.dstack((RGB, RGB[..., :1])), RGB[..., 0],
        torch.from_numpy(RGB), torch.from_numpy(RGB).permute(2, 0, 1) / 255,
        torch.from_numpy(RGB).permute(2, 0, 1).long(), torch.from_numpy(RGB[..., 0]),
        torch.from_numpy(np.dstack((RGB, RGB[..., :1]))).permute(2, 0, 1),
    ],
)  # fmt: skip
def test_remedies(wrong: np.ndarray | Tensor) -> None:
    """What the message says to give is taken, and shows the same image."""
    with pytest.raises(ValueError, match=re.escape(f"of shape {list(wrong.shape)} and type {wrong.dtype}")) as problem:
        pixels_of(wrong, 3)
    remedy = re.search(r"; .*give (.*)$", str(problem.value))
    assert remedy, problem.value
    right = pixels_of(eval(remedy[1], {"x": wrong, "np": np, "torch": torch}), 3)
    expected = RGB if wrong.ndim == 3 else np.stack([RGB[..., 0]] * 3, -1)
    np.testing.assert_array_equal(right, expected)


def cut_off() -> Image.Image:
    """Return an image whose file ends in the middle."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)).save(file, "png")
    return Image.open(io.BytesIO(file.getvalue()[: file.tell() // 2]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            0.5,
            r"^got float in place of an image; expected a path or pixels, uint8 \[h, w, 3\], a PIL image",
        ),
        (0, "got int .*; model.stream takes the number of a camera"),
        (b"\xff\xd8", r"got bytes .*PIL.Image.open\(io.BytesIO\(data\)\)"),
        ({"a": RGB}, "got dict in place of an image"),
        (None, "cv2.imread returns None"),
        ([RGB, [RGB]], r"images\[1\]: got list in place"),
        (iter([RGB, RGB, RGB / 255]), r"images\[2\]: got pixels of shape .*float64"),
        (RGB[None], r"for a batch give list\(x\)"),
        (np.zeros((0, 7, 3), np.uint8), r"shape \[0, 7, 3\]"),
        (torch.zeros(2, 4, 5, 7, dtype=torch.uint8), r"shape \[4, 5, 7\]"),
        (cut_off(), "got a PIL image of mode RGB that cannot be read: image file is truncated"),
        ("", "an empty path"),
        ("rtsp://host/1", "rtsp://host/1: is not an image but a video, a stream or a camera; model.stream"),
        ("clip.mp4", r"clip.mp4: is not an image but"),
        (["nope*.png"], r"images\[0\]: nope\*.png: no file matches"),
    ],
)
def test_what_is_not_an_image(wrong: Any, message: str) -> None:
    """It is refused with what it is and what is expected, in a list with its place."""
    with pytest.raises(ValueError, match=message):
        list(images_in(wrong, 3)[1])


def test_paths_folders_and_lists(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file is one image; a folder and a glob are all of theirs, sorted, without videos, which is logged."""
    for name in ("b.png", "a.png", "7.png"):
        Image.fromarray(RGB).save(tmp_path / name)
    (tmp_path / "clip.mp4").write_bytes(b"x")

    def names(given: Any) -> tuple[bool, list[str]]:
        single, images = images_in(given, 3)
        return single, [image.name for image in images]

    assert names(tmp_path / "a.png") == (True, ["a.png"])
    assert names(str(tmp_path / "missing.png")) == (True, ["missing.png"]), "reading it will say that it is not there"
    assert not caplog.records
    assert names(tmp_path) == (False, ["7.png", "a.png", "b.png"])
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, f"{tmp_path}: left out 1 video; model.stream yields the frames")
    ]
    assert names(str(tmp_path / "[ab].png")) == (False, ["a.png", "b.png"])
    assert names(str(tmp_path / "[a].png")) == (False, ["a.png"]), "a glob gives a list, whatever it matches"
    mixed = [tmp_path / "b.png", RGB, str(tmp_path / "?.png"), torch.from_numpy(RGB).permute(2, 0, 1)[None]]
    assert names(iter(mixed)) == (False, ["b.png", "", "7.png", "a.png", "b.png", ""])
    assert names([]) == (False, [])


def test_a_list_is_read_as_it_is_used() -> None:
    """An endless iterator gives its first images."""
    asked = []

    def endless() -> Any:
        while True:
            asked.append(1)
            yield Image.open(io.BytesIO(encoded))

    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "png")
    encoded = file.getvalue()
    _, images = images_in(endless(), 3)
    assert not asked
    first = next(images).image
    assert isinstance(first, np.ndarray)
    np.testing.assert_array_equal(first, RGB)
    assert len(asked) == 1
