"""The lines that `detect` prints, on a clock of the test's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from yolo.boxes import Detections
from yolo.commands.detect_lines import FusedTimes, Times, VideoLines, median
from yolo.images.sources import Shot, Source

PIXELS = np.zeros((4, 6, 3), np.uint8)


def found(*labels: int) -> Detections:
    """Return a detection of each of these labels."""
    return Detections(torch.zeros(len(labels), 4), torch.ones(len(labels)), torch.tensor(labels, dtype=torch.int64))


class Watched:
    """The lines of a video, and the clock that the test sets."""

    def __init__(self, source: Source) -> None:
        self.now = 100.0
        self.lines: list[str] = []
        self.video = VideoLines(source, ["dog", "cat"], self.lines.append, lambda: self.now)

    def add(self, seconds: float, *labels: int, frames: int = 0, skipped: int = 0) -> None:
        """Add a frame with these objects, which is done a number of seconds after the one before."""
        self.now += seconds
        self.video.add(Shot("", None, PIXELS, rate=25.0, frames=frames, skipped=skipped), found(*labels))

    def end(self, error: BaseException) -> None:
        """Have an error end the video."""
        with pytest.raises(type(error)), self.video:
            raise error


def test_a_video_has_a_line_each_second() -> None:
    """The rate is that since the line before. At the end: all frames, seconds, and objects by class."""
    seen = Watched(Source("clip.mp4", Path("in/clip.mp4"), "in/clip.mp4"))
    with seen.video:
        seen.add(3.0, 0, frames=2000)  # opened, and the first frame read: no rate yet
        for k in range(1, 10):
            seen.add(0.25, *[1] * (k % 2), frames=2000)
        assert seen.lines == [
            f"{Path('in/clip.mp4')}: frame 5 of 2,000, 0 objects, 4.0 frames/s",
            f"{Path('in/clip.mp4')}: frame 9 of 2,000, 0 objects, 4.0 frames/s",
        ]
        seen.add(2.0, 0, frames=10)
        assert seen.lines[2] == f"{Path('in/clip.mp4')}: frame 11, 1 object, 0.9 frames/s"  # more than it states
        seen.now += 0.75
    path = Path("in/clip.mp4")
    assert seen.lines[3:] == [f"{path}: 11 frames in 8.0 s, 1.4 frames/s; 7 objects: 5 cat, 2 dog"]


def test_a_live_stream_counts_what_was_skipped() -> None:
    """The number of a frame is that of the stream; the rate is that of the detector. Ctrl-C ends it as it should."""
    seen = Watched(Source("camera 0", capture=0))
    seen.add(0.5)
    seen.add(0.5, skipped=9)
    seen.add(0.5, skipped=1400)
    seen.end(KeyboardInterrupt())
    assert seen.lines == [
        "camera 0: frame 1,412, 0 objects, 2.0 frames/s",
        "camera 0: 3 frames (1,409 skipped to keep up with the stream) in 1.5 s, 2.0 frames/s; 0 objects",
    ]


def test_a_video_that_could_not_be_read_or_written_has_no_last_line() -> None:
    """The error is printed by others."""
    seen = Watched(Source("camera 0", capture=0))
    with seen.video:
        pass
    seen.add(0.5)
    seen.end(OSError("disk"))
    assert seen.lines == []


def test_times() -> None:
    """Each median for itself. Where the network does the postprocessing too, they are one number."""
    times = [(1.0, 30.0, 0.5), (3.0, 10.0, 0.125), (2.0, 20.0, 0.25)]
    assert str(median([Times(*row) for row in times])) == "load 2.0 + network 20.0 + postprocess 0.2 ms"
    assert str(median([FusedTimes(*row) for row in times])) == "load 2.0 + network with postprocessing 20.2 ms"
