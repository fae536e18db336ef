"""What to look at: images, folders, globs, videos, streams and cameras, as one flow of shots."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from yolo.images.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, read_image

# fmt: on


class Shot(NamedTuple):
    """One image, or one frame: `pixels` uint8 RGB `[h, w, channels]`, or why there are none.

    `name` is the file name (`clip.mp4#17` for frame 17, from 0), `path` the file, None for a camera or stream. `rate`
    is the frames per second of a video as it tells them, 25 where it does not; 0 for an image.
    """

    name: str
    path: Path | None
    pixels: np.ndarray | None
    error: str = ""
    rate: float = 0.0


@dataclass(frozen=True)
class Source:
    """An image file, or something that cv2 opens as a video. `capture` is what it opens: a path, a URL, a number."""

    name: str
    path: Path | None = None
    capture: str | int | None = None

    @property
    def moving(self) -> bool:
        """Whether it has many frames."""
        return self.capture is not None


def find_sources(given: Sequence[str]) -> list[Source]:
    """What the words of a command line mean: a file, the images and videos in a folder (sorted, not below it), the
    files that a glob matches, a camera number, or the URL of a stream.

    Nothing is opened yet, so a missing file is a source that fails. ValueError for a folder or a glob without images.
    """
    found: list[Source] = []
    for word in given:
        path = Path(word)
        if "://" in word:
            shown = re.sub(r"//[^/@]*@", "//", word)  # without user and password, which end up in file names
            found.append(Source(shown, capture=word))
        elif path.is_dir():
            files = (file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES)
            inside = sorted(file for file in files if not file.is_dir())
            if not inside:
                raise ValueError(f"{word}: no image and no video in this folder; expected files such as .jpg or .mp4")
            found += map(_file, inside)
        elif path.is_file():
            found.append(_file(path))
        elif word.isdecimal():
            found.append(Source(f"camera {word}", capture=int(word)))
        elif glob.has_magic(word):
            matches = sorted(Path(match) for match in glob.glob(word, recursive=True) if Path(match).is_file())
            if not matches:
                raise ValueError(f"{word}: no file matches")
            found += map(_file, matches)
        else:
            found.append(_file(path))
    return found


def shots(source: Source, channels: int = 3) -> Iterator[Shot]:
    """The images of a source, one after the other; one with an `error` where a file cannot be read."""
    if source.capture is not None:
        yield from _frames(source, channels)
        return
    assert source.path is not None
    try:
        pixels = read_image(source.path, channels)
    except (ValueError, OSError) as problem:
        yield Shot(source.name, source.path, None, str(problem))
    else:
        yield Shot(source.name, source.path, pixels)


def _file(path: Path) -> Source:
    return Source(path.name, path, str(path) if path.suffix.lower() in VIDEO_SUFFIXES else None)


def _frames(source: Source, channels: int) -> Iterator[Shot]:
    """RGB frames, or grey ones for one channel, until the end; a source that gives none is an error."""
    if source.path is not None and not source.path.is_file():
        yield Shot(source.name, source.path, None, f"{source.path}: no such video file")
        return
    assert source.capture is not None
    try:
        str(source.capture).encode()
    except UnicodeEncodeError:  # OpenCV crashes
        problem = f"{source.path or source.name}: OpenCV opens no video whose name is not Unicode; rename it"
        yield Shot(source.name, source.path, None, problem)
        return
    capture = cv2.VideoCapture(source.capture)
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    rate = rate if 0 < rate <= 1000 else 25.0
    colours = cv2.COLOR_BGR2GRAY if channels == 1 else cv2.COLOR_BGR2RGB
    try:
        number = 0
        while True:
            there, frame = capture.read()
            if not there:
                break
            pixels = cv2.cvtColor(frame, colours).reshape(*frame.shape[:2], -1)
            yield Shot(f"{source.name}#{number}", source.path, pixels, rate=rate)
            number += 1
        if number == 0:
            what = source.path or source.name
            yield Shot(source.name, source.path, None, f"{what}: no frame could be read; is it a video, a live camera?")
    finally:
        capture.release()
