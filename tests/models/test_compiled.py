"""`compile=True`: one place makes the copy faster, or says that it cannot."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

import yolo
from yolo.darknet import current_copy
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.models.yolo import YoloDetector


def test_no_effect_on_a_cpu(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once for all detections, and the numbers are the same."""
    torch.manual_seed(0)
    plain = yolo.load("toy.cfg", device="cpu")
    assert isinstance(plain, YoloDetector)
    caplog.set_level(logging.WARNING, "yolo")
    detector = plain.replace(compile=True)
    images = torch.rand(1, 3, 64, 64)
    for _ in range(2):
        assert all(a.equal(b) for a, b in zip(detector.predict(images), plain.predict(images), strict=True))
    assert caplog.text.count("--compile has no effect on cpu") == 1


def test_the_compiled_copy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only by detectors that ask for it; copies of both kinds live side by side."""
    made: list[Darknet] = []

    def compiled(network: Darknet) -> Darknet:
        made.append(network)
        return network

    monkeypatch.setattr(current_copy, "compiled", compiled)
    copies = current_copy.CurrentCopy(Darknet(read_cfg("toy.cfg")), shared=False)
    plain = copies.get(torch.float32)
    assert made == []
    fast = copies.get(torch.float32, compile=True)
    assert made == [fast]
    assert fast is not plain
    assert copies.get(torch.float32, compile=True) is fast
    assert copies.get(torch.float32) is plain


def test_exported_files_are_not_compiled(tmp_path: Path) -> None:
    """The error names the option."""
    (tmp_path / "a.onnx").write_bytes(b"onnx")
    with pytest.raises(ValueError, match=r"a\.onnx: --compile is for weights that PyTorch computes"):
        yolo.load(tmp_path / "a.onnx", device="cpu", compile=True)
