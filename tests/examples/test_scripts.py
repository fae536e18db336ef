"""The scripts in `examples/`, each on drawn images whose objects are known."""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import yolo
from tests.support.blobs import Blobs, discs
from tests.support.paths import ROOT
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.weights import save_weights
from yolo.images.files import read_image, write_image

MODEL: Any = Blobs()  # a Finder, while the scripts are written for a Detector; both detect alike


def example(name: str) -> ModuleType:
    """Import `examples/NAME.py`, a script and not a package."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def clip(path: Path, centres: list[list[tuple[int, int]]]) -> Path:
    """Write a video of red discs around the `centres` of each frame, in 96 x 128 pixels."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (128, 96))
    for there in centres:
        writer.write(cv2.cvtColor(discs((96, 128), there, 10), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an application in a thread, and yield its address."""
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def test_track_keeps_the_numbers(tmp_path: Path) -> None:
    """Two discs that pass each other, one of them hidden for a frame, keep two numbers; every frame is written."""
    pytest.importorskip("trackers", reason="the extra `examples` is not installed: trackers")
    track = example("track").track
    both = [[(20 + 6 * k, 28), (108 - 6 * k, 68)] for k in range(15)]
    both[7].pop()
    video = clip(tmp_path / "clip.mp4", both)
    seen = track(MODEL, str(video), str(tmp_path / "drawn.mp4"))
    assert set(seen) == {0, 1}
    assert [set(names) for names in seen.values()] == [{"disc"}, {"disc"}]
    assert seen[0].total() + seen[1].total() >= 26  # ByteTrack gives numbers from an object's second frame
    drawn = cv2.VideoCapture(str(tmp_path / "drawn.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 15
    plain = cv2.VideoCapture(str(video))
    assert np.abs(drawn.read()[1].astype(int) - plain.read()[1]).max() < 40  # nothing has a number yet
    last = [(drawn.read()[1], plain.read()[1]) for _ in range(14)][-1]
    assert np.abs(last[0].astype(int) - last[1]).max() > 100


def test_slices_find_what_the_whole_image_hides() -> None:
    """Discs that the network input shrinks to nothing are found in slices, each once, also on their borders."""
    pytest.importorskip("supervision", reason="the extra `examples` is not installed: supervision")
    detect_in_slices = example("slices").detect_in_slices
    centres = [(40, 40), (154, 300), (300, 154), (500, 250), (620, 440)]  # slices of 160 overlap by 32: 128 to 160
    image = discs((480, 640), centres, 6)
    assert len(MODEL.detect(image)) == 0
    found = detect_in_slices(MODEL, image, 160)
    middles = (found.xyxy[:, :2] + found.xyxy[:, 2:]) / 2
    assert len(found) == len(centres)
    assert np.allclose(sorted(middles.tolist()), sorted(centres), atol=2)
    assert set(found["class_name"]) == {"disc"}


def test_webcam_without_a_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no window, every frame is counted and the newest drawing is in a file."""
    webcam = example("webcam")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    video = clip(tmp_path / "clip.mp4", [[(20 + 6 * k, 28)] for k in range(5)])
    assert webcam.watch(MODEL, str(video), str(tmp_path / "newest.png")) == 5
    assert "frames per second, 1 objects" in capsys.readouterr().out
    newest = read_image(tmp_path / "newest.png")
    expected = list(MODEL.stream(str(video)))[-1].draw()
    assert np.array_equal(newest, expected)


def test_server_in_threads(tmp_path: Path) -> None:
    """Four threads get what `model.detect` finds, to the last digit; a damaged image is the client's error."""
    for package in ("fastapi", "uvicorn", "httpx", "python_multipart"):
        pytest.importorskip(package, reason=f"the extra `examples` is not installed: {package}")
    import httpx

    torch.manual_seed(0)
    save_weights(Darknet(read_cfg("toy.cfg")), tmp_path / "toy.weights")
    model = yolo.load("toy.cfg", tmp_path / "toy.weights", device="cpu")
    random = np.random.default_rng(0)
    files = []
    for k in range(4):
        files.append(tmp_path / f"{k}.png")
        write_image(files[-1], random.integers(0, 256, (40 + 10 * k, 90, 3), np.uint8))
    expected = [model.detect(file, confidence=0.95) for file in files]
    assert all(len(found) > 3 for found in expected)

    with served(example("server").app_of(model)) as url, httpx.Client(base_url=url, timeout=60) as client:

        def ask(file: Path) -> Any:
            answer = client.post(
                "/detect", params={"confidence": 0.95}, files={"image": (file.name, file.read_bytes())}
            )
            assert answer.status_code == 200, answer.text
            return answer.json()

        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(ask, files * 4))
        rows = [[{"name": name, "score": score, "box": list(box)} for name, _, score, box in one] for one in expected]
        assert answers == rows * 4

        damaged = client.post("/detect", files={"image": ("half.png", files[0].read_bytes()[:60])})
        assert damaged.status_code == 400
        assert damaged.json()["detail"].startswith("half.png: ")
        assert client.post("/detect", params={"confidence": 2}, files={"image": b""}).status_code == 422
