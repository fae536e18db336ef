"""Pseudo-labelling: `detect --txt` and then `train --data` on what it wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import yolo
from tests.support.train_problems import tiny_cfg, words
from yolo.__main__ import main
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import save_safetensors
from yolo.images.files import write_image
from yolo.options.detection import Filter
from yolo.options.presets import read_options
from yolo.training.sets import open_sets

NAMES = ["one", "two words", "#3", "4: four", "犬", "f"]
SIZES = [
    (48, 64),
    (1080, 1920),
    (333, 47),
    (64, 64),
    (90, 61),
    (61, 90),
    (2000, 3000),
    (30, 200),
    (70, 70),
    (50, 52),
    (99, 101),
]
"""Height and width of the images; numbers that fractions of few digits would not give back."""


def test_train_opens_what_detect_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both commands as they are documented; the objects of the run are the detections, clipped, to 1e-3 pixels."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(2)
    network = Darknet(read_cfg(tiny_cfg(tmp_path)))
    save_safetensors(network, tmp_path / "tiny.safetensors", NAMES, letterbox=False)
    for k, (h, w) in enumerate(SIZES):
        pixels = np.random.default_rng(k).integers(0, 256, (h, w, 3), dtype=np.uint8)
        write_image(Path(f"photos/{'ab'[k % 2]}/{k // 2}.png"), pixels)
    given = ["--recursive", "--weights", "tiny.safetensors", "--device", "cpu", "--conf", "0.3", "--max-det", "20"]
    assert main(["detect", "photos/", "--txt", "--out", "found", *given]) == 0
    assert main(["train", *words(Path("found"), tiny_cfg(tmp_path), "--out", "run", "--epochs", "1")]) == 0
    # What the run trained and evaluated on, image by image.
    model = yolo.load("tiny.safetensors", device="cpu")
    seen, outside = 0, False
    for data in open_sets(read_options(Path("run/options.yaml"))):
        assert data.names == NAMES
        for k in range(len(data)):
            image, target = data.sample(k)
            pixels = image.permute(1, 2, 0).numpy()
            found = model.detect(pixels, Filter(confidence=0.3, max_detections=20))
            prepared, placement = model.prepare(pixels)
            (free,) = model.detect_batch(prepared[None], [placement], Filter(confidence=0.3, max_detections=20))
            outside |= bool((free.boxes < 0).any())
            assert len(found) > 0
            boxes = target["boxes"].as_subclass(torch.Tensor)
            assert boxes.allclose(found.boxes, atol=1e-3, rtol=0)
            assert target["labels"].equal(found.labels)
            seen += 1
    assert seen == len(SIZES)
    assert outside
