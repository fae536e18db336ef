"""The numbers of `--probe`: for labels and predictions made by hand, and in a run."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.train_problems import shapes, tiny_cfg
from yolo.__main__ import main
from yolo.darknet.cfg import read_cfg
from yolo.darknet.layers import ConvBlock
from yolo.darknet.network import Darknet
from yolo.data.loader import Batch
from yolo.models.yolo import YoloDetector
from yolo.options.train import LossOptions
from yolo.training.probe import Probe
from yolo.training.run_folder import read_metrics


def silent(folder: Path, rule: str = "prior") -> YoloDetector:
    """A detector whose raw predictions are all 0: centres in the middle of cells, boxes as large as the anchors."""
    network = Darknet(read_cfg(tiny_cfg(folder)))
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    return YoloDetector(network, list("abcdef"), loss=LossOptions(assign=rule))  # type: ignore[arg-type]


def batch(*boxes: tuple[float, float, float, float]) -> Batch:
    """One grey image of 64 x 64 with objects of class 0, corners in pixels."""
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    target = {
        "boxes": corners,
        "labels": torch.zeros(len(boxes), dtype=torch.int64),
        "iscrowd": torch.zeros(len(boxes), dtype=torch.bool),
        "image_id": 1,
    }
    return Batch(torch.full((1, 3, 64, 64), 127, dtype=torch.uint8), [target])  # type: ignore[list-item]


def probe(
    detector: YoloDetector, batches: list[Batch], before: Tensor | None = None
) -> tuple[dict[str, float], Tensor]:
    """The numbers of an evaluation, and the anchor that is responsible for each label; `before` at the one before."""
    watcher = Probe(batches, nullcontext)
    watcher.load_state_dict({} if before is None else {"answers": before})
    numbers = watcher.evaluated(detector)
    return numbers, watcher.state_dict()["answers"]


def test_by_hand(tmp_path: Path) -> None:
    """A label of 10 x 10 in the middle of a cell of stride 8, at the anchor of 10 x 10: IoU 1, objectness
    0.5. No other anchor has an IoU of 0.5 with it; those of the cells beside overlap 20 of 180."""
    numbers, answers = probe(silent(tmp_path), [batch((15, 15, 25, 25))])
    assert numbers["probe/iou"] == pytest.approx(1)
    assert numbers["probe/low_iou"] == 0
    assert numbers["probe/objectness"] == pytest.approx(0.5)
    assert numbers["probe/calibration"] == pytest.approx(0.5)
    assert numbers["probe/near_misses"] == 0
    assert "probe/moved" not in numbers
    assert (numbers["probe/scale_0"], numbers["probe/scale_1"]) == (0, 1)
    assert answers.tolist() == [[-1], [1]]


def test_near_misses(tmp_path: Path) -> None:
    """A label of 16 x 16 at its anchor: that of 10 x 10 in the same cell has IoU 100/256, those of cells
    beside 1/3. If the small anchor predicts 20 x 20, with IoU 256/400, it is a near miss, and the only one."""
    label, slots = batch((12, 12, 28, 28)), 3 * (8 * 8 + 4 * 4)
    numbers, _ = probe(silent(tmp_path), [label])
    assert numbers["probe/iou"] == pytest.approx(1)
    assert numbers["probe/near_misses"] == 0
    detector = silent(tmp_path)
    block = detector.network.layers[-2]
    assert isinstance(block, ConvBlock)
    assert block.conv.bias is not None
    with torch.no_grad():
        block.conv.bias.view(3, 11)[1, 2:4] = math.log(2)
    numbers, _ = probe(detector, [label])
    assert numbers["probe/near_misses"] == 1
    assert numbers["probe/near_objectness"] == pytest.approx(0.5)
    assert numbers["probe/near_share"] == pytest.approx(1 / (slots - 1))


def test_moved(tmp_path: Path) -> None:
    """With `prediction` the answer follows the boxes; of two labels one gets another anchor."""
    detector, seen = silent(tmp_path, "prediction"), [batch((15, 15, 25, 25), (34, 34, 46, 46))]
    _, before = probe(detector, seen)
    numbers, again = probe(detector, seen, before)
    assert numbers["probe/moved"] == 0
    changed = before.clone()
    changed[:, 0] = 0
    numbers, _ = probe(detector, seen, changed)
    assert numbers["probe/moved"] == 0.5
    assert torch.equal(before, again)


def test_it_remembers_from_one_evaluation_to_the_next(tmp_path: Path) -> None:
    """In itself and through a checkpoint; a step and the end of an epoch change nothing. Before the first evaluation
    there is nothing to remember."""
    detector, seen = silent(tmp_path, "prediction"), [batch((15, 15, 25, 25), (34, 34, 46, 46))]
    watcher = Probe(seen, nullcontext)
    assert watcher.state_dict() == {}
    assert "probe/moved" not in watcher.evaluated(detector)
    watcher.step(0, seen)
    assert watcher.epoch() == {}
    other = Probe(seen, nullcontext)
    other.load_state_dict(watcher.state_dict())
    assert watcher.evaluated(detector)["probe/moved"] == other.evaluated(detector)["probe/moved"] == 0
    other.load_state_dict({})
    assert "probe/moved" not in other.evaluated(detector)


def test_without_labels(tmp_path: Path) -> None:
    """There are no numbers and no error: images without objects are normal."""
    numbers, answers = probe(silent(tmp_path), [batch()])
    assert numbers == {}
    assert answers.shape == (2, 0)


def test_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers are in metrics.jsonl, next to the gradient norms, which every epoch has."""
    monkeypatch.chdir(tmp_path)
    data, cfg = shapes(tmp_path), tiny_cfg(tmp_path)
    command = ["--data", str(data), "--cfg", str(cfg), "--epochs", "2", "--eval-every", "1", "--out", "run", "--probe"]
    assert main(["train", *command, "--device", "cpu", "--batch-size", "4", "--warmup-steps", "1"]) == 0
    first, second = read_metrics("run")
    assert "probe/moved" not in first
    assert 0 <= second["probe/moved"] <= 1
    assert 0 < second["train/gradient"] <= second["train/gradient_max"]
    assert 0 <= second["probe/low_iou"] <= 1
