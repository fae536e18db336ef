"""`detect` and `stream` as a user calls them: keywords, kinds of images, batches, threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.images.test_sources import write_video
from tests.support.load import load_yolo
from yolo.boxes import Detections
from yolo.images.placement import Placement
from yolo.images.sources import Source, find_sources, shots
from yolo.models.finder import Finder
from yolo.models.found import Found
from yolo.options.detection import Filter
from yolo.size import Size

RGB = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
NAMES = ["cat", "dog", "sheep", "tv"]


class Fixed(Finder):
    """Finds eight boxes in every image, of four classes in turn; the scores are 0.9, 0.8, ... It notes its batches."""

    def __init__(self) -> None:
        self.names, self.size = NAMES, Size(32, 64)
        self.batches: list[int] = []
        self.seen: list[Filter] = []

    def predict(self, images: Tensor) -> int:
        self.batches.append(len(images))
        return len(images)

    def select(self, predictions: int, placements: Sequence[Placement], options: Filter) -> list[Detections]:
        self.seen.append(options)
        scores = torch.arange(9, 1, -1) / 10
        one = Detections(torch.tensor([[-5.0, 5, 1000, 20]]).repeat(8, 1), scores, torch.arange(8) % 4)
        return [one.only(scores > options.confidence).only(slice(options.max_detections)) for _ in placements]


def test_keywords_are_those_of_the_filter() -> None:
    """They replace values of `options`, which are otherwise kept."""
    model = Fixed()
    model.detect(RGB)
    model.detect(RGB, confidence=0.5, agnostic=True)
    model.detect(RGB, Filter(confidence=0.1, nms=0.2, max_detections=3), nms=0.0)
    model.detect(RGB, Filter(agnostic=True), agnostic=False, max_detections=2)
    assert model.seen == [
        Filter(),
        Filter(confidence=0.5, agnostic=True),
        Filter(confidence=0.1, nms=0.0, max_detections=3),
        Filter(max_detections=2),
    ]


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ({"conf": 0.5}, TypeError, r"no keyword argument 'conf'; write confidence=\.\.\."),
        ({"conf_thres": 0.5}, TypeError, "'conf_thres'; write confidence="),
        ({"iou": 0.5}, TypeError, "'iou'; write nms="),
        ({"iou_thres": 0.5}, TypeError, "'iou_thres'; write nms="),
        ({"max_det": 5}, TypeError, "'max_det'; write max_detections="),
        ({"agnostic_nms": True}, TypeError, "'agnostic_nms'; write agnostic="),
        ({"imgsz": 640}, TypeError, r"'imgsz'; it is a matter of the model: yolo.load\(..., size=...\)"),
        ({"confidense": 0.5}, TypeError, "did you mean confidence"),
        ({"verbose": False}, TypeError, "'verbose'; the keyword arguments are confidence, nms, max_detections, agnos"),
        ({"confidence": 25}, ValueError, "confidence=25: expected a number from 0 to 1"),
        ({"confidence": "0.5"}, TypeError, "confidence='0.5': expected a number"),
        ({"max_detections": 0}, ValueError, "max_detections=0: expected at least 1"),
        ({"max_detections": 1.5}, TypeError, "max_detections=1.5: expected a whole number"),
        ({"options": 0.5}, TypeError, "options: got 0.5; expected a Filter, or keyword arguments such as confidence"),
        ({"classes": "dgo"}, ValueError, "no class is called 'dgo'; did you mean dog?"),
        ({"classes": [1, 4]}, ValueError, "no class has the index 4; expected a name, or 0 to 3"),
        ({"classes": 1}, TypeError, r"classes=1: expected comma-separated names or a list, such as \[1\]"),
    ],
)  # fmt: skip
def test_wrong_keywords(words: dict[str, Any], kind: type[Exception], message: str) -> None:
    """They are named with ours, or with what is expected; `stream` refuses them when it is called."""
    for call in (Fixed().detect, Fixed().stream):
        with pytest.raises(kind, match=message):
            call("nowhere.png", **words)


def test_batch_size() -> None:
    """It divides a list into batches and is at least 1; one image is one batch."""
    model = Fixed()
    assert len(model.detect([RGB] * 35)) == 35
    assert len(model.detect((RGB for _ in range(3)), batch_size=2)) == 3
    model.detect(RGB)
    assert model.batches == [16, 16, 3, 2, 1, 1]
    with pytest.raises(ValueError, match="batch_size=0: expected at least 1"):
        model.detect([RGB], batch_size=0)


@pytest.mark.parametrize("classes", ["dog, tv", ["tv", "dog"], [1, 3], ["dog", 3], (np.int64(1), "tvmonitor")])
def test_classes(classes: Any) -> None:
    """A text, or a list of names and indices; a limit counts after the classes are selected."""
    found = Fixed().detect(RGB, classes=classes, max_detections=3)
    assert [row.name for row in found] == ["dog", "tv", "dog"]
    assert [round(row.score, 1) for row in found] == [0.8, 0.6, 0.4]
    assert Fixed().detect(RGB, Filter(max_detections=2), classes=classes).labels.tolist() == [1, 3]
    assert len(Fixed().detect(RGB, classes=[])) == 0


def test_found_knows_its_image(tmp_path: Path) -> None:
    """Names, size, name and path; boxes are clipped to the image unless the model is exact. Files are not kept."""
    Image.fromarray(RGB).save(tmp_path / "a.png")
    model = Fixed()
    found = model.detect(tmp_path / "a.png")
    assert (found.names, found.size, found.name, found.path) == (NAMES, Size(50, 70), "a.png", tmp_path / "a.png")
    assert found.pixels is None
    np.testing.assert_array_equal(found.image(), RGB)
    assert found[0].box == (0.0, 5.0, 70.0, 20.0)
    model.exact = True
    array = model.detect(RGB)
    assert (array.name, array.path, array.pixels is RGB) == ("", None, True)
    assert array[0].box == (-5.0, 5.0, 1000.0, 20.0)


def test_every_kind_of_image_gives_the_same(tmp_path: Path) -> None:
    """The same pixels as a file, an array, a Pillow image, a tensor and a batch have the same detections."""
    torch.manual_seed(0)
    model, options = load_yolo("toy.cfg", device="cpu"), Filter(confidence=0.01, max_detections=50)
    Image.fromarray(RGB).save(tmp_path / "a.png")
    tensor = torch.from_numpy(RGB).permute(2, 0, 1)
    expected = model.detect(RGB, options)
    assert len(expected) == 50
    singles: list[Any] = [str(tmp_path / "a.png"), Image.fromarray(RGB), tensor]
    many: list[Any] = [tmp_path, str(tmp_path / "*.png"), tensor[None], [RGB], (RGB,), iter([RGB])]
    for given in singles:
        found = model.detect(given, options)
        assert found.boxes.equal(expected.boxes)
    for given in many:
        (found,) = model.detect(given, options)
        assert found.boxes.equal(expected.boxes)
        assert found.labels.equal(expected.labels)


def test_threads_with_different_keywords() -> None:
    """Four threads on one model, each with its own arguments, find what one alone finds, to the last bit."""
    torch.manual_seed(0)
    model = load_yolo("toy.cfg", device="cpu", size=(64, 64))
    calls: list[dict[str, Any]] = [
        {"confidence": 0.1, "classes": [0, 1]}, {"confidence": 0.2, "agnostic": True},
        {"confidence": 0.05, "max_detections": 7}, {"confidence": 0.15, "nms": 0.1, "classes": "class 2"},
    ]  # fmt: skip
    expected = [model.detect(RGB, **words) for words in calls]
    assert len({len(found) for found in expected}) > 2
    results: list[list[Found]] = [[] for _ in calls]
    start = threading.Barrier(len(calls))

    def work(k: int) -> None:
        start.wait()
        results[k] += [model.detect(RGB, **calls[k]) for _ in range(10)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found, one in zip(results, expected, strict=True):
        assert len(found) == 10
        assert all(each.boxes.equal(one.boxes) and each.scores.equal(one.scores) for each in found)


def test_stream_of_a_video(tmp_path: Path) -> None:
    """A Found for each frame, with its name and pixels, by the given thresholds. It is no image for `detect`."""
    clip = write_video(tmp_path / "clip.avi")
    model = Fixed()
    found = list(model.stream(clip, confidence=0.75))
    assert [one.name for one in found] == [f"clip.avi#{k}" for k in range(5)]
    assert [len(one) for one in found] == [2] * 5
    for one, shot in zip(found, shots(find_sources([str(clip)])[0]), strict=True):
        np.testing.assert_array_equal(one.image(), shot.pixels)
        assert one.draw().shape == (48, 64, 3)
    with pytest.raises(ValueError, match="is the image itself"):
        found[0].save(clip)
    with pytest.raises(ValueError, match=r"clip.avi: is not an image but a video.*model.stream yields its frames"):
        model.detect(clip)


@pytest.mark.parametrize("source", [RGB, [0], None])
def test_what_is_not_a_stream(source: Any) -> None:
    """It is refused when `stream` is called."""
    with pytest.raises(ValueError, match=f"stream: got {type(source).__name__}; expected a path, a URL or the number"):
        Fixed().stream(source)


def test_a_stream_that_breaks(tmp_path: Path) -> None:
    """Images and frames before a file that cannot be read are yielded, then the error that names it is raised."""
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    stream = Fixed().stream(tmp_path)
    assert next(stream).name == "a.png"
    with pytest.raises(ValueError, match=r"b.png: not an image"):
        next(stream)


def test_a_closed_stream_releases_its_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Closing the iterator, and leaving the loop, end the reader, which releases the camera."""
    ended = []
    usual = shots

    def noted(source: Source, channels: int, *, newest: bool) -> Any:
        assert newest, "a camera must not fall behind"
        try:
            yield from usual(source, channels, newest=newest)
        finally:
            ended.append(1)

    monkeypatch.setattr("yolo.models.results.shots", noted)
    clip = write_video(tmp_path / "clip.avi")
    stream = Fixed().stream(clip)
    next(stream)
    assert not ended
    stream.close()
    assert ended == [1]
    for _ in Fixed().stream(clip):
        break
    assert ended == [1, 1]
