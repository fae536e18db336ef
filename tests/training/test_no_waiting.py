"""A whole training step, and detection up to the predictions, on a GPU without values: nothing waits for the device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from tests.support.fake_gpu import GPU, Strict, WaitsError, fake_gpu, moved, without_modes
from tests.support.train_problems import tiny_cfg
from yolo.darknet.cfg import parse_cfg, read_cfg
from yolo.darknet.network import Darknet
from yolo.data.loader import Batch
from yolo.data.sample import make_target
from yolo.detection.labels import pack_labels
from yolo.models import by_cfg, yolo
from yolo.models.by_cfg import CfgDetector, recipe_for
from yolo.models.yolo import YoloDetector
from yolo.options.loss import LossOptions
from yolo.options.train import Train
from yolo.size import Size
from yolo.training.engine import Trainer
from yolo.training.optimizer import make_optimizer

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")  # when it is copied

SIZE = Size(64, 64)

NAMES = [f"class {k}" for k in range(6)]


def batch(images: int = 2) -> Batch:
    """Return a batch with two objects in each image; its pixels have no values within `fake_gpu`, its targets do."""
    pixels = torch.empty(images, *SIZE, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    return Batch(pixels, [TARGET] * images)


def _target() -> Any:
    boxes = torch.tensor([[3.0, 4, 20, 30], [30, 30, 60, 61]])
    none = torch.zeros(2, dtype=torch.bool)
    return make_target(boxes, torch.tensor([1, 5]), 7, none, torch.tensor([400.0, 900]), SIZE)


TARGET = _target()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Strict]:
    """A GPU without values. Labels are made on the host, from real targets."""
    for module in (yolo, by_cfg):
        monkeypatch.setattr(module, "pack_labels", without_modes(pack_labels))
    with fake_gpu(monkeypatch) as strict:
        yield strict


def detector(folder: Path, **loss: Any) -> YoloDetector:
    """Return a YOLO with a tiny network on the GPU."""
    network = Darknet(read_cfg(tiny_cfg(folder)))
    moved(network)
    return YoloDetector(network, NAMES, loss=LossOptions(**loss))


def trainer(found: YoloDetector, precision: torch.dtype, **options: Any) -> Trainer:
    """Return a trainer of the detector; what comes between steps is missing."""
    given = Train(**options)
    optimizer = make_optimizer(found.network, given.optimizer, 0.1, 0.9, 1e-4)
    nothing: Any = None
    loader: Any = _Loader()
    return Trainer(
        found, loader, optimizer, lambda step: 0.1 / step, evaluate=lambda *_: {}, run=nothing, options=given,
        precision=precision, wrapped=None, watchers={},
    )  # fmt: skip


class _Loader:
    """As much of a loader as a step needs."""

    workers, position, epoch = 0, 1, 0

    def __len__(self) -> int:
        return 4


def steps(made: Trainer, gpu: Strict) -> None:
    """Take two steps, of one and of two batches: the first one begins with an empty optimizer."""
    made.detector.network.train()
    for step in (1, 2):
        made.detector.begin_step(step)
        batches = [batch()] * step
        with gpu.nothing_waits():
            for k, one in enumerate(batches, 1):
                made._batch(one, step, first=k == 1, last=k == step)
            made._step(batches)


STEPS: dict[str, tuple[dict[str, Any], dict[str, Any], torch.dtype]] = {
    "sgd": ({"optimizer": "sgd"}, {}, torch.bfloat16),
    "adam": ({"optimizer": "adam", "clip": 1.0}, {"bbox_loss": "ciou", "obj_label": "iou"}, torch.bfloat16),
    "adamw": ({"optimizer": "adamw", "ema": 0.99}, {"assign": "prior", "ignore_thresh": 0.5}, torch.float32),
    "scaled": ({"optimizer": "sgd", "ema": 0.99}, {"assign": "prediction", "focal_gamma": 2.0}, torch.float16),
}


@pytest.mark.parametrize("name", STEPS)
def test_no_step_waits(name: str, gpu: Strict, tmp_path: Path) -> None:
    """Forward, loss, backward, clipping, optimizer, average, totals, and the copy of the numbers to the host."""
    options, loss, precision = STEPS[name]
    made = trainer(detector(tmp_path, **loss), precision, **options)
    steps(made, gpu)
    assert len(made.readings._waiting) == 2
    assert all(values.device.type == "cpu" for _, values, *_ in made.readings._waiting)
    assert made.totals.images == 6
    assert gpu.counts["aten.convolution.default"] == 3 * 6
    assert gpu.counts["aten.convolution_backward.default"] == 3 * 6


def test_no_step_of_darknets_recipe_waits(gpu: Strict, tmp_path: Path) -> None:
    """The same with darknet's loss, whose parameters are frozen and thawed."""
    text = tiny_cfg(tmp_path).read_text().replace("channels=3", "channels=3\nbatch=4\nmax_batches=9\nlearning_rate=0.1")
    cfg = parse_cfg(text.replace("pad=1", "pad=1\nstopbackward=2", 1))
    network = Darknet(cfg)
    moved(network)
    made = trainer(CfgDetector(network, NAMES, recipe_for(cfg, 0, 0)), torch.float32, optimizer="sgd")
    steps(made, gpu)
    assert made.totals.images == 6


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_prediction_waits(precision: str, gpu: Strict, tmp_path: Path) -> None:
    """From uint8 images on the host to raw predictions on the device."""
    found = detector(tmp_path).replace(precision=precision).own()
    images = torch.empty(2, *SIZE, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    found.predict(images)  # makes the inference copy
    with gpu.nothing_waits():
        raw = found.predict(images)
    assert [(tuple(one.shape), one.device.type, one.dtype) for one in raw] == [
        ((2, 3, 4, 4, 11), "cuda", torch.float32),
        ((2, 3, 8, 8, 11), "cuda", torch.float32),
    ]


WAITING: dict[str, Any] = {
    "item": lambda x: x.sum().item(),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "to the host": lambda x: x.cpu(),
    "from the host": lambda x: torch.zeros(3).to(GPU),
    "a list": lambda x: torch.tensor([1.0, 2.0], device=GPU),
    "new_tensor": lambda x: x.new_tensor([1.0, 2.0]),
    "copy_": lambda x: x.copy_(torch.zeros(3)),
}


@pytest.mark.parametrize("name", WAITING)
def test_what_waits_is_found(name: str, gpu: Strict) -> None:
    """The errors that the tests above rely on."""
    found = torch.zeros(3, device=GPU)
    with pytest.raises((WaitsError, DataDependentOutputException, DynamicOutputShapeException)), gpu.nothing_waits():
        WAITING[name](found)


def test_the_engine_of_the_tests_is_pytorchs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients of a step by the walk of `fake_gpu` are those of `Tensor.backward`, on the CPU with values."""
    from tests.support import fake_gpu as module

    gradients: list[dict[str, Tensor]] = []
    for walk in (None, module.backward):
        torch.manual_seed(0)
        found = YoloDetector(Darknet(read_cfg(tiny_cfg(tmp_path))), NAMES)
        images = (torch.rand(2, *SIZE, 3) * 255).to(torch.uint8).permute(0, 3, 1, 2)
        loss = sum(found.losses(images, [TARGET] * 2).terms.values(), torch.zeros(()))
        loss.backward() if walk is None else walk(loss)
        named = found.network.named_parameters()
        gradients.append({name: p.grad for name, p in named if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)
