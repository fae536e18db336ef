"""Width and height of an image from the header of its file, before a pixel is decoded.

A few bytes can claim billions of pixels, and a decoder allocates and fills what is claimed. So the header is read here,
in microseconds, for every format that is decoded; where it could be understood in two ways the larger size counts. A
file whose header is not understood is not decoded.

Letters: `w, h` width and height in pixels, as they are stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

KINDS = {  # the first bytes of a file -> its format
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
}

PNM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")
"""The beginning of a PBM, PGM or PPM file: its kind, comments, width and height."""

_Order = Literal["little", "big"]


def kind_of(data: bytes) -> str | None:
    """Return the format of an image by its first 12 bytes; None for what is not an image, and for rare formats."""
    if data.startswith(b"RIFF") and data.startswith(b"WEBP", 8):
        return "WEBP"
    if data.startswith(b"ftypavi", 4):
        return "AVIF"
    if data.startswith(b"BM") and any(data[6:10]):  # a text; a bitmap has four zeros there
        return None
    return next((kind for start, kind in KINDS.items() if data.startswith(start)), None)


def size_of(data: bytes, kind: str | None) -> tuple[int, int] | None:
    """Return the largest w and h that the bytes of an image file claim; None if its header is not understood.

    `kind` is its `kind_of`. A JPEG is left to `jpeg_size`, since its segments are walked for other reasons too.
    """
    sizes: Iterable[tuple[int, int]] = ()
    if kind == "PNG" and data.startswith(b"IHDR", 12):
        sizes = [(_big(data, 16), _big(data, 20))]
    elif kind == "GIF":
        sizes = [(_little(data, 6, 2), _little(data, 8, 2))]
    elif kind in READERS:
        sizes = READERS[kind](data)
    elif data.startswith(b"BM"):
        old = _little(data, 14, 4) == 12  # the header of OS/2
        w, h = ((_little(data, at, 2 if old else 4, signed=not old)) for at in ((18, 20) if old else (18, 22)))
        sizes = [(abs(w), abs(h))]
    elif kind is None and (found := PNM.match(data[:4096])):
        sizes = [(int(found[1]), int(found[2]))]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def jpeg_size(data: bytes, position: int) -> tuple[int, int]:
    """Return w and h of the frame header of a JPEG whose marker is at `position`."""
    return _big(data, position + 7, 2), _big(data, position + 5, 2)


def _of_webp(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the size in the first chunk of a WEBP file; a canvas and pixels of another size are damage to libwebp."""
    kind = data[12:16]
    if kind == b"VP8X":
        yield _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
    elif kind == b"VP8L":
        sides = _little(data, 21, 4)
        yield (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        yield _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF


def _of_tiff(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the size in the first directory of a TIFF or BigTIFF file, and that of its tiles."""
    order: _Order = "little" if data.startswith(b"II") else "big"
    large = data[2:4] in (b"+\0", b"\0+")
    at, entry = (_number(data, 8, 8, order), 20) if large else (_number(data, 4, 4, order), 12)
    count, first = (_number(data, at, 8, order), at + 8) if large else (_number(data, at, 2, order), at + 2)
    values: dict[int, int] = {}
    for place in range(first, min(first + entry * count, len(data)), entry):
        tag, kind = _number(data, place, 2, order), _number(data, place + 2, 2, order)
        if tag in (256, 257, 322, 323):  # width and height of the image, and of a tile
            bytes_ = {3: 2, 4: 4, 16: 8}.get(kind, 1)
            values[tag] = max(values.get(tag, 0), _number(data, place + (12 if large else 8), bytes_, order))
    if 256 in values and 257 in values:
        yield values[256], values[257]
    if 322 in values and 323 in values:
        yield values[322], values[323]


def _of_avif(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the sizes of all items and tracks of an AVIF file."""
    for kind, start, end in _boxes(data):
        if kind == b"mdat":  # pixels, in which anything may occur
            continue
        for at in _places(data, b"ispe", start, end):
            yield _big(data, at + 8), _big(data, at + 12)
        for at in _places(data, b"tkhd", start, end):
            sides = at + (92 if data[at + 4 : at + 5] == b"\1" else 80)
            yield _big(data, sides, 2), _big(data, sides + 4, 2)


def _of_jpeg_2000(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the sizes of the code streams of a JPEG 2000 file: from the origin of their grid to its end."""
    bare = data.startswith(b"\xff")
    for at in [0] if bare else [start for kind, start, _ in _boxes(data) if kind == b"jp2c"]:
        yield _big(data, at + 8) - _big(data, at + 16), _big(data, at + 12) - _big(data, at + 20)


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each outer box of a file of boxes, and where its content begins and ends."""
    at = 0
    while at + 8 <= len(data):
        size, start = _big(data, at), at + 8
        if size == 1:
            size, start = _big(data, at + 8, 8), at + 16
        end = len(data) if size == 0 else at + max(size, 8)
        yield data[at + 4 : at + 8], start, end
        at = end


def _places(data: bytes, mark: bytes, start: int, end: int) -> Iterator[int]:
    """Yield where a mark is in a part of the bytes."""
    at = data.find(mark, start, end)
    while at >= 0:
        yield at
        at = data.find(mark, at + 1, end)


def _big(data: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _little(data: bytes, at: int, size: int, *, signed: bool = False) -> int:
    return int.from_bytes(data[at : at + size], "little", signed=signed)


def _number(data: bytes, at: int, size: int, order: _Order) -> int:
    return int.from_bytes(data[at : at + size], order)


READERS: dict[str | None, Callable[[bytes], Iterator[tuple[int, int]]]] = {
    "WEBP": _of_webp,
    "TIFF": _of_tiff,
    "AVIF": _of_avif,
    "JPEG 2000": _of_jpeg_2000,
}
