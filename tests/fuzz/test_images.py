"""Damaged images: every format that is decoded, the reader of sizes, EXIF blocks, and masks."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from tests.support.fuzz import damaged, survives
from yolo.data.formats.masks import _read_mask
from yolo.data.turned import image_size
from yolo.files.reading import read_bytes
from yolo.images.files import _scan_jpeg, decode_image
from yolo.images.header import kind_of, size_of

SMALL = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)

SIDES = [0, 1, 9, 255, 256, 30_000, 65_535, 65_536, 10**5, 2**31 - 1, 2**31, 2**32 - 1]
"""Numbers that are put where a size may be."""


def turned() -> Image.Exif:
    """An EXIF block with an orientation and a text."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a"
    return exif


def encoded(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """A small image file by Pillow."""
    file = io.BytesIO()
    Image.fromarray(SMALL).convert(mode).save(file, kind, **options)
    return file.getvalue()


def sixteen(kind: str) -> bytes:
    """A small grey image file of 16 bits."""
    file = io.BytesIO()
    Image.fromarray(SMALL[..., 0].astype(np.uint16) * 257).save(file, kind)
    return file.getvalue()


def frames(kind: str) -> bytes:
    """A small animation."""
    images = [Image.fromarray(SMALL), Image.fromarray(255 - SMALL)]
    file = io.BytesIO()
    images[0].save(file, kind, save_all=True, append_images=images[1:])
    return file.getvalue()


def seeds(kind: str) -> list[bytes]:
    """Files of a format with all that is special about it."""
    match kind:
        case "JPEG":
            own = [encoded(kind, progressive=True), encoded(kind, exif=turned()), encoded(kind, "CMYK")]
        case "PNG":
            own = [sixteen(kind), encoded(kind, "P"), encoded(kind, "1"), frames(kind), encoded(kind, exif=turned())]
        case "TIFF":
            own = [encoded(kind, compression=c) for c in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")]
            own += [sixteen(kind), encoded(kind, exif=turned()), encoded(kind, big_tiff=True)]
        case "GIF":
            own = [frames(kind)]
        case "WEBP":
            own = [frames(kind), encoded(kind, lossless=True), encoded(kind, exif=turned())]
        case "AVIF":
            return [encoded(kind, speed=10), encoded(kind, speed=10, exif=turned())]
        case "JPEG2000":
            own = [encoded(kind, no_jp2=True)]
        case _:
            own = [encoded(kind, "L"), encoded(kind, "1")]
    return [encoded(kind), *own]


def broken(draw: Random, files: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Damage as in texts, or other numbers in the header; the checksums of a PNG are often right nevertheless."""
    if draw.random() < 0.5:
        data = damaged(draw, files, words)
    else:
        data = draw.choice(files)
        for _ in range(draw.choice((1, 2, 3))):
            form, at = draw.choice("HI"), draw.randrange(min(len(data), 200))
            number = draw.choice(SIDES) & (0xFFFF if form == "H" else 0xFFFFFFFF)
            field = struct.pack(draw.choice("<>") + form, number)
            data = data[:at] + field + data[at + len(field) :]
    return with_checksums(data) if draw.random() < 0.7 else data


def with_checksums(data: bytes) -> bytes:
    """A PNG with the right checksum in each chunk; other files as they are."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    whole, at = data[:8], 8
    while at + 12 <= len(data):
        length = min(int.from_bytes(data[at : at + 4], "big"), len(data) - at - 12)
        body = data[at + 4 : at + 8 + length]
        whole += length.to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
        at += 12 + length
    return whole + data[at:]


def read(file: Path) -> None:
    """Decode a file. What its header was understood to claim is no less than what comes out."""
    data = read_bytes(file)
    h, w, _ = decode_image(data, file).shape
    kind = kind_of(data)
    claimed = _scan_jpeg(data)[1] if kind == "JPEG" else size_of(data, kind)
    assert claimed is not None
    assert claimed[0] * claimed[1] >= w * h, f"{claimed} claimed, {w} x {h} decoded"


KINDS = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "PPM", *(["AVIF"] if features.check("avif") else [])]


@pytest.mark.parametrize("kind", KINDS)
def test_images(kind: str, tmp_path: Path) -> None:
    """Pixels, or one line that names the file."""
    survives(read, seeds(kind), tmp_path / "a.png", inputs=50 if kind == "AVIF" else 250, damage=broken)


@pytest.mark.filterwarnings("ignore")  # of Pillow
@pytest.mark.parametrize("kind", KINDS)
def test_sizes(kind: str, tmp_path: Path) -> None:
    """Width and height as displayed."""
    survives(lambda file: image_size(str(file)), seeds(kind), tmp_path / "a.png", inputs=150, damage=broken)


@pytest.mark.filterwarnings("ignore")
def test_masks(tmp_path: Path) -> None:
    """Masks of objects, which Pillow reads."""
    grey = [encoded("PNG", "L"), encoded("PNG", "P"), sixteen("PNG"), encoded("PNG", "1")]
    read_mask = lambda file: _read_mask(file, Path("image.png"), (32, 24))  # noqa: E731
    survives(read_mask, grey, tmp_path / "a.png", inputs=300, damage=broken)
