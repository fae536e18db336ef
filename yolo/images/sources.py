"""Images, folders, globs, videos, streams and cameras as one stream of images and frames."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolo.images.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, image_ending, read_image
from yolo.images.video import Video, latest

log = logging.getLogger("yolo")

Tell = Callable[[str], object]
"""Takes a line for the user."""

MARK = ".detect"
"""The file in a folder of results, which is not a source as a subfolder, or the next call would detect in drawings."""


class Shot(NamedTuple):
    """One image or one frame: `pixels` uint8 RGB or grey `[h, w, channels]`, or None and an `error`.

    `name` is the source's (`clip.mp4#17` for frame 17, from 0), `path` the file, None for a camera or stream. `rate`
    is the number of frames per second that a video states, 25 if it does not, 0 for an image. `frames` is the number of
    frames that a video states, 0 if it has no end. `skipped` is the number of frames dropped since the shot before.
    """

    name: str
    path: Path | None
    pixels: np.ndarray | None
    error: str = ""
    rate: float = 0.0
    frames: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Source:
    """An image file, or a video with what OpenCV opens it by in `capture`: a path, a URL or a camera number.

    `name` is the file name, with its folders if another file of the call has the same name.
    """

    name: str
    path: Path | None = None
    capture: str | int | None = None

    @property
    def moving(self) -> bool:
        """Whether the source is a video, a stream or a camera."""
        return self.capture is not None

    @property
    def live(self) -> bool:
        """Whether the source may show what happens now: a camera, or what is at a URL."""
        return self.moving and self.path is None


def find_sources(given: Sequence[str], *, recursive: bool = False, tell: Tell = log.warning) -> list[Source]:
    """Return the sources that the words of a command line name, in their order, each once.

    A word is a file, a folder (its images and videos, sorted; with `recursive` those of its subfolders too), a glob, a
    camera number, or the URL of a stream. A folder's files count as images by their ending, else by their first bytes.
    What is left out goes to `tell`, one line per word with the numbers. Nothing else is opened yet, so a missing file
    is a source that fails later. If two files of different folders have the same name, all names are paths from the
    folder that they share. Raises ValueError for a folder or a glob without images.
    """
    found: list[Source] = []
    for word in given:
        path = Path(word)
        if "://" in word:
            found.append(Source(_address(word), capture=word))
        elif path.is_dir():
            found += _folder(path, recursive, tell)
        # A file may be called 0 or a[1].png: what exists counts before what the word looks like.
        elif word.isdecimal() and not path.is_file():
            found.append(Source(f"camera {word}", capture=int(word)))
        elif glob.has_magic(word) and not path.is_file():
            matches = sorted(map(Path, glob.glob(word, recursive=True)))
            files = [match for match in matches if match.is_file()]
            if not files:
                raise ValueError(f"{word}: no file matches")
            if len(files) < len(matches):
                tell(f"{word}: left out {counted(len(matches) - len(files), 'folder')} that it matches")
            found += map(_file, files)
        else:
            found.append(_file(path))
    once: dict[Path | str | int | None, Source] = {}
    for source in found:
        once.setdefault(source.path.resolve() if source.path else source.capture, source)
    return _named(list(once.values()))


def counted(number: int, noun: str) -> str:
    """Return "1 image" or "3 images"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def stem_of(name: str) -> str:
    """Return a file name, perhaps with folders, without the ending of an image or video; `frame.0001` has none."""
    return re.sub(r"\.[^./]*$", "", name) if Path(name).suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES else name


def _address(url: str) -> str:
    """Return the address of a stream as it is shown and used in names: without user, password and query."""
    return re.sub(r"[?;#].*", "", re.sub(r"//.*@", "//", url))


def _folder(folder: Path, recursive: bool, tell: Tell) -> list[Source]:
    """Return the images and videos of a folder, and `tell` what was left out. Raises ValueError if there are none."""
    inside: list[Path] = []
    others: Counter[str] = Counter()  # files that are not images, by their endings
    deeper = 0
    known: set[Path] = set()  # folders, or a link to a folder above it would not end
    for root, folders, names in os.walk(folder, followlinks=recursive):
        known |= {Path(root).resolve()}
        there = (Path(root, name) for name in sorted(folders))
        folders[:] = [path.name for path in there if path.resolve() not in known and not (path / MARK).exists()]
        here = [Path(root, name) for name in sorted(names)]
        if not recursive and Path(root) != folder:
            deeper += sum(file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES for file in here)
            continue
        for file in here:
            if file.suffix.lower() in VIDEO_SUFFIXES or image_ending(file):
                inside.append(file)
            elif not file.name.startswith("."):
                others[file.suffix.lower() or "without ending"] += 1
    left = [f"{counted(deeper, 'file')} in subfolders (--recursive takes them)"] if deeper else []
    if others:
        kinds = ", ".join(f"{number:,} {ending}" for ending, number in others.most_common(9))
        left.append(f"what is neither an image nor a video by its first bytes: {kinds}")
    if not inside:
        expected = f"left out {'; '.join(left)}" if left else "expected files such as .jpg or .mp4"
        raise ValueError(f"{folder}: no image and no video in this folder; {expected}")
    if left:
        tell(f"{folder}: left out {'; '.join(left)}")
    return [_file(file) for file in inside]


def _named(sources: list[Source]) -> list[Source]:
    """Return the sources with paths for names if two folders have files of the same name, whatever their endings."""
    places: dict[str, set[Path]] = {}
    files = {source: Path(os.path.abspath(source.path)) for source in sources if source.path}
    for file in files.values():
        places.setdefault(stem_of(file.name).casefold(), set()).add(file.parent)
    if all(len(folders) == 1 for folders in places.values()):
        return sources
    drives = {file.anchor for file in files.values()}
    shared = os.path.commonpath([file.parent for file in files.values()]) if len(drives) == 1 else ""
    return [
        replace(source, name=files[source].relative_to(shared or files[source].anchor).as_posix())
        if source.path
        else source
        for source in sources
    ]


def shots(source: Source, channels: int = 3, *, newest: bool = False) -> Generator[Shot, None, None]:
    """Yield the images or frames of a source. If it cannot be read, or not to its end, the last shot has an `error`.

    That shot has no pixels. With `newest` a camera and a live stream give the newest frame whenever one is asked for,
    and `skipped` counts those before it that nobody asked for, so that what takes long with a frame does not fall
    behind. Close the generator to free the camera before the end.
    """
    try:
        if source.capture is not None:
            yield from _frames(source, source.capture, channels, newest)
        elif source.path is not None:
            yield Shot(source.name, source.path, read_image(source.path, channels))
    except (ValueError, OSError) as problem:
        yield Shot(source.name, source.path, None, str(problem))


def _frames(source: Source, address: str | int, channels: int, skipping: bool) -> Iterator[Shot]:
    """Yield the frames of a video, of a live one only the newest if `skipping`. Raises as `Video` and its `frames`."""
    video = Video(address, source.path, source.name)
    frames = video.frames(channels)
    last = -1
    with closing(latest(frames) if skipping and video.live else frames) as frames:
        for number, pixels in frames:
            name, skipped = f"{source.name}#{number}", number - last - 1
            yield Shot(name, source.path, pixels, rate=video.rate, frames=video.count, skipped=skipped)
            last = number


def _file(path: Path) -> Source:
    """Return the source of a file; its suffix tells whether it is a video."""
    return Source(path.name, path, str(path) if path.suffix.lower() in VIDEO_SUFFIXES else None)
