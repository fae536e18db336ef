"""The drawn image or video of a source as a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from yolo.commands.result_files import ResultFiles
from yolo.images.files import write_image
from yolo.images.opencv import cv2


class Drawing:
    """Writes the drawn image or video of a source into the file `path`, one of `files`.

    A video is H.264, which every player and browser knows, where this OpenCV can write it, else MPEG-4 Part 2.
    `note` takes a line for the user if it is not, and one if the video is larger than its frames.
    """

    def __init__(self, files: ResultFiles, path: Path, note: Callable[[str], object]) -> None:
        self.files, self.path, self.note = files, path, note
        self.video: cv2.VideoWriter | None = None
        self.size, self.frames = (0, 0), 0

    def __enter__(self) -> Drawing:
        return self

    def write(self, image: np.ndarray, rate: float, times: int = 1) -> None:
        """Write a drawn image `[h, w, 3]`, or the next frame of a video, a number of times.

        `rate` is the number of frames per second; 0 is an image.
        """
        if not rate:
            write_image(self.files.claim(self.path), image)
            return
        if self.video is None:
            self.video = self._opened((image.shape[1], image.shape[0]), rate)
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        right, below = self.size[0] - image.shape[1], self.size[1] - image.shape[0]
        if (right, below) != (0, 0) and {right, below} <= {0, 1}:
            bgr = cv2.copyMakeBorder(bgr, 0, below, 0, right, cv2.BORDER_REPLICATE)
        elif (right, below) != (0, 0):  # a stream may change; a video file may not
            bgr = cv2.resize(bgr, self.size)
        for _ in range(times):
            self.video.write(bgr)
        self.frames += times

    def _opened(self, size: tuple[int, int], rate: float) -> cv2.VideoWriter:
        """Return a writer of videos for frames of a size [w, h]. Raises OSError if OpenCV has none."""
        self.files.claim(self.path).parent.mkdir(parents=True, exist_ok=True)
        # The colours of both codecs have half the resolution; of an odd side, OpenCV would cut the last pixel.
        self.size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        if self.size != size:
            self.note(f"{self.path}: {'x'.join(map(str, self.size))} pixels, for the sides of a video are even")
        codec = "avc1" if writes_h264(rate, self.size) else "mp4v"
        if codec == "mp4v":
            self.note(
                "videos are written as MPEG-4 Part 2 (mp4v), which most browsers do not play: "
                f"OpenCV {cv2.__version__} here has no H.264 encoder for them. "
                "`ffmpeg -i IN.mp4 -c:v libx264 OUT.mp4` makes H.264 of one"
            )
        video = _writer(self.path, codec, rate, self.size)
        if not video.isOpened():
            raise OSError(f"{self.path}: OpenCV {cv2.__version__} cannot write this video")
        return video

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.video is None:
            return
        self.video.release()
        if kind is None and (frames := _frames(self.path)) != self.frames:  # OpenCV does not report failed writes
            raise OSError(f"{self.path}: {frames} of {self.frames} frames were written; is the disk full?")


@cache
def writes_h264(rate: float, size: tuple[int, int]) -> bool:
    """Return whether this OpenCV can write H.264 of a rate and size [w, h]. A temporary file tells.

    Whether there is an encoder is not enough: those of graphics cards refuse sizes, or need a card that is not there.
    """
    try:
        with _silent(), TemporaryDirectory() as folder:
            path = Path(folder, "try.mp4")
            video = _writer(path, "avc1", rate, size)
            for _ in range(3):
                video.write(np.zeros((size[1], size[0], 3), np.uint8))
            video.release()
            return _frames(path) == 3
    except OSError:  # nowhere to try it
        return False


def _writer(path: Path, codec: str, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """Return OpenCV's writer of a video, opened if it can be."""
    name = str(path).encode().decode()  # OpenCV crashes on a name that is not Unicode
    return cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*codec), rate, size)


def _frames(path: Path) -> int:
    """Return the number of frames that a video file states; not positive if it is not a video."""
    written = cv2.VideoCapture(str(path))
    frames = int(written.get(cv2.CAP_PROP_FRAME_COUNT))
    written.release()
    return frames


@contextmanager
def _silent() -> Iterator[None]:
    """Discard what is printed on stderr, also by libraries that Python does not see, such as the encoders of ffmpeg."""
    try:
        stderr = os.dup(2)
    except OSError:  # there is none
        yield
        return
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
