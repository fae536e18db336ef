"""Image files to arrays of RGB uint8 `[h, w, C]` and back.

Letters: `h, w` height and width in pixels, `C` channels.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal

import numpy as np

from yolo.files.atomic import replacing
from yolo.files.reading import read_bytes
from yolo.images.header import jpeg_size, kind_of, size_of
from yolo.images.opencv import cv2
from yolo.pixels import check_pixels

ENDINGS = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG 2000": ".jp2"}  # of the formats whose ending is not their name

# EXIF orientation -> OpenCV's flip (1 left-right, 0 up-down, -1 both), for 5 to 8 after a transposition
FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}


def read_image(path: str | os.PathLike[str], channels: int = 3) -> np.ndarray:
    """Read any image file as uint8 RGB `[h, w, 3]`, or `[h, w, 1]` with `channels=1`; C-contiguous.

    All eight EXIF orientations are applied. Grey is replicated, 16 bits become their high byte, CMYK becomes RGB, and
    an animation gives its first frame. Alpha is dropped without blending, as in darknet. Only a TIFF with 8-bit alpha
    is multiplied by it (by libtiff). One channel is the integer luminance of darknet's image reader,
    (77 R + 150 G + 29 B) >> 8. JPEG pixels are libjpeg-turbo's, like those of darknet built with OpenCV. darknet's own
    reader differs by a few levels and ignores EXIF.

    Raises FileNotFoundError if the file does not exist, and ValueError that names the file if it is a folder, a pipe or
    a device, empty, not an image, damaged or truncated, or has more pixels than `max_pixels`. A JPEG is truncated
    without its end-of-image marker: OpenCV 4 would fill the missing part with grey.
    """
    if channels not in (1, 3):
        raise ValueError(
            f"{path}: an image file gives 1 or 3 channels, not {channels}; "
            f"networks with {channels} input channels take arrays, not files"
        )
    if os.path.isdir(path):
        raise ValueError(f"{path}: is a folder, expected an image file; name one of the files in it")
    try:
        data = read_bytes(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such image file (looked from the folder {os.getcwd()})") from error
    image = decode_image(data, path)
    return image if channels == 3 else luminance(image)


def luminance(image: np.ndarray) -> np.ndarray:
    """Return the luminance `[h, w, 1]` of RGB uint8 `[h, w, 3]` in the integers of darknet's image reader."""
    # In 16 bits, because the weighted sum is up to 256 * 255.
    red, green, blue = (image[..., c].astype(np.uint16) for c in range(3))
    return ((77 * red + 150 * green + 29 * blue) >> 8).astype(np.uint8)[..., None]


def image_ending(path: Path) -> str | None:
    """Return the ending of an image file in lower case, or what its first bytes ask for; None if it is not an image."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return path.suffix.lower()
    if not path.is_file():  # a pipe would wait for ever
        return None
    try:
        with path.open("rb") as file:
            kind = kind_of(file.read(12))
    except OSError:
        return None
    return kind and ENDINGS.get(kind, f".{kind.lower()}")


def decode_image(data: bytes, path: str | os.PathLike[str]) -> np.ndarray:
    """Return the bytes of the file `path` as RGB uint8 `[h, w, 3]`. Raises ValueError if it is damaged or too large."""
    if not data:
        raise ValueError(f"{path}: is empty (0 bytes), expected an image file; fetch it again")
    kind = kind_of(data)
    found = f"{len(data)} bytes that begin with {data[:12]!r}"

    # OpenCV 4 misses the orientation of a JPEG with XMP before its EXIF block, and of every WEBP. They are read here.
    flags, orientation, size = cv2.IMREAD_COLOR, 1, None
    if kind == "JPEG":
        exif, size, whole = _scan_jpeg(data)
        if not whole:
            raise ValueError(
                f"{path}: truncated JPEG, {found} but have no end-of-image marker (ff d9) after the image; "
                f"expected a whole file; fetch it again"
            )
        flags, orientation = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION, _orientation(exif)
    elif kind == "WEBP":
        flags, orientation = flags | cv2.IMREAD_IGNORE_ORIENTATION, _orientation(_webp_exif(data))
    elif kind == "TIFF":  # otherwise 16 bits are rounded to 8
        flags |= cv2.IMREAD_ANYDEPTH
    if size := size or size_of(data, kind):
        check_pixels(*size, path)

    # OpenCV reports damage by None, by its exception, and by those of Python's converter (SystemError, MemoryError).
    image: np.ndarray | None = None
    try:
        if size:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except Exception as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: OpenCV refuses this {kind or 'file'} ({found}): {problem}") from error
    if image is None:
        reader = f"OpenCV {cv2.__version__}"
        what = f"{kind} that {reader} cannot read, damaged or truncated"
        if kind is None:
            what = f"not an image that {reader} reads"
        raise ValueError(
            f"{path}: {what}, {found}; expected JPEG, PNG, WEBP, BMP or TIFF; "
            f"if a viewer shows it, save it as PNG or JPEG, otherwise fetch it again"
        )

    # Of 16 bits the high byte is kept.
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        raise ValueError(f"{path}: {kind} of {image.dtype} samples, expected 8 or 16 bits; save it as 8-bit PNG")

    # Turn the image upright, then make it RGB. libjpeg wrote RGB; OpenCV's other readers have errors with that flag.
    if orientation >= 5:
        image = cv2.transpose(image)
    if orientation in FLIPS:
        image = cv2.flip(image, FLIPS[orientation])
    if kind == "JPEG":
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


# EXIF is read here and not by Pillow. Pillow does not say whether a JPEG is whole. It loses an orientation that comes
# after a damaged entry, warns of such entries (filters of warnings are not safe in threads, which read images too), and
# refuses large images. It would also take 20 to 60 microseconds per JPEG, which is 2 to 6 % of a small one.
def _scan_jpeg(data: bytes) -> tuple[bytes, tuple[int, int] | None, bool]:
    """Return the EXIF block of a JPEG (empty without one), width and height, and whether it has an end-of-image marker.

    Segments are skipped by their length up to the first start-of-scan, so neither the orientation nor the end of a
    thumbnail is taken for the image's. In compressed data, ff is always followed by 00 or a marker.
    """
    exif, size, position = b"", None, 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0xDA:  # start of scan
            return exif, size, data.rfind(b"\xff\xd9", position) >= 0
        if marker == 0xE1 and not exif and data.startswith(b"Exif\0\0", position + 4):
            exif = data[position + 10 : position + 2 + length]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            size = max(size or (0, 0), jpeg_size(data, position), key=math.prod)
        has_length = marker > 0x01 and not 0xD0 <= marker <= 0xD8
        position += 2 + length * has_length
    return exif, size, False


def _webp_exif(data: bytes) -> bytes:
    """Return the EXIF block of a WEBP file, empty without one."""
    position = 12  # after RIFF, the size of the file, WEBP: a list of chunks with a name and a size
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        if data.startswith(b"EXIF", position):
            return data[position + 8 : position + 8 + size].removeprefix(b"Exif\0\0")
        position += 8 + size + size % 2
    return b""


def _orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, in the first directory of an EXIF block; 1 (upright) if there is none."""
    order: Literal["little", "big"] = "little" if exif.startswith(b"II") else "big"

    def number(start: int, size: int) -> int:
        return int.from_bytes(exif[start : start + size], order)

    # A directory is a count of entries, then 12 bytes each: tag, type (4 is a 32-bit number), count, value.
    directory = number(4, 4)
    for entry in range(directory + 2, min(directory + 2 + 12 * number(directory, 2), len(exif) - 11), 12):
        if number(entry, 2) == 0x0112:
            value = number(entry + 8, 4 if number(entry + 2, 2) == 4 else 2)
            return value if 1 <= value <= 8 else 1
    return 1


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a uint8 RGB or one-channel image `[h, w, C]`, completely or not at all. The suffix chooses the format.

    Raises OSError if it cannot be written, and ValueError for a suffix that OpenCV does not write.
    """
    bgr = image if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    try:
        written, data = cv2.imencode(path.suffix, bgr)
    except cv2.error:
        written = False
    if not written:
        raise ValueError(
            f"{path}: OpenCV {cv2.__version__} cannot write {path.suffix or 'a file without a suffix'}; use .png"
        )
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())


# fmt: off
IMAGE_SUFFIXES = frozenset([
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif", ".avif", ".jp2",
    ".ppm", ".pgm", ".pbm",
])

VIDEO_SUFFIXES = frozenset([
    ".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".m2ts", ".3gp",
    ".ogv", ".vob", ".asf",
])
# fmt: on
