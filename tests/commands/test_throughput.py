"""`detect` over many images at once: the results of one image at a time, in order, whatever happens in between."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.commands.test_detect import contents, detect, image, rows
from tests.images.test_sources import write_video
from tests.support import warm
from tests.support.load import load_yolo
from tests.support.paths import ROOT
from yolo.images.draw import draw
from yolo.images.files import read_image
from yolo.images.sources import find_sources, shots
from yolo.models.found import Found
from yolo.models.yolo import YoloDetector
from yolo.options.detection import Filter

LOW = Filter(confidence=0.01, max_detections=50)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a random toy network, whose detections are others in each image, and return its file."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    load_yolo("toy.cfg", device="cpu").save("toy.safetensors")
    return Path("toy.safetensors").resolve()


@pytest.fixture
def four() -> Iterator[None]:
    """Have four threads of PyTorch, so four images at once; no thread is left at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("images")]


def images(number: int) -> list[Path]:
    """Write images of different names and sizes into `in`."""
    return [image(Path(f"in/{'x' * k}{k:02}.png"), 100 + 7 * k, 160 - 5 * k) for k in range(number)]


def lines(text: str) -> list[str]:
    """Return printed lines without their times."""
    times = r"load [^;\n]*ms|[\d.]+ images/s(, \d at once)?|in [\d.]+ s, [\d.]+ frames/s"
    return [line for line in re.sub(times, "", text).splitlines() if ": frame " not in line]


def equal(found: Sequence[Found], expected: Sequence[Found]) -> bool:
    """Return whether all detections are equal, bit for bit, and those of one image are not those of the next."""
    assert all(not a.scores.equal(b.scores) for a, b in pairwise(expected))
    return len(found) == len(expected) and all(
        a.boxes.equal(b.boxes) and a.scores.equal(b.scores) and a.labels.equal(b.labels) and a.name == b.name
        for a, b in zip(found, expected, strict=True)
    )


def test_files_and_lines_are_those_of_one_at_a_time(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images, broken images and a video, in the order of the sources: equal bytes, equal lines apart from the times."""
    images(9)
    for name in ("in/xxx-broken.png", "in/0.png"):
        Path(name).write_bytes(b"no image")
    write_video(Path("in/m.mp4"), frames=12)
    write_video(Path("in/xxxx.mp4"), frames=3)
    words = ["in", "none.png", "--json", "--csv", "--txt", "--crops", "--conf", "0.01", "--max-det", "20"]
    before = torch.get_num_threads()
    printed, written = [], []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            assert detect(weights, *words, out=f"out{threads}") == 1
            printed.append([lines(text.replace(f"out{threads}", "out")) for text in capsys.readouterr()])
            written.append(contents(Path(f"out{threads}")))
    finally:
        torch.set_num_threads(before)
    assert printed[0] == printed[1]
    assert written[0] == written[1]
    assert sum(line.startswith("not read: ") for line in printed[0][1]) == 3
    names = list(dict.fromkeys(row["file_name"] for row in rows("out1")))
    assert len(names) == 9 + 12 + 3


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(("number", "batch", "at_once"), [(1, 1, 1), (7, 1, 1), (8, 1, 4), (8, 2, 1), (15, 2, 4)])
def test_what_is_said_of_threads_is_done(
    number: int,
    batch: int,
    at_once: int,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The last line says how many images were computed at once, and the warm-up has the threads of the first image."""
    images(number)
    threads: list[int] = []
    predict = YoloDetector.predict

    def noted(model: YoloDetector, given: torch.Tensor) -> list[torch.Tensor]:
        threads.append(torch.get_num_threads())
        return predict(model, given)

    monkeypatch.setattr(YoloDetector, "predict", noted)
    assert detect(weights, "in", "--json", "--no-draw", "--size", "64", "--batch-size", str(batch)) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert ("at once" in last) == (at_once > 1)
    assert f"{at_once} at once" in last or at_once == 1
    assert set(threads) == {4 // at_once}


@pytest.mark.usefixtures("four")
def test_a_list_is_detected_as_its_images(weights: Path) -> None:
    """On a CPU, each image of a list, a folder and an iterator has the bits that it has alone, of one thread."""
    files = images(9)
    model = load_yolo_of(weights)
    torch.set_num_threads(1)
    expected = [model.detect(file, LOW) for file in files]
    torch.set_num_threads(4)
    assert model.workers == 4
    for given in (files, "in", iter(files)):
        assert equal(model.detect(given, LOW), expected)
    arrays = [read_image(file) for file in files]
    found = model.detect(arrays, LOW)
    assert all(one.pixels is pixels for one, pixels in zip(found, arrays, strict=True))


@pytest.mark.usefixtures("four")
def test_a_stream_is_detected_as_its_frames(weights: Path) -> None:
    """Several frames at once, and images of a folder; an error comes after what is before it."""
    clip = write_video(Path("clip.mp4"), frames=12)
    model = load_yolo_of(weights)
    frames = [shot for shot in shots(find_sources([str(clip)])[0]) if shot.pixels is not None]
    torch.set_num_threads(1)
    expected = [model.detect(shot.pixels, LOW) for shot in frames if shot.pixels is not None]
    torch.set_num_threads(4)
    found = list(model.stream(clip, LOW))
    assert [one.name for one in found] == [shot.name for shot in frames]
    assert all(one.boxes.equal(two.boxes) for one, two in zip(found, expected, strict=True))
    images(6)
    Path("in/xxxx.png").write_bytes(b"no image")
    stream = model.stream("in", LOW)
    for name in ("00.png", "x01.png", "xx02.png", "xxx03.png"):
        assert next(stream).name == name
    with pytest.raises(ValueError, match=r"xxxx.png: not an image"):
        next(stream)


@pytest.mark.usefixtures("four")
def test_leaving_a_stream_ends_its_threads(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`break` and `close` do; of the frames that were not computed nothing more is."""
    clip = write_video(Path("clip.mp4"), frames=40)
    model, predicted = load_yolo_of(weights), []
    predict = YoloDetector.predict

    def counting(self: YoloDetector, given: torch.Tensor) -> Any:
        predicted.append(len(given))
        return predict(self, given)

    monkeypatch.setattr(YoloDetector, "predict", counting)
    stream = model.stream(clip, LOW)
    next(stream)
    next(stream)
    stream.close()
    seen = len(predicted)
    assert seen <= 9  # eight ahead
    for _ in model.stream(clip, LOW):
        break
    assert len(predicted) == seen + 1  # the first frame, before the threads start


@pytest.mark.usefixtures("four")
def test_ctrl_c_keeps_the_results_so_far(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of the images whose lines were printed, in their order; the threads end."""
    images(12)
    drawn = []

    def interrupted(*arguments: Any) -> np.ndarray:
        drawn.append(1)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return draw(*arguments)

    monkeypatch.setattr("yolo.commands.detect.draw", interrupted)
    assert detect(weights, "in", "--json", "--conf", "0.01", "--max-det", "1") == 130
    out, error = capsys.readouterr()
    assert [row["file_name"] for row in rows()] == ["00.png", "x01.png", "xx02.png", "xxx03.png"]
    assert sorted(path for path in contents(Path("out")) if path.endswith(".png")) == ["00.png", "x01.png", "xx02.png"]
    assert out.splitlines()[-1].startswith("4 images, median load ")
    assert "interrupted" in error


@pytest.mark.usefixtures("four")
def test_batches_on_request(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network sees four images at once, a broken one left out; the detections are those of single images."""
    images(9)
    Path("in/xxx.png").write_bytes(b"no image")
    seen: list[int] = []
    predict = YoloDetector.predict

    def counting(self: YoloDetector, given: torch.Tensor) -> Any:
        seen.append(len(given))
        return predict(self, given)

    words = ["in", "--json", "--conf", "0.01", "--max-det", "20", "--no-draw"]
    assert detect(weights, *words, out="single") == 1
    monkeypatch.setattr(YoloDetector, "predict", counting)
    assert detect(weights, *words, "--batch-size", "4", out="batch") == 1
    assert seen[0] == 4  # the warm-up
    assert sorted(seen[1:]) == [2, 3, 4]
    for one, other in zip(rows("single"), rows("batch"), strict=True):
        assert one["file_name"] == other["file_name"]
        np.testing.assert_allclose(one["bbox"], other["bbox"], atol=1e-3)
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)


def test_without_drawing(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--no-draw` writes the result files alone, and says where they are."""
    images(2)
    write_video(Path("in/clip.mp4"))
    assert detect(weights, "in", "--json", "--no-draw", "--size", "64") == 0
    assert sorted(contents(Path("out"))) == ["detections.json"]
    assert capsys.readouterr().out.splitlines()[-1].endswith("; results in out")


def load_yolo_of(weights: Path) -> YoloDetector:
    """Return the detector of a file, whose network nobody else has."""
    import yolo

    model = yolo.load(weights, device="cpu")
    assert isinstance(model, YoloDetector)
    return model


def test_the_benchmark_runs(tmp_path: Path) -> None:
    """It prints the rates of all contenders, and the shares of `detect` over a folder and a video."""
    command = [ROOT / "benchmarks" / "throughput.py", "--images", "12", "--frames", "6", "--cfg", "toy.cfg"]
    done = warm.run(*command, "--size", "64", "--rounds", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 threads, 2 images at once" in done.stdout
    for name in ("decoding", "network", "network, one at a time", "decoding video"):
        assert re.search(rf"^{name} +[\d.]+ +[\d.]+ +[\d.]+ \| $", done.stdout, re.MULTILINE), name
    for name in ("FOLDER", "VIDEO"):
        assert re.search(rf"^detect {name} .* \| +[\d.]+% \| +[\d.]+%$", done.stdout, re.MULTILINE), name
    assert list(tmp_path.iterdir()) == []
