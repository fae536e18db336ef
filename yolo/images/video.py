"""Frames of a video file, a stream or a camera: all of them, or the newest one whenever one is asked for."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import numpy as np

from yolo.images.opencv import cv2
from yolo.pixels import check_pixels

T = TypeVar("T")

SIDES = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)

COUNTING = frozenset([".mp4", ".m4v", ".mov", ".3gp", ".avi"])
"""Endings of containers that state the number of their frames."""


class Video:
    """A video that OpenCV has opened. `frames` reads it, once.

    `rate` is the number of frames per second that it states, 25 if it does not. `count` is the number of frames that
    its container states or that OpenCV estimates from the duration, 0 if there is neither. `live` is whether it shows
    what happens now, and has no end of its own: a camera, or a stream that is not a file at a URL.

    Args:
        address: what OpenCV opens: a path, a URL or a camera number.
        path: the file; None for a stream or a camera.
        name: its name in messages.

    Raises FileNotFoundError if there is no such file, and ValueError for a file name that is not Unicode and for frames
    of more pixels than `max_pixels`.
    """

    def __init__(self, address: str | int, path: Path | None, name: str) -> None:
        self.path, self.what = path, str(path or name)
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"{self.what}: no such video file")
        try:
            str(address).encode()
        except UnicodeEncodeError as error:  # OpenCV would end the process
            raise ValueError(f"{self.what}: OpenCV cannot open a video whose name is not Unicode; rename it") from error
        # OpenCV's reader of numbered images prints the address of a stream with its password.
        by_ffmpeg = path is None and "://" in str(address) and cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG)
        self._capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG if by_ffmpeg else cv2.CAP_ANY)
        self._check(*(max(0, int(self._capture.get(side))) for side in SIDES))
        self._stated = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = self._stated if 0 < self._stated <= 1000 else 25.0
        self.count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.live = path is None and not self.count

    def _check(self, w: int, h: int) -> None:
        """Raise TooManyPixelsError for frames of more pixels than allowed; then the capture is closed."""
        try:
            check_pixels(w, h, self.what)
        except ValueError:
            self._capture.release()
            raise

    def frames(self, channels: int) -> Generator[tuple[int, np.ndarray], None, None]:
        """Yield the number of each frame, from 0, and its pixels uint8 `[h, w, channels]`, RGB or grey, until the end.

        Raises ValueError if no frame can be read, and after the last frame if the video breaks off there.
        """
        colours = cv2.COLOR_BGR2GRAY if channels == 1 else cv2.COLOR_BGR2RGB
        last, number, steady = 0.0, 0, 0  # seconds of the last frame; frames; those that follow at the stated rate
        try:
            while True:
                there, frame = self._capture.read()
                if not there:  # the end, or damage: OpenCV does not tell which
                    break
                before, last = last, self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                steady += abs((last - before) * self._stated - 1) < 0.1
                self._check(frame.shape[1], frame.shape[0])  # a stream may change its size
                yield number, cv2.cvtColor(frame, colours).reshape(*frame.shape[:2], -1)
                number += 1
        finally:
            self._capture.release()
        if number == 0:
            raise ValueError(f"{self.what}: no frame could be read; is it a video, a live camera?")
        if problem := self._broken(number, last, last * self._stated + 1 if steady > 0.9 * number else 0.0):
            raise ValueError(f"{self.what}: breaks off after frame {number - 1}, which may be damaged too: {problem}")

    def _broken(self, number: int, last: float, within: float) -> str:
        """Return why a video that gave a `number` of frames is not complete; empty if it is.

        Args:
            number: the number of frames that were read.
            last: the time of the last one in seconds.
            within: the number of frames up to that time, if frames come steadily; else 0.
        """
        if self.live:
            return "the stream has ended; if that was not to be expected, start again"
        # Other containers state a duration, from which OpenCV estimates the number, and sound may last longer.
        exact = self.path is not None and self.path.suffix.lower() in COUNTING
        missing = (self.count / self._stated if self._stated > 0 else 0.0) - last  # seconds
        expected = self.count if exact or missing > 1.5 else within
        if expected - number <= max(1, 0.02 * expected):
            return ""
        return f"{number:,} of {expected:,.0f} frames could be read; fetch it again"


def latest(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """Yield the newest of the items whenever one is asked for, and drop those before it.

    A thread takes the items, so that a slow reader does not fall behind. The last item is always yielded, and then what
    `items` raised is raised. The thread ends, and closes `items`, when they end or this generator is closed.
    """
    news = threading.Condition()
    kept: list[T] = []  # the newest item, until it is yielded
    problems: list[Exception] = []
    ended = threading.Event()

    def take() -> None:
        try:
            for item in items:
                with news:
                    kept[:] = [item]
                    news.notify()
                if ended.is_set():
                    break
        except Exception as problem:
            problems.append(problem)
        finally:
            items.close()  # in this thread, for a camera must not be released while it is read
            with news:
                ended.set()
                news.notify()

    # A stream that hangs must not keep the program from ending.
    thread = threading.Thread(target=take, name="frames", daemon=True)
    thread.start()
    try:
        while True:
            with news:
                # With a limit, since Ctrl-C does not end a wait on Windows.
                while not news.wait_for(lambda: kept or ended.is_set(), timeout=0.5):
                    pass
                if not kept:
                    break
                item = kept.pop()
            yield item
        if problems:
            raise problems[0]
    finally:
        ended.set()
        thread.join(timeout=1)  # the camera is free after it, unless the next frame never comes
