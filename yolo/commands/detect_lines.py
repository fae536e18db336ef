"""The lines that `detect` prints: of an image, of a video, and the times."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolo.boxes import Detections
from yolo.files.shown import one_line
from yolo.images.sources import Shot, Source, counted


class Times(NamedTuple):
    """Milliseconds that one image took: reading and resizing; the network; decoding and NMS."""

    load: float
    network: float
    postprocess: float

    def __str__(self) -> str:
        return f"load {self.load:.1f} + network {self.network:.1f} + postprocess {self.postprocess:.1f} ms"


class FusedTimes(Times):
    """Those of a detector whose network does the postprocessing as well."""

    def __str__(self) -> str:
        return f"load {self.load:.1f} + network with postprocessing {self.network + self.postprocess:.1f} ms"


def median(times: Sequence[Times]) -> Times:
    """Return the median of each of the times."""
    return type(times[0])(*np.median(np.array(times), axis=0).tolist())


def image_lines(shot: Shot, found: Detections, names: list[str], spent: Times) -> str:
    """Return a line for the image and one for each object: name, score, left, top, right, bottom in pixels."""
    lines = [f"{one_line(shot.path or shot.name)}: {counted(len(found), 'object')}, {spent}"]
    rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    lines += [
        f"  {one_line(names[label]):<16} {score:.3f}  " + " ".join(f"{x:7.1f}" for x in box)
        for label, score, box in rows
    ]
    return "\n".join(lines)


class Missing:
    """Counts the sources whose results are not complete; a camera's never are, so only a failure counts there."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.begun = False
        self._number, self._left = len(sources), {source for source in sources if not source.live}
        self._what = "sources" if any(source.moving for source in sources) else "images"
        self._why: Counter[str] = Counter()

    def add(self, source: Source, why: str = "") -> None:
        """Count a source that is done: `why` its results are not complete, "" if they are."""
        self._left.discard(source)
        self._why.update([why] if why else [])

    def line(self, folder: Path) -> str:
        """Return how many are missing in a folder, by reason; "" if none is, or if detection has not begun."""
        why = self._why + Counter({"not reached": len(self._left)})
        reasons = ", ".join(f"{number:,} {word}" for word, number in why.items())
        missing = f"results of {why.total():,} of {self._number:,} {self._what} are missing in {folder}: {reasons}"
        return missing if why and self.begun else ""


class VideoLines:
    """Prints a line about a video every `EVERY` seconds, and one at its end or when Ctrl-C ends it.

    Args:
        source: the video.
        names: the class names.
        say: prints a line.
        clock: returns the time in seconds.
    """

    EVERY = 1.0

    def __init__(
        self,
        source: Source,
        names: Sequence[str],
        say: Callable[[str], object],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.what, self.say, self.clock = one_line(source.path or source.name), say, clock
        self.names = [one_line(name) for name in names]
        self.frames = self.skipped = 0
        self.objects: Counter[int] = Counter()  # by label
        self._start = self._told = clock()
        self._frames_told = 0

    def __enter__(self) -> VideoLines:
        return self

    def add(self, shot: Shot, found: Detections) -> None:
        """Count a frame and its objects, and print a line if it is time."""
        now = self.clock()
        self.frames += 1
        self.skipped += shot.skipped
        self.objects.update(found.labels.tolist())
        if self.frames == 1:  # opening a camera takes seconds, which say nothing about the frames
            self._told, self._frames_told = now, 1
        elif (passed := now - self._told) >= self.EVERY:
            number = self.frames + self.skipped
            of = f" of {shot.frames:,}" if shot.frames >= number else ""  # some containers state too few
            rate = (self.frames - self._frames_told) / passed
            self.say(f"{self.what}: frame {number:,}{of}, {counted(len(found), 'object')}, {rate:.1f} frames/s")
            self._told, self._frames_told = now, self.frames

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After another error the results of the video are not complete.
        if self.frames and (kind is None or issubclass(kind, KeyboardInterrupt)):
            seconds = max(self.clock() - self._start, 1e-3)
            skipped = f" ({self.skipped:,} skipped to keep up with the stream)" if self.skipped else ""
            classes = ", ".join(f"{number:,} {self.names[label]}" for label, number in self.objects.most_common())
            self.say(
                f"{self.what}: {counted(self.frames, 'frame')}{skipped} in {seconds:.1f} s, "
                f"{self.frames / seconds:.1f} frames/s; {counted(self.objects.total(), 'object')}{': ' * bool(classes)}"
                f"{classes}"
            )
