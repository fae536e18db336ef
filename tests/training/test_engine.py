"""The parts of the training loop: broken numbers, numbers on their way, weights for other classes, evaluation."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.train_problems import checkpoint, difference, shapes, tiny_cfg, words
from yolo.__main__ import main
from yolo.darknet.cfg import read_cfg, with_classes
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import save_safetensors
from yolo.darknet.transfer import transfer
from yolo.darknet.weights import save_weights
from yolo.data.datasets import open_data
from yolo.data.loader import Batch, Loader
from yolo.data.sample import Target
from yolo.data.sampler import Batches
from yolo.data.transforms import Augmented
from yolo.evaluation.detect_all import truths_in
from yolo.metrics.coco import CocoMetrics
from yolo.models.detector import Detector, Losses
from yolo.models.yolo import YoloDetector
from yolo.options.detection import EVALUATION
from yolo.options.schedule import Schedule
from yolo.options.train import Train
from yolo.training.assemble import assemble, gather
from yolo.training.batches import make_batches
from yolo.training.diagnose import NotFiniteError
from yolo.training.engine import Trainer
from yolo.training.interrupt import Interrupt
from yolo.training.precision import autocast, training_precision
from yolo.training.progress import Progress
from yolo.training.readback import Readings
from yolo.training.run_folder import read_metrics
from yolo.training.validation import Validation
from yolo.training.watch import Watcher

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images to train on, six to evaluate on."""
    return shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go into the test's own folder."""
    monkeypatch.chdir(tmp_path)


def poisoned(image_id: int) -> Callable[..., Losses]:
    """`YoloDetector.losses` with a class loss of NaN if that image is in the batch."""
    plain = YoloDetector.losses

    def losses(self: YoloDetector, images: Tensor, targets: list[Target], through: nn.Module | None = None) -> Losses:
        terms, counts, _ = plain(self, images, targets, through)
        if self.network.training and any(target["image_id"] == image_id for target in targets):
            terms["cls"] = terms["cls"] * float("nan")
        return Losses(terms, counts)

    return losses


def finite(run: Path) -> bool:
    """Return whether all tensors of a checkpoint are finite."""
    state = checkpoint(run)
    tensors = [*state["network"].values(), *state["ema"]["network"].values()]
    tensors += [value for part in state["optimizer"]["state"].values() for value in part.values()]
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


@pytest.mark.parametrize("lag", [0, 2])
def test_a_loss_that_is_not_finite(
    lag: int, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seventh of twelve images in file order, in the first of the two batches of its step, from the second epoch
    on: step, term, the images of this batch alone; the checkpoint is that of the first epoch. Also where numbers
    arrive two steps later, as from a GPU."""
    cfg = tiny_cfg(Path())
    image_id = int(open_data(data, split="train").index.image_ids[6])
    begin = Trainer._epoch

    def epoch(trainer: Trainer, interrupt: Interrupt) -> bool:
        trainer.readings.lag = lag
        if trainer.loader.epoch == 1:
            monkeypatch.setattr(YoloDetector, "losses", poisoned(image_id))
        return begin(trainer, interrupt)

    monkeypatch.setattr(Trainer, "_epoch", epoch)
    more = ["--no-shuffle", "--plain", "--batch-size", "2", "--accumulate", "2", "--ema", "0.9", "--epochs", "3"]
    assert main(["train", *words(data, cfg, "--out", "run", *more)]) == NotFiniteError.status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "a loss or a gradient is not a finite number" in error
    assert error.startswith("error: step 5: ")
    assert "cls nan" in error
    assert "Every output is finite; the gradient of layers." in error
    ids = error.partition("Images with the ids ")[2].partition(".")[0].split(", ")
    assert str(image_id) in ids
    assert len(ids) == 2
    assert checkpoint(Path("run"))["loader"]["epoch"] == 1
    assert finite(Path("run"))


def test_weights_do_not_change_from_a_broken_step_on(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If numbers arrive late, the steps in between are skipped too: the report is about the current weights."""
    trainer = assemble(gather(Train(data=str(data), cfg=tiny_cfg(Path()), out=Path("run"), **QUICK), CPU))
    trainer.readings.lag = 2
    states = []
    step = Trainer._step

    def noted(self: Trainer, batches: list[Batch]) -> None:
        step(self, batches)
        states.append({name: p.detach().clone() for name, p in self.detector.network.named_parameters()})

    monkeypatch.setattr(Trainer, "_step", noted)
    image_id = trainer.loader.batches.epoch(0)[2][0].image
    ids = open_data(data, split="train").index.image_ids
    monkeypatch.setattr(YoloDetector, "losses", poisoned(int(ids[image_id])))
    with trainer.run, pytest.raises(NotFiniteError, match="step 3: "):
        trainer.fit(Interrupt())
    assert len(states) == 4  # the fifth raises before it is noted
    assert difference(states[0], states[1])
    assert difference(states[1], states[2]) == ""
    assert difference(states[1], states[3]) == ""
    assert not (Path("run") / "last.pt").exists()


QUICK: dict[str, Any] = {
    "batch_size": 2, "workers": 0, "precision": "fp32", "epochs": 1, "schedule": Schedule(schedule="constant", lr=1e-3)
}  # fmt: skip
"""Six steps of two images."""


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layers.1.bn.weight", 3e38, "The first layer with such an output is layers.1."),
        ("layers.2.conv.weight", float("nan"), "The weights layers.2.conv.weight themselves are not finite."),
        ("layers.7.conv.bias", float("inf"), "The weights layers.7.conv.bias themselves are not finite."),
    ],
)
def test_the_first_bad_layer(name: str, value: float, message: str, data: Path) -> None:
    """It is named if its output is not finite, and if the weights themselves are not."""
    trainer = assemble(gather(Train(data=str(data), cfg=tiny_cfg(Path()), out=Path("run"), **QUICK), CPU))
    with torch.no_grad():
        trainer.detector.network.get_parameter(name).fill_(value)
    with trainer.run, pytest.raises(ValueError, match=f"^step 1: .*{re.escape(message)}"):
        trainer.fit(Interrupt())


def test_a_first_evaluation_without_a_number(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN is not a best value: any number is better. Weights are saved in the epochs that are better."""
    options = Train(data=str(data), cfg=tiny_cfg(Path()), out=Path("run"), **{**QUICK, "epochs": 5})
    trainer = assemble(gather(options, CPU))
    values = iter([float("nan"), 0.25, float("nan"), 0.125, 0.5])
    kept: list[int] = []
    trainer.evaluate = lambda _detector, _step: {"AP": next(values)}
    monkeypatch.setattr(YoloDetector, "save", lambda _detector, _path: kept.append(trainer.loader.epoch - 1))
    with trainer.run:
        assert trainer.fit(Interrupt())
    assert kept == [0, 1, 4]
    assert (trainer.best.epoch, trainer.best.value) == (4, 0.5)


class Noted(Watcher):
    """A watcher that records its calls and has a number of each kind."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []

    def step(self, first: int, batches: Sequence[Batch]) -> None:
        self.calls.append(("step", (first, len(batches))))

    def evaluated(self, detector: Detector) -> dict[str, float]:
        self.calls.append(("evaluated", detector.network.training))
        return {"noted/evaluations": float(sum(name == "evaluated" for name, _ in self.calls))}

    def epoch(self) -> dict[str, float]:
        self.calls.append(("epoch", None))
        return {"noted/calls": float(len(self.calls))}

    def state_dict(self) -> dict[str, Any]:
        return {"calls": len(self.calls)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls = [("loaded", state["calls"])]


def test_watchers(data: Path) -> None:
    """Called after each step with its batches, at the end of an epoch, and at an evaluation, in this order; their
    numbers are logged; their states are in the checkpoint, by name."""
    options = Train(
        data=str(data), cfg=tiny_cfg(Path()), out=Path("run"), **{**QUICK, "epochs": 2, "accumulate": 4},
        eval_every=0,
    )  # fmt: skip
    trainer, seen = assemble(gather(options, CPU)), Noted()
    trainer.watchers["noted"] = seen
    with trainer.run:
        assert trainer.fit(Interrupt())
    steps = [("step", (0, 4)), ("step", (4, 2))]
    evaluated = [("evaluated", True)]
    assert seen.calls == [*steps, ("epoch", None), *steps, ("epoch", None), *evaluated]
    first, second = read_metrics("run")
    assert first["noted/calls"] == 3
    assert "noted/evaluations" not in first
    assert (second["noted/calls"], second["noted/evaluations"]) == (6, 1)
    state = checkpoint(Path("run"))
    assert state["watchers"] == {"noted": {"calls": 7}}
    trainer.load_state_dict(state)
    assert seen.calls == [("loaded", 7)]


def test_options_enable_watchers(data: Path) -> None:
    """There are none by default; `glance` and `probe` are enabled by their options."""
    options = Train(data=str(data), cfg=tiny_cfg(Path()), out=Path("run"), **QUICK)
    neither = assemble(gather(options, CPU))
    both = assemble(gather(replace(options, out=Path("both"), glance=3, probe=True), CPU))
    for trainer in (neither, both):
        trainer.run.close()  # its thread writes until then, into a folder that the next test does not have
    assert neither.watchers == {}
    assert {name: type(watcher).__name__ for name, watcher in both.watchers.items()} == {
        "glance": "Glance", "probe": "Probe"
    }  # fmt: skip


def test_losses_go_through_what_wraps_the_network(detector: YoloDetector, data: Path) -> None:
    """DDP and torch.compile see the forward pass; the terms and the counts are those of the network itself."""
    images = open_data(data, split="train")
    size = detector.size
    batch = next(iter(Loader(Augmented(images), Batches(len(images), 4, size, shuffle=False))))
    passed: list[torch.Size] = []

    class Wrapped(nn.Module):
        def forward(self, pixels: Tensor) -> list[Tensor]:
            passed.append(pixels.shape)
            raw: list[Tensor] = detector.network(pixels)
            return raw

    detector.network.eval()
    own, other = detector.losses(*batch), detector.losses(*batch, through=Wrapped())
    assert passed == [torch.Size([4, 3, 64, 64])]
    assert difference(own.terms, other.terms) == ""
    assert difference(own.counts, other.counts) == ""
    assert tuple(own.terms) == detector.terms
    assert all(term.requires_grad and term.ndim == 0 for term in own.terms.values())
    objects = sum(int((~target["iscrowd"]).sum()) for target in batch.targets)
    assert int(own.counts["labels"]) == objects > 0
    assert int(own.counts["positives"]) >= objects - int(own.counts["unmatched"]) > 0


def test_readings_of_a_cpu_arrive_immediately() -> None:
    """In order, with what they are about."""
    readings = Readings(CPU)
    for step in (1, 2):
        readings.put(step, torch.tensor([step / 4, 7.0]), f"batch {step}")
        assert list(readings.take()) == [(step, [step / 4, 7.0], f"batch {step}")]
    assert list(readings.take(everything=True)) == []


def test_readings_that_lag() -> None:
    """Each arrives two steps later, and at the end all that are left."""
    readings = Readings(CPU)
    readings.lag = 2
    came = []
    for step in range(1, 6):
        readings.put(step, torch.tensor([float(step)]), None)
        came.append([reading.step for reading in readings.take()])
    assert came == [[], [], [1], [2], [3]]
    assert [reading.values for reading in readings.take(everything=True)] == [[4.0], [5.0]]


def test_the_arithmetic() -> None:
    """bf16 rounds inputs, fp32 changes nothing; float16 is refused on a CPU."""
    assert training_precision("fp32", CPU) == torch.float32
    assert training_precision("bf16", CPU) == torch.bfloat16
    assert training_precision("auto", CPU) in (torch.float32, torch.bfloat16)
    with pytest.raises(ValueError, match="precision fp16 on a CPU: expected bf16 or fp32"):
        training_precision("fp16", CPU)
    matrix = torch.full((2, 2), 1 + 2.0**-12)
    with autocast(CPU, torch.bfloat16):
        rounded = matrix @ matrix
    with autocast(CPU, torch.float32):
        whole = matrix @ matrix
    assert rounded.dtype == torch.bfloat16
    assert whole.dtype == torch.float32
    assert float(rounded[0, 0]) == 2
    assert float(whole[0, 0]) == pytest.approx(2 * (1 + 2.0**-12) ** 2, rel=1e-6)


@pytest.fixture
def network() -> Darknet:
    """The tiny network with weights and biases that no initialisation gives."""
    torch.manual_seed(1)
    network = Darknet(read_cfg(tiny_cfg(Path())))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.25)
    return network


@pytest.mark.parametrize("file", ["a.safetensors", "a.weights"])
def test_transfer_to_the_same_network(file: str, network: Darknet) -> None:
    """Every tensor, bit for bit."""
    names = list("abcdef")
    if file == "a.weights":
        save_weights(network, Path(file))
    else:
        save_safetensors(network, file, names)
    other = Darknet(network.cfg)
    table, initial, _ = transfer(other, Path(file), names)
    assert file in table
    assert initial == frozenset()
    own = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert difference(own, {k: other.state_dict()[k] for k in own}) == ""


@pytest.mark.parametrize("file", ["a.safetensors", "a.weights"])
def test_transfer_to_other_classes(file: str, network: Darknet) -> None:
    """The convolutions before the heads have initial weights, and are named."""
    if file == "a.weights":
        save_weights(network, Path(file))
    else:
        save_safetensors(network, file, list("abcdef"))
    other = Darknet(with_classes(network.cfg, 2))
    table, initial, _ = transfer(other, Path(file), ["x", "y"])
    assert initial == {4, 7}
    assert "initial" in table
    assert torch.equal(other.get_parameter("layers.0.conv.weight"), network.get_parameter("layers.0.conv.weight"))
    assert not other.get_parameter("layers.7.conv.bias").any()


def test_transfer_from_another_network(network: Darknet, tmp_path: Path) -> None:
    """Refused with the first tensor that does not fit, or is of another type, and nothing is changed."""
    save_safetensors(Darknet(read_cfg(tiny_cfg(tmp_path, norm=False))), "plain.safetensors", list("abcdef"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match="plain.safetensors: for layers.0.bn.weight .* it is of another network"):
        transfer(network, Path("plain.safetensors"), list("abcdef"))
    save_safetensors(Darknet(network.cfg).half(), "half.safetensors", list("abcdef"))
    with pytest.raises(ValueError, match=r"half.safetensors: its tensor layers\.0\.conv\.weight has torch.float16"):
        transfer(network, Path("half.safetensors"), list("abcdef"))
    assert difference(before, dict(network.state_dict())) == ""


@pytest.fixture
def detector(network: Darknet) -> YoloDetector:
    """A detector for the classes of the embedded set."""
    from yolo.data.shapes.figures import NAMES

    return YoloDetector(network, list(NAMES))


def test_validation_by_hand(detector: YoloDetector, data: Path) -> None:
    """The metrics of detections image by image; the loss as the mean over images."""
    images = open_data(data, split="val")
    found = Validation(images, detector, arithmetic=lambda: autocast(CPU, torch.float32))(detector)
    metrics, truths = CocoMetrics(list(images.names)), truths_in(images)
    for k in range(len(images)):
        pixels, placement = detector.prepare(images.path(k))
        seen = detector.detect_batch(pixels[None], [placement], EVALUATION)  # not clipped to the image, as metrics are
        own = truths.image == k
        target = {"image_id": int(images.index.image_ids[k]), "boxes": truths.boxes[own]}
        target |= {"labels": truths.label[own], "iscrowd": truths.crowd[own], "area": truths.area[own]}
        metrics.update(seen, [target])
    assert {name: found[name] for name in metrics.compute().numbers()} == metrics.compute().numbers()
    loss, *terms = (found[f"val/{name}"] or 0.0 for name in ("loss", "box", "obj", "cls"))
    assert loss == pytest.approx(sum(terms))


@pytest.mark.drawn
@pytest.mark.parametrize("training", [True, False])
def test_validation_leaves_no_trace(training: bool, detector: YoloDetector, data: Path) -> None:
    """Mode, weights, statistics of batch norm, gradients and random numbers are what they were."""
    images = open_data(data, split="val")
    validation = Validation(images, detector, arithmetic=lambda: autocast(CPU, torch.float32))
    network = detector.network.train(training)
    network.get_parameter("layers.0.conv.weight").grad = torch.ones(8, 3, 3, 3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    chance, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    first = validation(detector)
    assert validation.sheet(detector).shape == (2 * 64, 6 * 64, 3)
    assert validation(detector) == first
    assert all(module.training == training for module in network.modules())
    assert difference(before, dict(network.state_dict())) == ""
    assert torch.equal(torch.get_rng_state(), chance)
    assert np.array_equal(np.random.get_state()[1], numpys)  # type: ignore[index]
    gradient = network.get_parameter("layers.0.conv.weight").grad
    assert gradient is not None
    assert float(gradient.sum()) == 216


def test_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A run of 30 epochs of 12 batches is resumed in the last epoch. After ten measured batches of a second each, half
    of it waiting, no time is left, and data loading is the limit."""
    clock = iter(range(1000))
    monkeypatch.setattr("yolo.training.progress.time.perf_counter", lambda: next(clock) / 2)
    progress = Progress(12, Train(epochs=30, batch_size=8, workers=0))
    batches: list[Any] = list(range(12))
    with progress.epoch(29, 0) as bar:
        assert list(bar.timed(batches)) == batches
    said = capsys.readouterr().out
    assert said.startswith("8.0 images/s, about 0 s left")
    assert "data loading is the limit, 50% of the time is spent waiting for it; --workers 2, or --cache ram" in said
    with progress.epoch(0, 11) as bar:
        list(bar.timed(batches[:1]))
    assert progress.left == 29 * 12


def test_a_batch_that_processes_cannot_share(
    detector: YoloDetector, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused with both numbers."""
    monkeypatch.setattr("yolo.training.batches.world_size", lambda: 2)
    options = Train(data=str(data), batch_size=3)
    with pytest.raises(ValueError, match="batch_size=3 over 2 processes: expected a multiple of them"):
        make_batches(options, open_data(data, split="train"), detector)
