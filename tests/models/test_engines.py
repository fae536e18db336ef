"""onnxruntime and OpenVINO: the same numbers, in several threads, and nothing sent to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed: NO ENGINE WAS TRIED")

from tests.support.paths import ROOT
from tests.support.tiny_onnx import SIZE, WEIGHTS, write_tiny
from yolo.models.engines import NO_LIMIT, Engine, Session
from yolo.models.packages import needed

ENGINES = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed: NOT TRIED"))
    for name in get_args(Engine)
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.onnx")


def feeds(brightness: int, images: int = 1, confidence: float = 0.25, most: int = NO_LIMIT) -> dict[str, np.ndarray]:
    """Return the inputs for images of one brightness."""
    pixels = np.full((images, *SIZE, 3), brightness, np.uint8)
    thresholds = {"confidence": np.array(confidence, np.float32), "nms": np.array(0.45, np.float32)}
    limit = {"max_detections": np.array(most, np.int64)}
    return {"images": pixels, "sizes": np.array([SIZE] * images), **thresholds, **limit}


@pytest.mark.parametrize("engine", ENGINES)
def test_numbers_and_thresholds(engine: Engine, tiny: Path) -> None:
    """Scores in float32, for any number of images; every call has its own thresholds."""
    session = Session(tiny, engine)
    assert list(session.inputs) == ["images", "sizes", "confidence", "nms", "max_detections"]
    assert session.inputs["images"].shape == ["B", *SIZE, 3]
    assert session.inputs["images"].dtype == np.uint8
    assert session.engine.startswith(f"{engine} ")
    for brightness in (255, 201):
        found = session.run(feeds(brightness, images=2))
        # Of the first two boxes the better one is left, in each class.
        kept = sorted(score for score in WEIGHTS[[0, 2]].flatten() * brightness / 255 if score > 0.25)[::-1]
        assert found["count"].tolist() == [len(kept)] * 2
        for row in found["scores"]:
            np.testing.assert_allclose(row, kept, rtol=1e-5)  # bfloat16 has errors of 1e-3
    assert session.run(feeds(255, confidence=0.6))["count"].tolist() == [2]
    assert session.run(feeds(255, most=3))["count"].tolist() == [3]
    assert session.run(feeds(0))["count"].tolist() == [0]


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_do_not_mix_images(engine: Engine, tiny: Path) -> None:
    """Four threads with images of their own get the scores of these."""
    session = Session(tiny, engine)

    def best(brightness: int) -> float:
        return float(session.run(feeds(brightness))["scores"][0, 0])

    with ThreadPoolExecutor(4) as pool:
        levels = [90 + k for k in range(80)]
        np.testing.assert_allclose(list(pool.map(best, levels)), 0.9 * np.array(levels) / 255, rtol=1e-5)


def test_bf16_is_openvinos(tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"tiny.onnx: onnxruntime computes in fp32 only; .*--engine openvino"):
        Session(tiny, "onnxruntime", "bf16")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_that_cannot_be_computed(engine: Engine, tmp_path: Path) -> None:
    """The message has the file and the engine, in one line."""
    import onnx

    model = onnx.load(str(write_tiny(tmp_path / "odd.onnx")))
    model.graph.node[0].op_type = "Nonsense"
    onnx.save(model, str(tmp_path / "odd.onnx"))
    with pytest.raises(ValueError, match=f"odd.onnx: not a file that {engine} can compute: .*Nonsense") as problem:
        Session(tmp_path / "odd.onnx", engine)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_reported(engine: Engine, tiny: Path, tmp_path: Path) -> None:
    """Both engines would report their use to their makers, and leave an identity in the home folder for that."""
    code = (
        f"import sys\nfrom yolo.models.engines import Session\nSession({str(tiny)!r}, {engine!r})\n"
        "assert 'openvino_telemetry' not in sys.modules"
    )
    hidden = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**hidden, "HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", get_args(Engine))
def test_a_missing_engine_is_named(engine: Engine, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, engine, None)
    extra = "onnx" if engine == "onnxruntime" else "openvino"
    with pytest.raises(ImportError, match=rf"needs the package {engine} .*pip install 'exact-yolov3\[{extra}\]'"):
        Session(tiny, engine)


def test_threads_import_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that one of them hides is there again at the end."""
    inside, most = [0], [0]

    def imported(_: str) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.02)
        inside[0] -= 1

    monkeypatch.setattr("yolo.models.packages.importlib.import_module", imported)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: needed("json", "a test"), range(4)))
    assert most == [1]
    assert "openvino_telemetry" not in sys.modules
