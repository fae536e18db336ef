"""How many pixels an image or a frame may have: one setting of the process and of all that it starts.

It is an environment variable, as OpenCV's own limit is. So worker processes inherit it however they are started, the
processes of `torchrun` and the runs of a study too, and no function between a command and the reader of a file has to
pass it on. A command sets it once from its option --max-pixels; a program that uses `yolo` may set the variable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass

MAX_PIXELS = 100_000_000
"""The limit if nobody has set another."""

VARIABLE = "EXACT_YOLOV3_MAX_PIXELS"

OPENCV = "OPENCV_IO_MAX_IMAGE_PIXELS"
"""OpenCV's limit, 2^30 pixels by default, which it reads when it is imported."""


class TooManyPixelsError(ValueError):
    """An image or a frame that is not decoded, because it has more pixels than --max-pixels."""


def max_pixels() -> int:
    """Return the number of pixels that an image may have. Raises ValueError for a variable that is not a number."""
    given = os.environ.get(VARIABLE)
    if given is None:
        return MAX_PIXELS
    if not given.isdecimal():
        raise ValueError(f"the environment variable {VARIABLE} is {given!r}; expected a number of pixels")
    return int(given)


def check_pixels(w: int, h: int, what: object) -> None:
    """Raise TooManyPixelsError, which names `what`, for an image of more pixels than allowed."""
    if w * h > (most := max_pixels()):
        raise TooManyPixelsError(
            f"{what}: {w:,} x {h:,} pixels, which is more than --max-pixels {most}; make it smaller, or give a "
            f"larger --max-pixels if the memory suffices"
        )


@contextmanager
def pixel_limit(options: object) -> Iterator[None]:
    """Have the `max_pixels` of a command's options as the limit during the block; options without it change nothing."""
    given = _max_pixels_in(options)
    if given is None:
        yield
        return
    from PIL import Image  # here, because commands without images do without

    before, pillows = os.environ.get(VARIABLE), Image.MAX_IMAGE_PIXELS
    os.environ[VARIABLE] = str(given)
    if given > 2**30 and "cv2" not in sys.modules:
        os.environ.setdefault(OPENCV, str(given))
    Image.MAX_IMAGE_PIXELS = None  # it would warn of images that are allowed here, and refuse them at the double
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = pillows
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _max_pixels_in(options: object) -> int | None:
    """Return the `max_pixels` of options or of options within them; None without it."""
    values = vars(options) if is_dataclass(options) else {}
    if "max_pixels" in values:
        return int(values["max_pixels"])
    return next((found for value in values.values() if (found := _max_pixels_in(value)) is not None), None)
