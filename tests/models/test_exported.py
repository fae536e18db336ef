"""A whole detector in a file: thresholds, places, limits, and what it refuses. tests/models/test_weights_of.py has
real networks."""

from __future__ import annotations

import pickle
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnx", reason="onnx is not installed: NO EXPORTED FILE WAS READ")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: NO EXPORTED FILE WAS READ")

import yolo
from tests.support.tiny_onnx import BOXES, NAMES, SIZE, write_tiny
from yolo.images.placement import Placement
from yolo.models.exported import ExportedDetector, load_exported
from yolo.options.detection import EVALUATION, Filter
from yolo.size import Size

WHITE = np.full((SIZE[0] * 2, SIZE[1] * 2, 3), 255, np.uint8)
"""An image of twice the input, which covers it."""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny.onnx")


def test_images_in_detections_out(tiny: Path) -> None:
    """Boxes in pixels of the images, of any size, in one batch; thresholds are those of each call."""
    model = yolo.load(tiny)
    assert isinstance(model, ExportedDetector)
    assert (model.names, model.size, model.letterbox, model.channels) == (NAMES, Size(*SIZE), True, 3)
    assert model.fused
    tall = np.full((80, 20, 3), 255, np.uint8)  # 16 of 80 rows, so 4 of 32 columns, from column 14
    white, bars = model.detect_batch(*_batch(model, [WHITE, tall]), Filter(nms=0.9))
    assert white.labels.tolist() == [1, 1, 1, 0, 0, 0]
    torch.testing.assert_close(white.scores, torch.tensor([0.9, 0.8, 0.7, 0.5, 0.4, 0.3]))
    cx, cy, w, h = (BOXES[0] * [64, 32, 64, 32]).tolist()
    torch.testing.assert_close(white.boxes[0], torch.tensor([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]))
    cx, w = (32 * 0.25 - 14) * 5, 32 * 0.25 * 5
    torch.testing.assert_close(bars.boxes[0], torch.tensor([cx - w / 2, 20.0, cx + w / 2, 60.0]))
    assert model.detect(WHITE).scores.tolist() == pytest.approx([0.9, 0.7, 0.5, 0.3])
    assert model.detect(WHITE, Filter(confidence=0.6)).scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(model.detect(WHITE, Filter(max_detections=3))) == 3
    assert len(model.detect(np.zeros_like(WHITE))) == 0
    assert model.detect_batch(torch.zeros(0, 3, *SIZE, dtype=torch.uint8), []) == []


def _batch(model: ExportedDetector, images: list[np.ndarray]) -> tuple[torch.Tensor, list[Placement]]:
    prepared, placements = zip(*map(model.prepare, images), strict=True)
    return torch.stack(prepared), list(placements)


def test_a_file_for_one_image(tmp_path: Path) -> None:
    """It gets the images of a batch one by one."""
    model = yolo.load(write_tiny(tmp_path / "one.onnx", images=1))
    assert list(map(len, model.detect([WHITE, np.zeros_like(WHITE), WHITE]))) == [4, 0, 4]


def test_conditions(tmp_path: Path) -> None:
    """An evaluation says what has computed its numbers."""
    words = yolo.load(write_tiny(tmp_path / "a.onnx")).conditions(EVALUATION)
    assert words.pop("computed by").startswith("onnxruntime 1.")
    assert words == {
        "confidence": "0.001",
        "NMS": "0.6",
        "": "at most 100 detections of an image",
        "input": "32x16 letterbox",
    }


def test_what_is_fixed_in_the_file(tmp_path: Path) -> None:
    """Other sizes, placements and kinds of NMS need another file."""
    tiny = write_tiny(tmp_path / "tiny.onnx")
    model = load_exported(tiny)
    with pytest.raises(ValueError, match=r"its NMS compares each class by itself; .* TARGET.onnx --agnostic"):
        model.detect(WHITE, Filter(agnostic=True))
    with pytest.raises(ValueError, match="places images as letterbox to 32x16 does"):
        model.replace(letterbox=False).detect(WHITE[:20])
    with pytest.raises(ValueError, match=r"takes uint8 images, got torch.float32"):
        model.detect_batch(torch.zeros(1, 3, *SIZE), [model.prepare(WHITE)[1]])
    with pytest.raises(ValueError, match="1 images and 2 placements"):
        model.select(torch.zeros(1, 3, *SIZE), [model.prepare(WHITE)[1]] * 2, Filter())
    refused = {
        "takes images of 32x16 only; for 32x32, export it again: convert SOURCE TARGET.onnx --size 32x32": {
            "size": (32, 32)
        },
        "has letterbox to 32x16 in its graph, as its model was trained; leave out --placement": {"letterbox": False},
        "exact needs a file of raw predictions": {"exact": True},
    }
    for message, arguments in refused.items():
        with pytest.raises(ValueError, match=message):
            yolo.load(tiny, **arguments)  # type: ignore[arg-type]
    same = yolo.load(tiny, size=SIZE, letterbox=True, device="cpu", names=["a", "b"])
    assert same.names == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"names": None}, "'names'"),
        ({"names": "3"}, "names: 3"),
        ({"size": "[16]"}, r"size \[16\]: .*"),
        ({"letterbox": '"yes"'}, "letterbox: 'yes'"),
        ({"channels": "null"}, "channels: None"),
        ({"output": "raw"}, "'cfg'"),
    ],
)
def test_damaged_metadata(changes: dict[str, str | None], expected: str, tiny: Path) -> None:
    """Values that are missing or of another type are named."""
    import onnx

    model = onnx.load(str(tiny))
    values = {one.key: one.value for one in model.metadata_props} | changes
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {key: value for key, value in values.items() if value is not None})
    onnx.save(model, str(tiny))
    with pytest.raises(ValueError, match=rf"tiny.onnx: damaged metadata \({expected}\); export it again: convert"):
        yolo.load(tiny)


def test_copies(tiny: Path) -> None:
    """Another process gets the detector by pickle, and reads the file; a copy shares it."""
    model = yolo.load(tiny)
    for other in (pickle.loads(pickle.dumps(model)), deepcopy(model)):
        assert other.detect(WHITE, nms=0.9).scores.tolist() == model.detect(WHITE, nms=0.9).scores.tolist()
    tiny.unlink()
    assert len(deepcopy(model).detect(WHITE)) == 4
    with pytest.raises(FileNotFoundError, match="tiny.onnx: no such file"):
        pickle.loads(pickle.dumps(model))


def test_an_engine_is_for_onnx_files() -> None:
    with pytest.raises(
        ValueError, match=r"toy.cfg: --engine is for .onnx files, .* leave it out, or first: convert SOURCE TARGET.onnx"
    ):
        yolo.load("toy.cfg", engine="openvino")


def test_other_words_are_refused(tiny: Path) -> None:
    """They are not taken for fp32, nor for a package."""
    with pytest.raises(ValueError, match="precision='fp16': expected one of auto, fp32, bf16"):
        yolo.load(tiny, precision="fp16")
    with pytest.raises(ValueError, match="engine='tensorrt': expected one of onnxruntime, openvino"):
        yolo.load(tiny, engine="tensorrt")  # type: ignore[arg-type]
