"""The written video: its codec, its size, its frames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolo.commands.drawing import Drawing, writes_h264
from yolo.commands.result_files import ResultFiles

REAL = cv2.VideoWriter


@pytest.fixture
def files(tmp_path: Path) -> Iterator[ResultFiles]:
    """Return an open folder of results. What other tests found out about codecs is forgotten."""
    writes_h264.cache_clear()
    with ResultFiles(tmp_path / "out", ["dog"]) as files:
        yield files
    writes_h264.cache_clear()


def draw(files: ResultFiles, *images: np.ndarray, times: int = 1) -> tuple[Path, list[str]]:
    """Return the video of these frames, at 12.5 frames per second, and the notes about it."""
    notes: list[str] = []
    path = files.folder / "clip.mp4"
    try:
        with Drawing(files, path, notes.append) as video:
            for image in images:
                video.write(image, 12.5, times)
    except OSError as problem:
        if "cannot write this video" in str(problem):
            pytest.skip(f"NOT TESTED: OpenCV {cv2.__version__} here writes no .mp4 videos")
        raise
    return path, notes


def read(path: Path) -> tuple[str, list[np.ndarray]]:
    """Return the codec of a video and its frames in RGB."""
    video = cv2.VideoCapture(str(path))
    codec = int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode().lower()
    frames = []
    while (answer := video.read())[0]:
        frames.append(cv2.cvtColor(answer[1], cv2.COLOR_BGR2RGB))
    video.release()
    return codec, frames


def test_the_codec_is_h264_or_it_is_said(files: ResultFiles, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever this OpenCV has: the video is whole, there is a note if it is not H.264, and no library prints."""
    colours = [np.full((48, 64, 3), (20 * k, 100, 200 - 20 * k), np.uint8) for k in range(10)]
    path, notes = draw(files, *colours)
    codec, frames = read(path)
    assert len(frames) == 10
    for frame, colour in zip(frames, colours, strict=True):
        np.testing.assert_allclose(frame.mean((0, 1)), colour[0, 0], atol=8)
    assert len(notes) == (codec not in ("h264", "avc1"))
    assert all("MPEG-4 Part 2 (mp4v)" in note for note in notes)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("there", [True, False])
def test_which_codec_is_asked_for(
    there: bool, files: ResultFiles, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """H.264 where a try succeeds, here by a stand-in, and else mp4v. What an encoder prints in the try is discarded."""
    asked = []

    def writer(path: str, codec: int, *others: Any) -> cv2.VideoWriter:
        asked.append((Path(path).name, codec.to_bytes(4, "little").decode()))
        if asked[-1][1] == "avc1":
            os.write(2, b"[h264] Could not find a valid device\n" if Path(path).name == "try.mp4" else b"")
            return REAL(path, REAL.fourcc(*"mp4v"), *others) if there else REAL()
        return REAL(path, codec, *others)

    writer.fourcc = REAL.fourcc  # type: ignore[attr-defined]
    monkeypatch.setattr(cv2, "VideoWriter", writer)
    path, notes = draw(files, *[np.zeros((48, 64, 3), np.uint8)] * 4)
    assert len(read(path)[1]) == 4
    assert asked == [("try.mp4", "avc1"), ("clip.mp4", "avc1" if there else "mp4v")]
    assert len(notes) == (not there)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (47, 63)])
def test_odd_sides_lose_nothing(size: tuple[int, int], files: ResultFiles) -> None:
    """A video has even sides. The last row and column are there, and once more."""
    image = np.zeros((*size, 3), np.uint8)
    image[-3:] = 250
    image[:, -3:] = 250
    path, notes = draw(files, image)
    (frame,) = read(path)[1]
    assert frame.shape == (48, 64, 3)
    assert "64x48 pixels" in notes[0]
    assert frame[size[0] - 1 :, :].mean() > 220
    assert frame[:, size[1] - 1 :].mean() > 220
    assert frame[:40, :56].mean() < 20


def test_a_frame_can_stand_for_several(files: ResultFiles) -> None:
    """So that the video of a stream is as long as the stream. Frames of another size get that of the first."""
    path, _ = draw(files, np.zeros((48, 64, 3), np.uint8), np.full((24, 80, 3), 250, np.uint8), times=3)
    frames = read(path)[1]
    assert [frame.mean() > 125 for frame in frames] == [False] * 3 + [True] * 3
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
