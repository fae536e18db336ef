"""Images, folders, globs, videos, streams and cameras as one stream of images and frames."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from yolo.images.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, read_image


class Shot(NamedTuple):
    """One image or one frame: `pixels` uint8 RGB or grey `[h, w, channels]`, or None and an `error`.

    `name` is the file name (`clip.mp4#17` for frame 17, from 0), `path` the file, None for a camera or stream. `rate`
    is the number of frames per second that a video states, 25 if it does not, 0 for an image.
    """

    name: str
    path: Path | None
    pixels: np.ndarray | None
    error: str = ""
    rate: float = 0.0


@dataclass(frozen=True)
class Source:
    """An image file, or a video with what OpenCV opens it by in `capture`: a path, a URL or a camera number."""

    name: str
    path: Path | None = None
    capture: str | int | None = None

    @property
    def moving(self) -> bool:
        """Whether the source is a video, a stream or a camera."""
        return self.capture is not None


def find_sources(given: Sequence[str]) -> list[Source]:
    """Return the sources that the words of a command line name, in their order.

    A word is a file, a folder (its images and videos, sorted, without subfolders), a glob, a camera number, or the URL
    of a stream. Nothing is opened yet, so a missing file is a source that fails later. Raises ValueError for a folder
    or a glob without images.
    """
    found: list[Source] = []
    for word in given:
        path = Path(word)
        if "://" in word:
            shown = re.sub(r"//[^/@]*@", "//", word)  # the name, which appears in file names, has no user and password
            found.append(Source(shown, capture=word))
        elif path.is_dir():
            files = (file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES)
            inside = sorted(file for file in files if not file.is_dir())
            if not inside:
                raise ValueError(f"{word}: no image and no video in this folder; expected files such as .jpg or .mp4")
            found += map(_file, inside)
        # A file may be called 0 or a[1].png: what exists counts before what the word looks like.
        elif word.isdecimal() and not path.is_file():
            found.append(Source(f"camera {word}", capture=int(word)))
        elif glob.has_magic(word) and not path.is_file():
            matches = sorted(Path(match) for match in glob.glob(word, recursive=True) if Path(match).is_file())
            if not matches:
                raise ValueError(f"{word}: no file matches")
            found += map(_file, matches)
        else:
            found.append(_file(path))
    return found


def shots(source: Source, channels: int = 3) -> Iterator[Shot]:
    """Yield the images or frames of a source. If it cannot be read, the last shot has an `error` and no pixels."""
    try:
        if source.capture is not None:
            yield from _frames(source, source.capture, channels)
        elif source.path is not None:
            yield Shot(source.name, source.path, read_image(source.path, channels))
    except (ValueError, OSError) as problem:
        yield Shot(source.name, source.path, None, str(problem))


def _file(path: Path) -> Source:
    """Return the source of a file; its suffix tells whether it is a video."""
    return Source(path.name, path, str(path) if path.suffix.lower() in VIDEO_SUFFIXES else None)


def _frames(source: Source, address: str | int, channels: int) -> Iterator[Shot]:
    """Yield RGB frames, or grey ones for one channel, until the end. Raises ValueError or OSError without any frame."""
    what = source.path or source.name
    if source.path is not None and not source.path.is_file():
        raise FileNotFoundError(f"{what}: no such video file")
    try:
        str(address).encode()
    except UnicodeEncodeError as error:  # OpenCV would end the process
        raise ValueError(f"{what}: OpenCV cannot open a video whose name is not Unicode; rename it") from error

    capture = cv2.VideoCapture(address)
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    if not 0 < rate <= 1000:
        rate = 25.0
    colours = cv2.COLOR_BGR2GRAY if channels == 1 else cv2.COLOR_BGR2RGB
    try:
        for number in itertools.count():
            there, frame = capture.read()
            if not there:  # the end, or damage: OpenCV does not tell which
                break
            pixels = cv2.cvtColor(frame, colours).reshape(*frame.shape[:2], -1)
            yield Shot(f"{source.name}#{number}", source.path, pixels, rate=rate)
        if number == 0:
            raise ValueError(f"{what}: no frame could be read; is it a video, a live camera?")
    finally:
        capture.release()
