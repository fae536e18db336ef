"""Models that forget the mode of their network, planted; statistics that do not settle; what the thresholds leave."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support.preflight_problems import norm_model, said
from tests.support.train_problems import difference, shapes
from yolo.options.presets import parse_train
from yolo.preflight.modes import modes
from yolo.preflight.subject import Subject
from yolo.training.assemble import Parts, gather


def norm_parts(folder: Path, *more: str) -> Parts:
    """Return the parts of a run of the model `norm`."""
    words = ["--model", "norm", "--data", str(shapes(folder)), "--batch-size", "8", "--workers", "0", "--device", "cpu"]
    schedule = ["--schedule", "constant", "--lr", "1e-2", "--warmup-steps", "0", "--precision", "fp32"]
    return gather(parse_train([*words, *schedule, *more]), torch.device("cpu"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths are in the test's own folder."""
    monkeypatch.chdir(tmp_path)


def test_a_model_as_it_should_be(tmp_path: Path) -> None:
    """Three lines with their numbers; the detector of the run stays as it was."""
    with norm_model():
        parts = norm_parts(tmp_path)
        before = {name: tensor.clone() for name, tensor in parts.detector.network.state_dict().items()}
        lines = list(modes(Subject(parts)))
        assert said(lines) == []
        assert [line.check for line in lines] == ["evaluation mode", "thresholds", "batch statistics"]
        assert lines[1].sentence.startswith(
            "detections after 20 steps on 12 images with 43 objects: 12 above 0.25, 12 ab"
        )
        assert difference(dict(parts.detector.network.state_dict()), before) == ""


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("forgets", "detections differ between a network in training mode and one in evaluation mode"),
        ("stays", "detection does not put the network back into training mode"),
    ],
)
def test_a_model_that_forgets_the_mode(mode: str, words: str, tmp_path: Path) -> None:
    """Named, and nothing else."""
    with norm_model(mode):
        lines = list(modes(Subject(norm_parts(tmp_path))))
    assert said(lines) == [("FAIL", "evaluation mode")]
    assert lines[0].sentence == words
    assert "network.eval()" in lines[0].remedy


def test_statistics_that_do_not_settle(tmp_path: Path) -> None:
    """A batch norm that hardly looks at its batches."""
    with norm_model(momentum=1e-5):
        parts = norm_parts(tmp_path, "--lr", "1e-1")
        with torch.no_grad():
            parts.detector.network.get_parameter("conv.weight").mul_(100)
        lines = list(modes(Subject(parts)))
    assert said(lines) == [("WARN", "batch statistics")]
    assert "batch norm" in lines[-1].remedy


def test_too_little_time(tmp_path: Path) -> None:
    """One step; statistics that could not settle are not judged."""
    with norm_model():
        lines = list(modes(Subject(norm_parts(tmp_path), seconds=0)))
    assert said(lines) == [("SKIP", "batch statistics")]
    assert "after 1 steps" in lines[1].sentence


def test_a_network_without_anything_to_train(tmp_path: Path) -> None:
    """Frozen as a whole: another check says so."""
    with norm_model():
        parts = norm_parts(tmp_path)
        parts.detector.network.requires_grad_(False)
        assert said(modes(Subject(parts))) == []


def test_dropout_is_off_in_detection(tmp_path: Path) -> None:
    """A network of random answers in training mode."""

    class Noise(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return maps + torch.rand_like(maps) if self.training else maps

    for mode, expected in (("right", []), ("forgets", [("FAIL", "evaluation mode")])):
        with norm_model(mode):
            parts = norm_parts(tmp_path)
            parts.detector.network.norm = nn.Sequential(parts.detector.network.get_submodule("norm"), Noise())
            assert said(modes(Subject(parts))) == expected
