"""What the words of a command line mean, and the images that they give."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Queue

import cv2
import numpy as np
import pytest

from yolo.images.sources import Source, find_sources, shots


def write_video(path: Path, frames: int = 5, rate: float = 12.5, size: tuple[int, int] = (64, 48)) -> Path:
    """A small video whose frame k is blue of 40 k; the test is skipped where this OpenCV cannot write it."""
    kind = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), kind, rate, size)
    if not writer.isOpened():
        pytest.skip(f"NOT TESTED: OpenCV {cv2.__version__} here cannot write {path.suffix} videos")
    for k in range(frames):
        writer.write(np.full((size[1], size[0], 3), (40 * k, 0, 0), np.uint8))
    writer.release()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, one with an ending in capitals, a text file and a folder that is called like an image."""
    for name in ("b.png", "A.JPG"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 6, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def names(*words: str | Path) -> list[str]:
    """The names of the sources that these words mean."""
    return [source.name for source in find_sources([str(word) for word in words])]


def test_a_folder_gives_its_images_in_order(folder: Path) -> None:
    """Suffixes in any case; neither text files nor folders nor files in subfolders. Each image is there once."""
    cv2.imwrite(str(folder / "folder.png" / "deep.png"), np.zeros((4, 6, 3), np.uint8))
    assert names(folder) == ["A.JPG", "b.png"]
    assert names(folder / "b.png", folder) == ["b.png", "A.JPG"]


def test_a_folder_names_its_broken_links(folder: Path) -> None:
    """A link with the name of an image that cannot be opened is a source that fails, not one that is left out."""
    try:
        (folder / "gone.png").symlink_to(folder / "nothing.png")
    except OSError:
        pytest.skip("NOT TESTED: this system makes no symbolic links")
    assert names(folder) == ["A.JPG", "b.png", "gone.png"]


def test_globs(folder: Path) -> None:
    """Expanded here, for shells that do not. A file whose name looks like a glob is found by its name."""
    assert names(folder / "*.png") == ["b.png"]
    cv2.imwrite(str(folder / "folder.png" / "deep.png"), np.zeros((4, 6, 3), np.uint8))
    assert names(folder / "**" / "*.png") == ["b.png", "deep.png"]
    cv2.imwrite(str(folder / "c[1].png"), np.zeros((4, 6, 3), np.uint8))
    assert names(folder / "c[1].png") == ["c[1].png"]


def test_a_word_without_images_is_an_error(folder: Path) -> None:
    """A glob without a match, a folder without images. But a missing file fails only when it is read."""
    with pytest.raises(ValueError, match=r"\*.webp: no file matches"):
        names(folder / "*.webp")
    with pytest.raises(ValueError, match="no image and no video in this folder"):
        names(folder / "folder.png")
    (source,) = find_sources([str(folder / "missing.png")])
    (shot,) = shots(source)
    assert shot.pixels is None
    assert "missing.png: no such image file" in shot.error


def test_cameras_and_streams(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits mean a camera unless a file has that name. A word with `://` is a stream, however long."""
    monkeypatch.chdir(folder)
    assert find_sources(["0"]) == [Source("camera 0", capture=0)]
    stream = "rtsp://10.0.0.1/" + "x" * 300
    assert find_sources([stream]) == [Source(stream, capture=stream)]
    (folder / "0").write_bytes(b"")
    (source,) = find_sources(["0"])
    assert not source.moving


@pytest.mark.parametrize("ending", [".mp4", ".avi"])
def test_frames_of_a_video(tmp_path: Path, ending: str) -> None:
    """All frames in order, in RGB, with the rate of the file. Grey for a network of one channel."""
    (source,) = find_sources([str(write_video(tmp_path / f"clip{ending}"))])
    assert source.moving
    found = list(shots(source))
    assert [shot.name for shot in found] == [f"clip{ending}#{k}" for k in range(5)]
    assert [shot.rate for shot in found] == [12.5] * 5
    for k, shot in enumerate(found):
        assert shot.pixels is not None
        assert (shot.pixels.shape, shot.pixels.dtype) == ((48, 64, 3), np.uint8)
        np.testing.assert_allclose(shot.pixels.mean((0, 1)), (0, 0, 40 * k), atol=8)
    grey = [shot.pixels for shot in shots(source, channels=1)]
    assert [pixels.shape for pixels in grey if pixels is not None] == [(48, 64, 1)] * 5


def empty(path: Path) -> None:
    """No bytes at all."""
    path.write_bytes(b"")


def text(path: Path) -> None:
    """Words."""
    path.write_text("this is no film")


def halved(path: Path) -> None:
    """A video without its index."""
    path.write_bytes(write_video(path.with_name("whole.mp4")).read_bytes()[:200])


@pytest.mark.parametrize("spoil", [empty, text, halved])
def test_broken_videos_are_named(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """They give one shot with the reason."""
    spoil(tmp_path / "clip.mp4")
    (shot,) = shots(find_sources([str(tmp_path / "clip.mp4")])[0])
    assert shot.pixels is None
    assert "clip.mp4: no frame could be read" in shot.error


def test_a_missing_video(tmp_path: Path) -> None:
    """The message is ours, not OpenCV's."""
    (shot,) = shots(find_sources([str(tmp_path / "none.avi")])[0])
    assert "none.avi: no such video file" in shot.error


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_video_with_a_name_that_is_not_text(tmp_path: Path) -> None:
    """OpenCV would end the whole process."""
    name = os.fsdecode(b"\xff.avi")
    try:
        write_video(tmp_path / "a.avi").rename(tmp_path / name)
    except OSError:
        pytest.skip("NOT TESTED: this disk refuses such names")
    (shot,) = shots(find_sources([str(tmp_path / name)])[0])
    assert "rename it" in shot.error


def test_passwords_stay_out_of_names() -> None:
    """The name of a stream appears in file names and results. The address that opens it does not."""
    (source,) = find_sources(["rtsp://me:secret@127.0.0.1:1/live"])
    assert source.name == "rtsp://127.0.0.1:1/live"
    assert source.capture == "rtsp://me:secret@127.0.0.1:1/live"


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://me:secret@127.0.0.1:1/live",
        "rtsp://me:se/secret@127.0.0.1:1/live",
        "rtsp://me:p@secret@127.0.0.1:1/live",
        "rtsp://127.0.0.1:1/live?user=me&token=secret",
        "rtsp://127.0.0.1:1/live;token=secret",
        "rtsp://127.0.0.1:1/live#secret",
    ],
)
def test_secrets_of_an_address_are_not_printed(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither the name nor the message has them, nor what OpenCV prints by itself; the address that is opened does."""
    (source,) = find_sources([address])
    assert (source.name, source.capture) == ("rtsp://127.0.0.1:1/live", address)
    (shot,) = shots(source)
    assert "rtsp://127.0.0.1:1/live: no frame could be read" in shot.error
    assert "secret" not in f"{shot}{capfd.readouterr()}"


def cut(data: bytes) -> bytes:
    """The first half."""
    return data[: len(data) // 2]


def holed(data: bytes) -> bytes:
    """Zeros in the middle of the frames, which come before the index."""
    end = data.find(b"moov") if b"moov" in data else len(data)
    return data[: end // 2] + bytes(end // 4) + data[end // 2 + end // 4 :]


@pytest.mark.parametrize(
    ("ending", "damage"), [(".avi", cut), (".mkv", cut), (".avi", holed), (".mkv", holed), (".mp4", holed)]
)
def test_a_video_that_breaks_off(tmp_path: Path, ending: str, damage: Callable[[bytes], bytes]) -> None:
    """All frames that can be read are given, then an error with the number of the last one. A whole video has none."""
    path = write_video(tmp_path / f"clip{ending}", frames=50)
    whole = list(shots(find_sources([str(path)])[0]))
    assert len(whole) == 50
    assert not any(shot.error for shot in whole)
    path.write_bytes(damage(path.read_bytes()))
    *frames, last = shots(find_sources([str(path)])[0])
    assert 10 < len(frames) < 49
    assert all(shot.pixels is not None for shot in frames)
    assert last.pixels is None
    assert (
        f"breaks off after frame {len(frames) - 1}, which may be damaged too: {len(frames)} of 50 frames" in last.error
    )


class Fading:
    """A live stream as OpenCV gives it, without a number of frames, which ends after three."""

    count = -1

    def __init__(self, *_: object) -> None:
        self.left = 3

    def get(self, key: int) -> float:
        """Return the number of frames, or -1 for another property."""
        return self.count if key == cv2.CAP_PROP_FRAME_COUNT else -1

    def read(self) -> tuple[bool, np.ndarray]:
        """Return the next frame."""
        self.left -= 1
        return self.left >= 0, np.zeros((4, 6, 3), np.uint8)

    def release(self) -> None:
        """Do nothing."""


class Paced(Fading):
    """A camera whose frame k has the value k. The test says when it gives a frame, and knows when one is wanted."""

    def __init__(self, *_: object) -> None:
        self.given, self.wanted = Queue[bool](), Queue[int]()
        self.released = Queue[threading.Thread]()
        self.number = 0

    def read(self) -> tuple[bool, np.ndarray]:
        """Return the next frame as soon as the test gives it."""
        self.wanted.put(self.number)
        there = self.given.get(timeout=20)
        self.number += 1
        return there, np.full((4, 6, 3), self.number - 1, np.uint8)

    def release(self) -> None:
        """Note which thread frees it."""
        self.released.put(threading.current_thread())


@pytest.mark.parametrize("newest", [False, True])
def test_a_live_stream_that_ends(monkeypatch: pytest.MonkeyPatch, newest: bool) -> None:
    """It has no end of its own, so its end is an error, after its last frame."""
    monkeypatch.setattr(cv2, "VideoCapture", Fading)
    *frames, last = shots(find_sources(["rtsp://me:secret@10.0.0.1/live"])[0], newest=newest)
    given = [(shot.name, shot.skipped) for shot in frames]
    assert given[-1][0] == "rtsp://10.0.0.1/live#2"
    assert len(frames) + sum(shot.skipped for shot in frames) == 3
    assert newest or given == [(f"rtsp://10.0.0.1/live#{k}", 0) for k in range(3)]
    assert last.error.startswith("rtsp://10.0.0.1/live: breaks off after frame 2, ")
    assert "the stream has ended" in last.error


def test_the_newest_frame_of_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the frames that come while another one is in use, the last is taken. Its name has its number in the stream."""
    camera = Paced()
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
    found = shots(Source("camera 0", capture=0), newest=True)
    camera.given.put(True)
    taken = [next(found)]  # the reader starts here
    assert camera.wanted.get(timeout=20) == 0
    assert camera.wanted.get(timeout=20) == 1
    for last in (3, 4, 9):
        wanted = 0
        while wanted <= last:  # when it wants the frame after the last one, it has put that one down
            camera.given.put(True)
            wanted = camera.wanted.get(timeout=20)
        taken.append(next(found))
    assert [shot.name for shot in taken] == [f"camera 0#{k}" for k in (0, 3, 4, 9)]
    assert [int(shot.pixels.max()) for shot in taken if shot.pixels is not None] == [0, 3, 4, 9]
    assert [shot.skipped for shot in taken] == [0, 2, 0, 4]
    # The end is known before the last frame is asked for, which is not lost.
    camera.given.put(True)
    camera.given.put(False)
    reader = camera.released.get(timeout=20)
    end, error = found
    assert (end.name, end.skipped) == ("camera 0#10", 0)
    assert error.error.startswith("camera 0: breaks off after frame 10, ")
    assert reader is not threading.current_thread()
    reader.join(timeout=20)
    assert not reader.is_alive()


def test_a_camera_is_free_after_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing ends the reader, which frees the camera itself: nobody else may while it reads."""
    camera = Paced()
    monkeypatch.setattr(camera, "read", lambda: (True, np.zeros((4, 6, 3), np.uint8)))
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
    found = shots(Source("camera 0", capture=0), newest=True)
    next(found)
    found.close()
    reader = camera.released.get(timeout=20)
    assert reader is not threading.current_thread()
    reader.join(timeout=20)
    assert not reader.is_alive()


@pytest.mark.parametrize("address", ["clip.mp4", "https://10.0.0.1/clip.mp4"])
def test_files_are_read_completely(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With `newest` too, here and at a URL, in the calling thread. Each shot has the number of all frames."""
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").touch()
    monkeypatch.setattr(Fading, "count", 3)
    monkeypatch.setattr(cv2, "VideoCapture", Fading)
    threads = threading.active_count()
    found = []
    for shot in shots(find_sources([address])[0], newest=True):
        found.append((shot.name.rpartition("#")[2], shot.frames, shot.skipped, shot.error))
        assert threading.active_count() == threads
    assert found == [(str(k), 3, 0, "") for k in range(3)]


def test_a_folder_that_holds_itself(tmp_path: Path) -> None:
    """A link to a folder above it ends; other linked folders are read with `recursive`."""
    for name in ("in/a.png", "else/b.png"):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 6, 3), np.uint8))
    try:
        (tmp_path / "in" / "up").symlink_to(tmp_path / "in")
        (tmp_path / "in" / "other").symlink_to(tmp_path / "else")
    except OSError:
        pytest.skip("NOT TESTED: this system makes no symbolic links")
    assert [source.name for source in find_sources([str(tmp_path / "in")], recursive=True)] == ["a.png", "b.png"]


def test_a_text_is_no_bitmap(tmp_path: Path) -> None:
    """Two letters are not enough to take a file for an image."""
    (tmp_path / "bmw").write_text("BMW makes cars")
    with pytest.raises(ValueError, match="by its first bytes: 1 without ending"):
        find_sources([str(tmp_path)])
