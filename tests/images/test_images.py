"""Images: darknet's own resize bit for bit, every kind of file, and damaged files."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tests.support.paths import GOLDEN, ROOT
from yolo.images.files import read_image
from yolo.images.placement import Placement
from yolo.images.resize import darknet_place, darknet_resize, place
from yolo.pixels import VARIABLE
from yolo.size import Size

GOLDEN = GOLDEN / "resize"
SHARED = ROOT / ".." / "shared" / "golden" / "resize"
CASES = json.loads((GOLDEN / "index.json").read_text())  # a missing folder is an error, not a skipped test

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
SMOOTH = cv2.resize(NOISE[:3, :4], (60, 40), interpolation=cv2.INTER_LINEAR)  # survives lossy compression


def encode(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    """An image file in memory, written by Pillow."""
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, kind, **options)
    return file.getvalue()


def read(data: bytes, folder: Path, channels: int = 3) -> np.ndarray:
    """Write the bytes to a file, read it, and check what holds for every image."""
    file = folder / "image.jpg"
    file.write_bytes(data)
    image = read_image(file, channels)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == channels
    assert image.flags.c_contiguous
    assert file.read_bytes() == data
    return image


def furthest(a: np.ndarray, b: np.ndarray) -> int:
    """The largest difference between two uint8 images of the same shape."""
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def oriented(value: int) -> Image.Exif:
    """An EXIF block that holds an orientation."""
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def segment(marker: int, content: bytes) -> bytes:
    """One segment of a JPEG file."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


# darknet's own resize


def golden_input(folder: Path, case: dict[str, Any]) -> np.ndarray:
    """The network input that our code makes of a golden image."""
    image = read_image(folder / case["picture"])
    make = Placement.letterbox if case["mode"] == "letterbox" else Placement.stretch
    return darknet_place(image, make(Size.of(image), Size(case["height"], case["width"])))


def test_golden_index_is_complete() -> None:
    """Every array of the golden folder is in the index and every indexed file is there."""
    assert {case["file"] for case in CASES} == {file.name for file in GOLDEN.glob("*.npy")}
    assert {case["picture"] for case in CASES} == {file.name for file in GOLDEN.glob("*.png")}
    assert any(case["dark_last_row"] for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"].removesuffix(".npy"))
def test_darknet_place_golden(case: dict[str, Any]) -> None:
    """The network input is darknet's, bit for bit."""
    expected = np.load(GOLDEN / case["file"])
    result = golden_input(GOLDEN, case)
    assert result.dtype == expected.dtype == np.float32
    assert result.flags.c_contiguous
    assert np.array_equal(result, expected)
    if case["dark_last_row"] and case["mode"] == "stretch":
        assert result[:, -1].max() < 0.01 < result[:, -2].min()


def test_darknet_place_golden_full() -> None:
    """The same for the whole golden folder, which holds larger files than the repository."""
    if not SHARED.is_dir():
        pytest.skip("../shared/golden not present")
    cases = json.loads((SHARED / "index.json").read_text())
    assert len(cases) > len(CASES)
    for case in cases:
        assert np.array_equal(golden_input(SHARED, case), np.load(SHARED / case["file"])), case["file"]


def slow_darknet_resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """darknet's two loops, one number at a time, in float32."""
    one = np.float32(1)
    source_h, source_w, channels = image.shape
    scale_x = np.float32(source_w - 1) / np.float32(width - 1) if width > 1 else one
    scale_y = np.float32(source_h - 1) / np.float32(height - 1) if height > 1 else one
    part = np.zeros((source_h, width, channels), np.float32)
    result = np.zeros((height, width, channels), np.float32)
    for k in range(channels):
        for r in range(source_h):
            for c in range(width):
                if c == width - 1 or source_w == 1:
                    part[r, c, k] = image[r, source_w - 1, k]
                else:
                    sx = np.float32(c) * scale_x
                    ix = int(sx)
                    dx = sx - np.float32(ix)
                    part[r, c, k] = (one - dx) * image[r, ix, k] + dx * image[r, ix + 1, k]
        for r in range(height):
            sy = np.float32(r) * scale_y
            iy = int(sy)
            dy = sy - np.float32(iy)
            for c in range(width):
                result[r, c, k] = (one - dy) * part[iy, c, k]
                if r != height - 1 and source_h != 1:
                    result[r, c, k] += dy * part[iy + 1, c, k]
    return result


SIDES = st.integers(1, 12)


@settings(deadline=None)
@given(SIDES, SIDES, st.integers(1, 4), SIDES, SIDES, st.integers(0, 2**32 - 1))
@example(1, 1, 3, 1, 1, 0)
@example(1, 7, 1, 5, 1, 1)
@example(7, 1, 1, 1, 5, 2)
def test_darknet_resize_is_the_slow_loop(w: int, h: int, channels: int, width: int, height: int, seed: int) -> None:
    """The vectorised resize equals the obvious loops bit for bit and leaves its argument alone."""
    image = np.random.default_rng(seed).random((h, w, channels), dtype=np.float32)
    before = image.copy()
    result = darknet_resize(image, Size(height, width))
    assert result.dtype == np.float32
    assert np.array_equal(result, slow_darknet_resize(image, width, height))
    assert np.array_equal(image, before)
    assert not np.shares_memory(result, image)


def test_darknet_resize_dark_row() -> None:
    """From 240 rows to 416, white stays white except for the last row, which becomes almost black."""
    result = darknet_resize(np.ones((240, 2, 1), np.float32), Size(416, 2))
    assert np.allclose(result[:-1], 1, atol=1e-6)
    assert result[-1].max() < 1e-4


def test_darknet_resize_same_size_is_a_copy() -> None:
    """Nothing changes when the size is already right."""
    image = NOISE.astype(np.float32)
    result = darknet_resize(image, Size(20, 30))
    assert np.array_equal(result, image)
    assert not np.shares_memory(result, image)


def test_darknet_place_values() -> None:
    """A value is the float64 quotient by 255, rounded to float32, for all 256 of them."""
    values = np.arange(256)
    image = values.astype(np.uint8).reshape(1, 256, 1)
    result = darknet_place(image, Placement.stretch(Size(1, 256), Size(1, 256)))
    assert np.array_equal(result, (values / 255).astype(np.float32).reshape(1, 1, 256))


@pytest.mark.parametrize("pixels", [NOISE, NOISE[0].astype(np.float32)])
def test_darknet_resize_refuses(pixels: np.ndarray) -> None:
    """Bytes or a missing axis would give wrong numbers."""
    with pytest.raises(ValueError, match="expected a float32 image"):
        darknet_resize(pixels, Size(4, 4))


# the fast path


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
@pytest.mark.parametrize("size", [(97, 61), (61, 97), (1, 1), (3, 300), (640, 32)])
def test_place_letterbox(size: tuple[int, int], channels: int) -> None:
    """The image is where the placement puts it, on grey 128, with any number of channels."""
    w, h = size
    image = RNG.integers(0, 100, (h, w, channels), dtype=np.uint8)
    placement = Placement.letterbox(Size(h, w), Size(64, 96))
    result = place(image, placement)
    assert result.shape == (64, 96, channels)
    assert result.dtype == np.uint8
    (left, top), (placed_h, placed_w) = placement.offset, placement.placed
    expected = cv2.resize(image, placement.placed.wh, interpolation=cv2.INTER_LINEAR)
    inside = result[top : top + placed_h, left : left + placed_w]
    assert np.array_equal(inside, expected.reshape(inside.shape))
    assert (result == 128).sum() == (64 * 96 - placed_w * placed_h) * channels


@pytest.mark.parametrize("channels", [1, 3])
def test_place_stretch(channels: int) -> None:
    """Stretching covers the input; the corners of a resized image stay near its own."""
    image = np.ascontiguousarray(SMOOTH[..., :channels])
    result = place(image, Placement.stretch(Size(40, 60), Size(96, 32)))
    assert result.shape == (96, 32, channels)
    assert furthest(result[:1, :1], image[:1, :1]) < 8


@pytest.mark.parametrize("fast", [True, False])
def test_place_same_size(fast: bool) -> None:
    """An image that fits is copied, never returned itself. With bars it is pasted unchanged."""
    placement = Placement.stretch(Size(20, 30), Size(20, 30))
    if fast:
        result = place(NOISE, placement)
        assert np.array_equal(result, NOISE)
        assert not np.shares_memory(result, NOISE)
    barred = Placement.letterbox(Size(20, 30), Size(25, 30))
    result = place(NOISE, barred) if fast else darknet_place(NOISE, barred).transpose(1, 2, 0)
    assert barred.offset == (0, 2)
    assert np.array_equal(result[2:22], NOISE if fast else (NOISE / 255).astype(np.float32))
    assert (result[[0, 1, 22, 23, 24]] == (128 if fast else 0.5)).all()


def test_place_views() -> None:
    """Mirrored, transposed and read-only images are resized like copies of them."""
    for view in (NOISE[:, ::-1], NOISE.swapaxes(0, 1), np.broadcast_to(NOISE[:1], NOISE.shape)):
        placement = Placement.letterbox(Size.of(view), Size(19, 17))
        assert np.array_equal(place(view, placement), place(np.ascontiguousarray(view), placement))


@pytest.mark.parametrize("function", [place, darknet_place])
@pytest.mark.parametrize("pixels", [NOISE[:-1], NOISE.astype(np.float32), NOISE[..., 0]])
def test_place_refuses(function: Any, pixels: np.ndarray) -> None:
    """An image of another size, type or number of axes is refused."""
    with pytest.raises(ValueError, match=r"expected uint8 \(20, 30, C\)"):
        function(pixels, Placement.letterbox(Size(20, 30), Size(32, 32)))


# every kind of file


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(tmp_path: Path, kind: str, orientation: int) -> None:
    """All eight orientations, in the four formats that have them, are applied as Pillow applies them."""
    options: dict[str, Any] = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    data = encode(SMOOTH, kind, exif=oriented(orientation), **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert furthest(read(data, tmp_path), np.asarray(upright)) <= (3 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [0, 9])
def test_exif_orientation_unknown(tmp_path: Path, orientation: int) -> None:
    """Other numbers than 1 to 8 mean upright."""
    data = encode(SMOOTH, "JPEG", exif=oriented(orientation))
    assert np.array_equal(read(data, tmp_path), read(encode(SMOOTH, "JPEG"), tmp_path))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("long", [True, False])
def test_exif_of_a_jpeg(tmp_path: Path, order: str, long: bool) -> None:
    """Both byte orders and both integer types; XMP and fill bytes before EXIF; a second EXIF block is ignored."""
    plain = encode(SMOOTH, "JPEG")
    value = struct.pack(order + "HHI", 0x0112, 4 if long else 3, 1) + struct.pack(order + ("I" if long else "H"), 6)
    other = struct.pack(order + "HHII", 0x0100, 4, 1, 60)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 2)
    exif = segment(0xE1, b"Exif\0\0" + header + other + value.ljust(12, b"\0") + bytes(4))
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")
    second = segment(0xE1, b"Exif\0\0" + oriented(3).tobytes().removeprefix(b"Exif\0\0"))
    data = plain[:2] + xmp + b"\xff\xff" + exif + second + plain[2:]
    assert np.array_equal(read(data, tmp_path), np.rot90(read(plain, tmp_path), -1))


@pytest.mark.parametrize("block", [b"", b"II*\0", b"MM\0*\xff\xff\xff\xff\0\1", b"II*\0\x08\0\0\0\xff\xff\x12\x01"])
def test_exif_damaged(tmp_path: Path, block: bytes) -> None:
    """An EXIF block that is cut off or points nowhere means upright. The image is not refused."""
    for kind, options in (("JPEG", {}), ("WEBP", {"lossless": True})):
        plain = encode(SMOOTH, kind, **options)
        if kind == "JPEG":
            data = plain[:2] + segment(0xE1, b"Exif\0\0" + block) + plain[2:]
        else:
            data = encode(SMOOTH, kind, exif=b"Exif\0\0" + block, **options)
        assert np.array_equal(read(data, tmp_path), read(plain, tmp_path))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_exif_with_one_damaged_entry(tmp_path: Path, kind: str) -> None:
    """The orientation is read, without a warning, although an entry before it points out of the block."""
    options = {"lossless": True} if kind == "WEBP" else {}
    maker = struct.pack("<HHII", 0x010F, 2, 6, 0xFF00003E)
    orientation = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    block = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + maker + orientation + bytes(4)
    plain = encode(SMOOTH, kind, **options)
    data = plain[:2] + segment(0xE1, block) + plain[2:]
    if kind == "WEBP":
        data = encode(SMOOTH, kind, exif=block, **options)
    assert np.array_equal(read(data, tmp_path), np.rot90(read(plain, tmp_path), -1))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_kinds(tmp_path: Path, kind: str) -> None:
    """The pixels of lossless files are read as they are."""
    data = encode(NOISE, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(read(data, tmp_path), NOISE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_grey(tmp_path: Path, kind: str) -> None:
    """Grey is replicated, and one channel of it is itself."""
    grey = np.ascontiguousarray(SMOOTH[..., 0])
    data = encode(grey, kind)
    image = read(data, tmp_path)
    assert furthest(image, grey[..., None].repeat(3, 2)) <= (6 if kind == "JPEG" else 0)
    assert (image == image[..., :1]).all()
    assert np.array_equal(read(data, tmp_path, channels=1), image[..., :1])


def test_one_channel(tmp_path: Path) -> None:
    """One channel of a colour image is the integer luminance (77 R + 150 G + 29 B) >> 8."""
    pixels = NOISE.copy()
    pixels[0, :4] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]
    result = read(encode(pixels, "PNG"), tmp_path, channels=1)
    assert result[0, :4, 0].tolist() == [76, 149, 28, 255]
    r, g, b = pixels.astype(int).transpose(2, 0, 1)
    assert np.array_equal(result[..., 0], (77 * r + 150 * g + 29 * b) >> 8)


@pytest.mark.parametrize("channels", [0, 2, 4, 6])
def test_other_channels(tmp_path: Path, channels: int) -> None:
    """Files have one or three channels; anything else is for arrays."""
    with pytest.raises(ValueError, match="take arrays, not files"):
        read(encode(NOISE, "PNG"), tmp_path, channels)


@pytest.mark.parametrize("alpha", ["random", "zero"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_is_dropped(tmp_path: Path, kind: str, alpha: str) -> None:
    """Colours are read as stored, also where the image is transparent."""
    plane = RNG.integers(0, 256, NOISE.shape[:2], dtype=np.uint8) * (alpha == "random")
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert np.array_equal(read(encode(np.dstack([NOISE, plane]), kind, **options), tmp_path), NOISE)
    grey = NOISE[..., 0]
    data = encode(Image.fromarray(np.dstack([grey, plane])), kind, **options)
    assert np.array_equal(read(data, tmp_path), grey[..., None].repeat(3, 2))


def test_transparent_colour_is_kept(tmp_path: Path) -> None:
    """PNG's transparent colours and palette entries are colours like others."""
    data = encode(NOISE, "PNG", transparency=tuple(int(value) for value in NOISE[0, 0]))
    assert np.array_equal(read(data, tmp_path), NOISE)
    palette = Image.fromarray(SMOOTH).quantize(16)
    assert np.array_equal(read(encode(palette, "PNG", transparency=3), tmp_path), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("mode", ["P", "1"])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_palette_and_bits(tmp_path: Path, kind: str, mode: str) -> None:
    """Palette and 1-bit images become the colours they show."""
    image = Image.fromarray(SMOOTH).convert(mode)
    assert np.array_equal(read(encode(image, kind), tmp_path), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
@pytest.mark.parametrize("kind", [".png", ".tiff"])
def test_sixteen_bits(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    """Of 16 bits the high byte remains: 255 of 65535 is 0, not 1. Alpha is dropped."""
    pixels = RNG.integers(0, 65536, shape, dtype=np.uint16)
    pixels[0, 0] = 255
    colours = pixels[..., None].repeat(3, 2) if pixels.ndim == 2 else pixels[..., 2::-1]
    assert np.array_equal(read(cv2.imencode(kind, pixels)[1].tobytes(), tmp_path), colours >> 8)


def test_float_tiff(tmp_path: Path) -> None:
    """Samples other than 8 or 16-bit integers are refused, not scaled by a guess."""
    data = cv2.imencode(".tiff", RNG.random((5, 6, 3)).astype(np.float32))[1].tobytes()
    with pytest.raises(ValueError, match=r"image\.jpg: TIFF of float32 samples, expected 8 or 16 bits"):
        read(data, tmp_path)


@pytest.mark.parametrize("variant", ["adobe", "plain", "ycck"])
def test_cmyk_jpeg(tmp_path: Path, variant: str) -> None:
    """CMYK with and without Adobe's marker, and YCCK, become RGB as in Pillow."""
    inks = cv2.resize(RNG.integers(0, 256, (3, 4, 4), dtype=np.uint8), (60, 40), interpolation=cv2.INTER_LINEAR)
    data = encode(Image.frombytes("CMYK", (60, 40), inks.tobytes()), "JPEG", quality=95)
    start = data.index(b"\xff\xee\x00\x0eAdobe")
    if variant == "plain":
        data = data[:start] + data[start + 16 :]
    elif variant == "ycck":  # the last byte of the marker names the colour transform
        data = data[: start + 15] + b"\2" + data[start + 16 :]
    image = Image.open(io.BytesIO(data))
    assert image.mode == "CMYK"
    assert furthest(read(data, tmp_path), np.asarray(image.convert("RGB"))) <= 4


def test_first_frame(tmp_path: Path) -> None:
    """An animated PNG gives its first frame."""
    frames = [Image.fromarray(np.full((8, 9, 3), value, np.uint8)) for value in (10, 200)]
    data = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert np.array_equal(read(data, tmp_path), np.asarray(frames[0]))


def test_one_pixel(tmp_path: Path) -> None:
    """The smallest image is an image."""
    for kind in ("PNG", "JPEG", "BMP"):
        assert read(encode(np.full((1, 1, 3), 77, np.uint8), kind), tmp_path).tolist() == [[[77, 77, 77]]]


def test_very_large(tmp_path: Path) -> None:
    """11400 × 8550 pixels, black above white."""
    drawn = Image.new("L", (11400, 8550))
    drawn.paste(255, (0, 4275, 11400, 8550))
    image = read(encode(drawn, "JPEG"), tmp_path)
    assert image.shape == (8550, 11400, 3)
    result = place(image, Placement.letterbox(Size(8550, 11400), Size(416, 416)))
    assert result[[51, 52, 207, 208, 363, 364], 200, 0].tolist() == [128, 0, 0, 255, 255, 128]


def test_beyond_the_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image beyond OpenCV's own limit is a ValueError that names the file."""
    monkeypatch.setenv(VARIABLE, str(2**40))
    header = struct.pack(">IIBBBBB", 40000, 40000, 1, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    with pytest.raises(ValueError, match=r"image\.jpg: OpenCV refuses this PNG"):
        read(data, tmp_path)


def test_non_ascii_path(tmp_path: Path) -> None:
    """Names in any script, as str or Path."""
    file = tmp_path / "Žluť-图片" / "кошка.png"
    file.parent.mkdir()
    file.write_bytes(encode(NOISE, "PNG"))
    assert np.array_equal(read_image(file), NOISE)
    assert np.array_equal(read_image(str(file)), NOISE)


# damaged files


def test_missing(tmp_path: Path) -> None:
    """A missing file is named."""
    with pytest.raises(FileNotFoundError, match=r"absent\.jpg: no such image file"):
        read_image(tmp_path / "absent.jpg")


def test_folder(tmp_path: Path) -> None:
    """A folder is not an image, whatever its name."""
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(ValueError, match=r"folder\.jpg: is a folder, expected an image file"):
        read_image(tmp_path / "folder.jpg")


def test_empty_file(tmp_path: Path) -> None:
    """The message for an empty file is that it is empty."""
    with pytest.raises(ValueError, match=r"image\.jpg: is empty \(0 bytes\)"):
        read(b"", tmp_path)


@pytest.mark.parametrize("text", [b"<html>Not found</html>", b"\n", b"RIFF\0\0\0\0WAVEfmt ", b"\xff\xd8"])
def test_not_an_image(tmp_path: Path, text: bytes) -> None:
    """Text (a web page saved as .jpg), sound and two bytes: the message shows how the file begins."""
    with pytest.raises(ValueError, match=r"image\.jpg: not an image") as error:
        read(text, tmp_path)
    assert f"{len(text)} bytes that begin with {text[:12]!r}" in str(error.value)


@pytest.mark.parametrize("progressive", [False, True])
def test_truncated_jpeg(tmp_path: Path, progressive: bool) -> None:
    """A JPEG that was cut anywhere is refused, also when an EXIF thumbnail in it is complete."""
    thumbnail = encode(SMOOTH[::4, ::4], "JPEG")
    exif = b"Exif\0\0" + oriented(6).tobytes().removeprefix(b"Exif\0\0") + thumbnail
    data = encode(SMOOTH, "JPEG", exif=exif, progressive=progressive)
    assert data.index(thumbnail) < len(data) // 2
    assert read(data, tmp_path).shape == (60, 40, 3)
    for cut in [*range(3, len(data), 7), len(data) - 2, len(data) - 1]:
        with pytest.raises(ValueError, match=rf"image\.jpg: truncated JPEG, {cut} bytes .*fetch it again"):
            read(data[:cut], tmp_path)


def test_jpeg_filled_with_zeros(tmp_path: Path) -> None:
    """An interrupted download into a file of full size has no end marker either."""
    data = encode(RNG.integers(0, 256, (300, 400, 3), dtype=np.uint8), "JPEG")
    with pytest.raises(ValueError, match="truncated JPEG"):
        read(data[: len(data) // 2].ljust(len(data), b"\0"), tmp_path)


def test_jpeg_with_more_after_it(tmp_path: Path) -> None:
    """Data that phones append to an image (a second image, a film) are ignored."""
    data = encode(SMOOTH, "JPEG")
    assert np.array_equal(read(data + encode(NOISE, "JPEG")[:300] + bytes(1000), tmp_path), read(data, tmp_path))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_truncated_others(tmp_path: Path, kind: str) -> None:
    """Image files of other formats that were cut anywhere are refused."""
    data = encode(NOISE, kind)
    for cut in [*range(16, len(data), 97), len(data) - 5, len(data) - 1]:
        with pytest.raises(ValueError, match=rf"image\.jpg: .*{kind}.* {cut} bytes"):
            read(data[:cut], tmp_path)


def test_damaged_png(tmp_path: Path) -> None:
    """A PNG with a wrong byte in its pixels is refused."""
    data = encode(NOISE, "PNG")
    middle = len(data) // 2
    with pytest.raises(ValueError, match=r"PNG that OpenCV .* cannot read, damaged or truncated"):
        read(data[:middle] + bytes((data[middle] ^ 255,)) + data[middle + 1 :], tmp_path)
