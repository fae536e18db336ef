"""Sizes of image files, and images whose boxes do not fit their EXIF orientation. No torch.

An image is read as it is displayed, turned by its EXIF orientation. Some label tools ignore it: their boxes are for the
pixels as they are stored. Such images are faults, because nothing tells which of the others were labelled like them.

Letters: `I` images, `G` objects of all images, `w, h` width and height in pixels.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence

import numpy as np
from PIL import ExifTags, Image

from yolo.files.reading import open_regular, reading
from yolo.pixels import check_pixels

SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height

SLACK = 1.0
"""Pixels by which a box may stick out of its image and still fit: some tools count from 1."""

NAMED = 10
"""Files that a command names; more are written into a list."""


def image_size(path: str) -> tuple[int, int]:
    """Return width and height of an image file as it is displayed, from its header.

    Raises ValueError for what is not an image or has too many pixels, and for a file that cannot be read.
    """
    return displayed(path)[0]


def displayed(path: str) -> tuple[tuple[int, int], bool]:
    """Return width and height as `image_size`, and whether those of the stored pixels are swapped. Raises alike."""
    # Pillow reads the pixels of some files to find their orientation, and raises all kinds of errors for damaged ones.
    try:
        with reading(path, "an image"), open_regular(path) as file, Image.open(file) as image:
            w, h = image.size
            check_pixels(w, h, path)
            sideways = image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
    except OSError as problem:
        raise ValueError(f"{path}: cannot be read: {problem.strerror or problem}") from problem
    return ((h, w) if sideways else (w, h)), sideways


def misfits(sizes: np.ndarray, image: np.ndarray, boxes: np.ndarray) -> list[int]:
    """Return the images with boxes that stick out, all of which fit if width and height are swapped.

    Args:
        sizes: int64 `[I, 2]` w, h.
        image: int64 `[G]` the index of every object's image.
        boxes: float64 `[G, 4]` xyxy in pixels.
    """
    limits = np.tile(sizes[image], 2)
    beyond = [((boxes > edges + SLACK) | (boxes < -SLACK)).any(axis=1) for edges in (limits, limits[:, ::-1])]
    return np.setdiff1d(image[beyond[0]], image[beyond[1]]).tolist()


def other_size(path: str, size: tuple[int, int], expected: tuple[int, int]) -> tuple[str, bool]:
    """Return what is wrong with an image of another size than its annotations, and whether its boxes are unturned.

    Args:
        path: the file.
        size: (w, h) as it is displayed.
        expected: (w, h) in the annotations.
    """
    if size == expected[::-1] and displayed(path)[1]:
        return fault_of(path, size), True
    (w, h), (other_w, other_h) = size, expected
    return f"{path}: {w} x {h} pixels, but its annotations are for {other_w} x {other_h}", False


def fault_of(path: str, size: tuple[int, int]) -> str:
    """Return the fault of an image whose boxes lie on the stored pixels; `size` is (w, h) as it is displayed."""
    w, h = size
    return f"{path}: its EXIF orientation turns it to {w} x {h} pixels, but its boxes are for the stored {h} x {w}"


def remedy(turned: Sequence[str]) -> str:
    """Return what to do about faults, the end of a message. `turned` are the files with a fault of `fault_of`."""
    return "\n".join(["Correct the files, or have their images left out: --bad skip", *advice(turned)])


def advice(turned: Sequence[str]) -> list[str]:
    """Return the lines on how to mend these files; empty without any."""
    if not turned:
        return []
    files = shlex.join(turned)
    if len(turned) > NAMED:
        with tempfile.NamedTemporaryFile(
            "w", prefix="turned-", suffix=".txt", delete=False, errors="surrogateescape"
        ) as listing:
            listing.write("\n".join(turned) + "\n")
        files = f"-@ {shlex.quote(listing.name)}"
    return [
        f"The boxes of {len(turned)} images lie on the pixels as they are stored, before the EXIF orientation. Without "
        "that tag every program shows the stored pixels, and the boxes fit; pixels and boxes stay as they are. Keep a "
        "copy, then remove it:",
        f"exiftool -overwrite_original -Orientation= {files}",
        "If other images of the set are turned as well, look at their boxes: the same tool has drawn them.",
    ]
