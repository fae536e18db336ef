"""How many pixels an image may have: read from the header of every kind of file, before anything is decoded."""

from __future__ import annotations

import io
import multiprocessing
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from tests.images.test_images import encode, png_chunk
from yolo.data.decoded import checked
from yolo.data.turned import image_size
from yolo.images.files import decode_image, read_image
from yolo.images.header import kind_of, size_of
from yolo.images.opencv import cv2 as decoder
from yolo.images.sources import find_sources, shots
from yolo.options.commands import Detect
from yolo.pixels import MAX_PIXELS, VARIABLE, TooManyPixelsError, max_pixels, pixel_limit

SMALL = np.zeros((30, 50, 3), np.uint8)

KINDS = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "PPM", *(["AVIF"] if features.check("avif") else [])]


@dataclass
class Options:
    """Options of a command, with others within them."""

    inner: object = None
    given: dict[str, int] = field(default_factory=dict)


@dataclass
class Inner:
    """The options that have the limit."""

    max_pixels: int = 1499


@pytest.fixture
def never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV must not be asked."""

    def imdecode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(decoder, "imdecode", imdecode)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image is read if it has as many pixels as allowed. With one more it is refused by its header alone."""
    data = encode(SMALL, kind)
    monkeypatch.setenv(VARIABLE, "1500")
    assert decode_image(data, "a.jpg").shape == (30, 50, 3)
    monkeypatch.setenv(VARIABLE, "1499")
    monkeypatch.setattr(decoder, "imdecode", None)
    with pytest.raises(TooManyPixelsError, match=r"^a\.jpg: 50 x 30 pixels, .*--max-pixels 1499; "):
        decode_image(data, "a.jpg")


def claimed_png(w: int, h: int, depth: int, interlaced: int) -> bytes:
    """A PNG without pixels whose header claims w x h of them."""
    header = struct.pack(">IIBBBBB", w, h, depth, 0, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")


def patched(kind: str, at: int, form: str, w: int, h: int) -> bytes:
    """A small file whose sides, at a place of its header, are replaced."""
    data, sides = encode(SMALL, kind), struct.pack(form, w, h)
    return data[:at] + sides + data[at + len(sides) :]


def claimed_jpeg(w: int, h: int, *, progressive: bool = False) -> bytes:
    """A JPEG whose frame header claims w x h pixels."""
    data = encode(SMALL, "JPEG", progressive=progressive)
    at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", h, w) + data[at + 4 :]


def claimed_tiff(order: str, *, large: bool = False, tile: bool = False) -> bytes:
    """The directory of a TIFF or BigTIFF file of 30,000 x 30,000 pixels, or of tiles of that size."""
    w, h = (322, 323) if tile else (256, 257)
    entries = [(256, 4, 1, 50), (257, 4, 1, 30)] if tile else []
    entries += [(w, 4, 1, 30000), (h, 4, 1, 30000)]
    mark = b"II" if order == "<" else b"MM"
    if large:
        start = mark + struct.pack(order + "HHHQQ", 43, 8, 0, 16, len(entries))
        return start + b"".join(struct.pack(order + "HHQIi", *entry, 0) for entry in entries) + bytes(8)
    start = mark + struct.pack(order + "HIH", 42, 8, len(entries))
    return start + b"".join(struct.pack(order + "HHII", *entry) for entry in entries) + bytes(4)


CLAIMS: dict[str, Callable[[], bytes]] = {
    "png": lambda: claimed_png(30000, 30000, 8, 0),
    "interlaced png of 16 bits": lambda: claimed_png(30000, 30000, 16, 1),
    "png of one bit": lambda: claimed_png(30000, 30000, 1, 0),
    "jpeg": lambda: claimed_jpeg(30000, 30000),
    "progressive jpeg": lambda: claimed_jpeg(30000, 30000, progressive=True),
    "gif": lambda: patched("GIF", 6, "<HH", 30000, 30000),
    "bmp": lambda: patched("BMP", 18, "<ii", 30000, 30000),
    "bmp from the top": lambda: patched("BMP", 18, "<ii", 30000, -30000),
    "pnm": lambda: b"P5\n# of a scanner\n30000 30000\n255\n",
    "tiff": lambda: claimed_tiff("<"),
    "big-endian tiff": lambda: claimed_tiff(">"),
    "bigtiff": lambda: claimed_tiff("<", large=True),
    "tiff of large tiles": lambda: claimed_tiff(">", tile=True),
    "webp": lambda: b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + struct.pack("<I", 29999)[:3] * 2,
    "jpeg 2000": lambda: b"\xff\x4f\xff\x51\0\x29\0\0" + struct.pack(">6I", 30000, 30000, 0, 0, 64, 64),
}


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.usefixtures("never_decoded")
def test_a_header_that_claims_too_much(claim: str) -> None:
    """A few bytes that claim 900 million pixels are refused by default, and not decoded."""
    with pytest.raises(TooManyPixelsError, match=r"^a\.png: 30,000 x 30,000 pixels, .*--max-pixels 100000000; "):
        decode_image(CLAIMS[claim](), "a.png")


@pytest.mark.usefixtures("never_decoded")
@pytest.mark.parametrize("data", [b"#?RADIANCE\n-Y 9 +X 9\n", b"PF\n9 9\n-1\n", b"\x59\xa6\x6a\x95" + bytes(40)])
def test_rare_formats_are_not_decoded(data: bytes) -> None:
    """The sizes of formats that nobody uses for photographs are not known, so they are refused."""
    with pytest.raises(ValueError, match=r"^a\.hdr: not an image"):
        decode_image(data, "a.hdr")


def test_sizes_are_those_of_the_decoder() -> None:
    """Also of both kinds of WEBP, an old bitmap, a large comment in a PPM, and grey and palette images."""
    webp = [encode(SMALL, "WEBP", lossless=lossless, exif=exif) for lossless in (True, False) for exif in (b"", b"MM")]
    core = b"BM" + struct.pack("<IIIIHHHH", 26 + 36, 0, 26, 12, 2, 6, 1, 24) + bytes(48)
    files = [*webp, core, b"P6 #" + b"x" * 99 + b"\n 2\n6 255\n" + bytes(36)]
    files += [encode(Image.fromarray(SMALL).convert(mode), kind) for mode in "LP" for kind in ("PNG", "GIF", "TIFF")]
    for data in files:
        h, w, _ = decode_image(data, "a").shape
        assert size_of(data, kind_of(data)) == (w, h), data[:40]


def test_a_setting_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options set it during a command, at any depth, for Pillow too; spawned processes inherit it."""
    monkeypatch.delenv(VARIABLE, raising=False)
    pillows = Image.MAX_IMAGE_PIXELS
    assert max_pixels() == MAX_PIXELS == Detect(sources=()).max_pixels
    with pixel_limit(Options(inner=Options(inner=Inner()))):
        assert max_pixels() == 1499
        assert Image.MAX_IMAGE_PIXELS is None
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(os.getenv, (VARIABLE,)) == "1499"
        with pixel_limit(Options()):
            assert max_pixels() == 1499
    assert (max_pixels(), Image.MAX_IMAGE_PIXELS) == (MAX_PIXELS, pillows)
    monkeypatch.setenv(VARIABLE, "many")
    with pytest.raises(ValueError, match=rf"{VARIABLE} is 'many'; expected a number"):
        max_pixels()


def test_what_is_remembered_of_images(tmp_path: Path) -> None:
    """An image that was too large is looked at again with another limit, and one that was not is refused by a lower."""
    file = tmp_path / "a.png"
    file.write_bytes(encode(SMALL, "PNG"))
    faults = []
    for limit in (1499, 1500, 1499):
        with pixel_limit(Inner(limit)):
            faults.append(checked([file])[0].fault)
    assert [bool(fault) for fault in faults] == [True, False, True]
    assert "--max-pixels 1499" in faults[0]


def test_sizes_of_a_data_set(tmp_path: Path) -> None:
    """The reader of sizes refuses as well, before Pillow decodes a PNG to find its orientation."""
    file = tmp_path / "a.png"
    file.write_bytes(claimed_png(15000, 15000, 8, 0))
    with pixel_limit(Inner(10**8)), pytest.raises(ValueError, match=r"a\.png: 15,000 x 15,000 pixels, .*--max-pixels"):
        image_size(str(file))


def test_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames of a video are refused by its header."""
    file = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    (source,) = find_sources([str(file)])
    assert len(list(shots(source))) == 3
    monkeypatch.setenv(VARIABLE, str(64 * 48 - 1))
    (shot,) = shots(source)
    assert "a.avi: 64 x 48 pixels, which is more than --max-pixels 3071" in shot.error


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_only_regular_files(make: Callable[[Path], None], tmp_path: Path) -> None:
    """A named pipe would wait for ever, and /dev/zero would fill the memory."""
    file = tmp_path / "a.png"
    make(file)
    for read in (read_image, lambda path: image_size(str(path))):
        with pytest.raises(ValueError, match=r"a\.png: is a pipe or a device, expected a regular file"):
            read(file)
    assert "is a pipe or a device" in checked([file])[0].fault
    (shot,) = shots(find_sources([str(tmp_path)])[0])
    assert "is a pipe or a device" in shot.error


@pytest.mark.parametrize("problem", [SystemError("NULL"), MemoryError(), RuntimeError("x\ny"), cv2.error("bad")])
def test_whatever_the_decoder_raises(problem: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's converter and allocator have errors of their own; each is one line that names the file."""

    def imdecode(*_: object) -> None:
        raise problem

    monkeypatch.setattr(decoder, "imdecode", imdecode)
    with pytest.raises(ValueError, match=r"^a\.png: OpenCV refuses this PNG .*\)\: .+$") as error:
        decode_image(encode(SMALL, "PNG"), "a.png")
    assert "\n" not in str(error.value)


def test_the_bytes_of_a_real_bomb() -> None:
    """20,000 x 20,000 grey pixels in 49 kB: the file of which this limit was made, cut after its header."""
    file = io.BytesIO(claimed_png(20000, 20000, 8, 0))
    with pytest.raises(TooManyPixelsError):
        decode_image(file.getvalue(), "a.png")
