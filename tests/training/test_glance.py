"""The numbers of `--glance`: sure detections right after the step, without effect on the run."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.train_problems import (
    checkpoint,
    difference,
    ended,
    numbers,
    process,
    same_run,
    shapes,
    tiny_cfg,
    words,
)
from tests.training.test_probe import batch, probe, silent
from yolo.__main__ import main
from yolo.models.yolo import YoloDetector
from yolo.training.engine import Trainer
from yolo.training.glance import Glance


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go into the test's own folder."""
    monkeypatch.chdir(tmp_path)


def constant(folder: Path, objectness: float, *classes: float) -> YoloDetector:
    """A detector with these logits everywhere in the fine head's anchor of 10 x 10."""
    detector = silent(folder)
    coarse, fine = biases(detector)
    with torch.no_grad():
        coarse[:, 4] = fine[:, 4] = -20
        fine[1, 4] = objectness
        fine[1, 5:] = torch.tensor([*classes, *[-20.0] * (6 - len(classes))])
    return detector


def biases(detector: YoloDetector) -> list[Tensor]:
    """Return the biases of the convolution before each head, `[A, 11]`."""
    blocks = [detector.network.layers[index - 1] for index in detector.network.cfg.heads]
    return [block.get_parameter("conv.bias").view(3, 11) for block in blocks]


def glance(detector: YoloDetector, *boxes: tuple[float, float, float, float]) -> dict[str, float]:
    """Return the numbers of `--glance` for one image."""
    look = Glance(detector, 1, nullcontext)
    look.step(0, [batch(*boxes)])
    assert look.evaluated(detector) == {}
    return look.epoch()


def test_only_what_is_sure_counts(tmp_path: Path) -> None:
    """64 boxes, one of them at the only object. All have the same confidence, and that one is the tenth in darknet's
    order: precision is 1/10 at recall 1. Boxes with a confidence below 0.3 do not count."""
    assert glance(constant(tmp_path, 20, 20), (7, 7, 17, 17)) == {
        "glance/AP50": pytest.approx(0.1),
        "glance/AP50_batch": pytest.approx(0.1),
    }
    assert glance(constant(tmp_path, -0.9, 20), (7, 7, 17, 17))["glance/AP50"] == 0  # confidence 0.289
    assert glance(constant(tmp_path, -0.8, 20), (7, 7, 17, 17))["glance/AP50"] == pytest.approx(0.1)  # 0.310


def test_which_batches(tmp_path: Path) -> None:
    """Every third of ten batches, for any number of batches in a step."""
    detector = constant(tmp_path, 20, 20)
    for size in (1, 2, 3, 5, 10):
        look = Glance(detector, 3, nullcontext)
        batches = [batch((7, 7, 17, 17)) for _ in range(10)]
        for k, one in enumerate(batches):
            one.targets[0]["image_id"] = k
        for first in range(0, 10, size):
            look.step(first, batches[first : first + size])
        ids = look.state_dict()["AP50"]["image_ids"]
        assert ids.tolist() == [0, 3, 6, 9]


def test_sure_detections_in_the_probe(tmp_path: Path) -> None:
    """The object of class 0 in the second cell is found, with two classes: the one of class 1 is false, and so are the
    63 other boxes of each class. An object of 10 x 10 between two cells overlaps neither by 0.5."""
    found, _ = probe(constant(tmp_path, 20, 20, 15), [batch((7, 7, 17, 17))])
    assert found["probe/sure_found"] == 1
    assert found["probe/sure_AP50"] == pytest.approx(0.1)
    assert found["probe/duplicates"] == 0
    assert found["probe/false"] == 127


def test_duplicates(tmp_path: Path) -> None:
    """Boxes of 20 x 20 every 8 pixels: an object of 20 x 20 is overlapped by its own box, and by 12/28 by the next,
    so none is a duplicate. A wider object of 28 x 20 over two cells is found by one, the other is its duplicate."""
    detector = constant(tmp_path, 20, 20)
    with torch.no_grad():
        biases(detector)[1][1, 2:4] = math.log(2)
    found, _ = probe(detector, [batch((18, 18, 38, 38))])
    assert found["probe/duplicates"] == 0
    found, _ = probe(detector, [batch((18, 18, 46, 38))])
    assert found["probe/sure_found"] == 1
    assert found["probe/duplicates"] == 1


def test_no_trace(tmp_path: Path) -> None:
    """Weights, averages of batch norm, optimizer and random numbers are those of a run without it, bit for bit."""
    data, cfg = shapes(tmp_path), tiny_cfg(tmp_path)
    assert main(["train", *words(data, cfg, "--out", "without", "--no-check")]) == 0
    assert main(["train", *words(data, cfg, "--out", "with", "--glance", "2", "--no-check")]) == 0
    one, other = checkpoint(Path("without")), checkpoint(Path("with"))
    assert (one.pop("watchers"), other.pop("watchers").keys()) == ({}, {"glance"})
    assert difference(one, other) == ""
    extra = [
        row.keys() - plain.keys() for plain, row in zip(numbers(Path("without")), numbers(Path("with")), strict=True)
    ]
    assert extra == [{"glance/AP50", "glance/AP50_batch"}] * 2


def test_training_mode_has_the_statistics_of_the_batch(tmp_path: Path) -> None:
    """A network with batch norm: the two modes differ, the running statistics do not move, in either mode."""
    detector = silent(tmp_path)
    torch.manual_seed(0)
    for parameter in detector.network.parameters():
        torch.nn.init.normal_(parameter)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    detector.network.train()
    before = {name: buffer.clone() for name, buffer in detector.network.named_buffers()}
    look = Glance(detector, 1, nullcontext)
    evaluated, trained = look._predict(images, False), look._predict(images, True)
    assert detector.network.training
    assert all(torch.equal(before[name], buffer) for name, buffer in detector.network.named_buffers())
    with torch.no_grad():
        expected: list[Tensor] = detector.network(images / 255)
    assert torch.equal(trained[0], expected[0])
    assert not torch.equal(trained[0], evaluated[0])


def test_resume_within_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted after the first of three steps, whose batch was examined: the numbers are those of the whole run."""
    data, cfg = shapes(tmp_path), tiny_cfg(tmp_path)
    more = ["--glance", "2", "--eval-every", "0", "--no-check"]
    assert main(["train", *words(data, cfg, "--out", "whole", *more)]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_all_agree", lambda *_: True)
        assert main(["train", *words(data, cfg, "--out", "parts", *more)]) == 130
    assert main(["train", "--resume", "parts"]) == 0
    assert same_run(Path("whole"), Path("parts")) == ""


def test_one_process_only(tmp_path: Path) -> None:
    """With several, it would see only the images of one."""
    data, cfg = shapes(tmp_path), tiny_cfg(tmp_path)
    child = process(*words(data, cfg, "--out", tmp_path / "run", "--glance", 2), ranks=2)
    _, error = ended(child)
    assert child.returncode != 0
    assert "glance=2: it sees the images of one process; leave it out" in error
