"""ONNX files: every layer kind through onnxruntime, and exports that fail."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.golden_nets import CASES, golden_network, in_darknets_memory
from yolo.darknet import onnx_file as export
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.onnx_file import export_onnx

MISSING = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(
    bool(MISSING), reason=f"{' and '.join(MISSING)} not installed: NO ONNX EXPORT WAS TRIED"
)


def session(path: Path) -> Any:
    return importlib.import_module("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])


@needs_onnx
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_layer_kind_gives_darknets_heads(case: Path, tmp_path: Path) -> None:
    """Raw predictions on darknet's input, activated by the heads: darknet's numbers. Ordinary operators only."""
    network, file = golden_network(case), tmp_path / "deep" / "a.onnx"
    assert export_onnx(network, file) < 1e-4
    assert [entry.name for entry in file.parent.iterdir()] == ["a.onnx"]
    model = importlib.import_module("onnx").load(str(file))
    assert {node.domain for node in model.graph.node} == {""}
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    running = session(file)
    assert [output.name for output in running.get_outputs()] == [f"head_{s}" for s in range(len(network.heads))]
    raw = running.run(None, {"images": np.load(case / "input.npy")})
    expected = np.load(case / "output.npz")
    for s, head in enumerate(network.heads):
        found = in_darknets_memory(head, torch.from_numpy(raw[s])).numpy()
        np.testing.assert_allclose(found, expected[f"head_{s}"], rtol=0, atol=1e-4)


@needs_onnx
def test_size_batch_and_opset(tmp_path: Path) -> None:
    """Another size than the cfg's, any batch or exactly one; the training network is as it was."""
    torch.manual_seed(0)
    network = Darknet(read_cfg("toy.cfg")).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    export_onnx(network, tmp_path / "any.onnx", (64, 96))
    assert network.training
    assert all(before[key].equal(value) for key, value in network.state_dict().items())
    images = torch.rand(3, 3, 64, 96)
    found = session(tmp_path / "any.onnx").run(None, {"images": images.numpy()})
    with torch.no_grad():
        for a, b in zip(found, network.eval()(images), strict=True):
            np.testing.assert_allclose(a, b.numpy(), rtol=1e-4, atol=1e-4)
    export_onnx(network, tmp_path / "one.onnx", (64, 96), opset=13, dynamic_batch=False)
    assert session(tmp_path / "one.onnx").get_inputs()[0].shape == [1, 3, 64, 96]


@needs_onnx
def test_a_file_that_disagrees_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one for a size that does not fit, or with NaN weights; an older file stays."""
    network, file = Darknet(read_cfg("toy.cfg")), tmp_path / "a.onnx"
    file.write_bytes(b"older")
    with pytest.raises(ValueError, match=r"\[route\] \(layer 24\)"):
        export_onnx(network, file, (100, 96))
    difference = export._difference
    monkeypatch.setattr(export, "_difference", lambda *arguments: difference(*arguments) + 0.5)
    with pytest.raises(
        ValueError, match=r"a.onnx: not written, since onnxruntime's predictions differ .* by 0.5, more"
    ):
        export_onnx(network, file, (64, 64))
    monkeypatch.setattr(export, "_difference", difference)
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="by nan, more than 0.001"):
        export_onnx(network, file, (64, 64))
    assert file.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_missing_packages_are_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra to install, before any work is done."""
    monkeypatch.setitem(sys.modules, "onnx", sys)  # any module: this test runs without the real one
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs the package {package} .* pip install 'exact-yolov3\[onnx\]'"):
        export_onnx(Darknet(read_cfg("toy.cfg")), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
