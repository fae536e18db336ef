"""The checks of learning: each planted fault is named by its check alone, and sound runs pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.single_problems import singles, tiny_backbone
from tests.support.train_problems import difference, shapes, tiny_cfg
from yolo.data.sample import make_target
from yolo.models.detector import Detector, Losses
from yolo.models.single import SingleObjectDetector
from yolo.models.yolo import YoloDetector
from yolo.options.presets import parse_train
from yolo.preflight import learning as module
from yolo.preflight.learning import learning
from yolo.preflight.line import Line
from yolo.preflight.subject import Subject, undisturbed
from yolo.training.assemble import gather

CHECKS = ["gradients", "start loss", "learning rate", "one batch"]

AGES = 1e9
"""So many seconds that no check does less."""

QUICK = {"IMAGES": 4, "RATE_STEPS": 8, "BATCH_STEPS": 60}
"""Less than usual."""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return the command line of a small run of each model."""
    folder = tmp_path_factory.mktemp("learning")
    data, one, backbone = shapes(folder), singles(folder), tiny_backbone(folder / "backbone")
    cached = ["--backbone", backbone, "--target", "disc", "--negative-ratio", "None"]
    made = {
        "toy": ["--data", data, "--cfg", "toy.cfg", "--size", "96"],
        "tiny": ["--data", data, "--cfg", tiny_cfg(folder)],
        "simple": ["--data", one, "--preset", "simple", "--size", "64"],
        "largest": ["--data", one, "--preset", "largest", "--size", "64", "--backbone", backbone],
        "localizer": ["--data", one, "--preset", "localizer", "--size", "64", *cached],
    }
    usual = ["--device", "cpu", "--precision", "fp32", "--workers", "0"]
    return {name: [*map(str, own), *usual] for name, own in made.items()}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the features of the localizer out of the project; take few steps."""
    monkeypatch.chdir(tmp_path)
    for name, value in QUICK.items():
        monkeypatch.setattr(module, name, value)


def subject(given: Sequence[str], seconds: float = AGES) -> Subject:
    """Return the run of a command line."""
    return Subject(gather(parse_train(given), torch.device("cpu")), seconds)


def lines_of(run: Subject, upto: str = CHECKS[-1]) -> list[Line]:
    """Return the lines on a run, as far as a check: those after it take most of the steps."""
    with undisturbed():
        return list(islice(learning(run), CHECKS.index(upto) + 1))


def bad(lines: Sequence[Line]) -> dict[str, str]:
    """Return the verdicts that are not PASS, by check. Each check says something, and a remedy only with its fault."""
    assert all(line.sentence and bool(line.remedy) == (line.verdict != "PASS") for line in lines)
    return {line.check: line.verdict for line in lines if line.verdict != "PASS"}


def plant(monkeypatch: pytest.MonkeyPatch, kind: type[Detector], change: Callable[..., Losses]) -> None:
    """Replace the losses of a model by `change(usual, detector, images, targets)`."""
    usual = kind.losses

    def losses(self: Detector, images: torch.Tensor, targets: Any, through: Any = None) -> Losses:
        return change(usual, self, images, targets)

    monkeypatch.setattr(kind, "losses", losses)


@pytest.mark.parametrize("name", ["toy", "tiny", "simple", "largest", "localizer"])
def test_a_sound_run_passes_and_is_left_alone(name: str, words: dict[str, list[str]]) -> None:
    """All four checks pass; weights and statistics of the run are what they were."""
    run = subject(words[name])
    network = run.parts.detector.network
    before = {key: value.clone() for key, value in network.state_dict().items()}
    lines = lines_of(run)
    assert [line.check for line in lines] == CHECKS
    assert bad(lines) == {}, lines
    assert not difference(dict(network.state_dict()), before)


@pytest.mark.parametrize("name", ["tiny", "simple"])
@pytest.mark.parametrize(("rate", "word"), [("1e3", "too high"), ("1e-10", "too low")])
def test_the_learning_rate(name: str, rate: str, word: str, words: dict[str, list[str]]) -> None:
    """A rate that is far too high or too low is named with its option."""
    option, other = ("--peak-lr", ["--lr", "0"]) if name == "tiny" else ("--lr", [])
    lines = lines_of(subject([*words[name], option, rate, *other]), "learning rate")
    assert bad(lines).keys() == {"learning rate"}, lines
    assert lines[2].sentence.startswith(word) or lines[2].verdict == "FAIL"
    assert option in lines[2].remedy
    assert ("100, a tenth" in lines[2].remedy) == (word == "too high")


def test_a_detached_branch(words: dict[str, list[str]]) -> None:
    """Parameters that no gradient reaches are named, the first three of them."""
    run = subject(words["tiny"])
    layer: Any = run.parts.detector.network.get_submodule("layers.1")
    layer.register_forward_hook(lambda module, inputs, output: output.detach())
    lines = lines_of(run, "start loss")
    assert bad(lines) == {"gradients": "FAIL"}, lines
    names = "layers.0.bn.bias, layers.0.bn.weight, layers.0.conv.weight, ..."
    assert lines[0].sentence == f"6 parameters get no gradient: {names}"


def test_a_freeze_that_is_undone(words: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen layers pass; a `begin_epoch` that trains them does not."""
    run = subject([*words["tiny"], "--freeze", "0-1"])
    assert bad(lines_of(run, "start loss")) == {}
    monkeypatch.setattr(YoloDetector, "begin_epoch", lambda self, epoch: self.network.requires_grad_(True))
    lines = lines_of(run, "start loss")
    assert bad(lines) == {"gradients": "FAIL"}
    assert "6 parameters are frozen and train" in lines[0].sentence
    assert "layers.0." in lines[0].sentence


def test_statistics_of_a_frozen_layer(words: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer whose weights are frozen and whose batch norm goes on counting is named."""
    monkeypatch.setattr(YoloDetector, "begin_epoch", lambda self, epoch: self.network.layers[0].requires_grad_(False))
    lines = lines_of(subject(words["tiny"]), "start loss")
    assert bad(lines) == {"gradients": "FAIL"}
    assert lines[0].sentence.endswith("or their statistics do: layers.0.bn.bias, layers.0.bn.weight")


def test_a_gradient_of_zero(words: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient of 0 gets a second batch before it is named, and then only a warning."""

    def without_box(least: int, usual: Any, self: Any, images: Any, targets: Any) -> Losses:
        terms, counts, _ = usual(self, images, targets)
        return Losses({**terms, "box": terms["box"] * (len(images) > least)}, counts)

    for least, verdict in ((QUICK["IMAGES"], "PASS"), (99, "WARN")):
        with monkeypatch.context() as patch:
            plant(patch, SingleObjectDetector, lambda *given, least=least: without_box(least, *given))
            line = next(learning(subject(words["simple"])))
        assert (line.check, line.verdict) == ("gradients", verdict)
        assert ("head.box.0" in line.sentence) == (verdict == "WARN")


@pytest.mark.parametrize("name", ["tiny", "simple"])
def test_a_wrong_loss_at_the_start(name: str, words: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss a thousand times as large is odd with initial weights; nothing is promised for others."""

    def larger(usual: Any, self: Any, images: Any, targets: Any) -> Losses:
        terms, counts, _ = usual(self, images, targets)
        return Losses({key: 1000 * value for key, value in terms.items()}, counts)

    run = subject(words[name])
    plant(monkeypatch, type(run.parts.detector).__mro__[1] if name == "simple" else YoloDetector, larger)
    lines = lines_of(run, "start loss")
    assert bad(lines) == {"start loss": "WARN"}, lines
    assert "initial weights promise" in lines[1].sentence
    trained = replace(run.parts, options=replace(run.parts.options, weights=Path("trained.safetensors")))
    assert lines_of(Subject(trained, AGES), "start loss")[1].verdict == "PASS"


def test_a_wrong_bias(words: dict[str, list[str]]) -> None:
    """Class logits that favour one class are odd at the start."""
    run = subject(words["simple"])
    with torch.no_grad():
        run.parts.detector.network.get_parameter("head.classifier.bias")[3] = 20
    lines = lines_of(run, "start loss")
    assert lines[1].verdict == "WARN"
    assert "cls from 0.768 to 6.91" in lines[1].sentence


def test_a_loss_that_is_not_finite(words: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, and nothing else is judged."""

    def broken(usual: Any, self: Any, images: Any, targets: Any) -> Losses:
        terms, counts, _ = usual(self, images, targets)
        return Losses({**terms, "box": terms["box"] / 0}, counts)

    plant(monkeypatch, SingleObjectDetector, broken)
    (line,) = learning(subject(words["simple"]))
    assert (line.verdict, line.check) == ("FAIL", "start loss")
    assert "box inf" in line.sentence


def test_targets_without_objects(words: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets that are all background: the loss falls, and no object is found."""

    def background(usual: Any, self: Any, images: Any, targets: Any) -> Losses:
        empty = [make_target(t["boxes"][:0], t["labels"][:0], t["image_id"], t["iscrowd"][:0], t["area"][:0],
                             t["size"]) for t in targets]  # fmt: skip
        return usual(self, images, empty)

    plant(monkeypatch, YoloDetector, background)
    lines = lines_of(subject(words["tiny"]))
    assert bad(lines) == {"one batch": "WARN"}, lines
    assert ", 0 of " in lines[3].sentence


def test_labels_that_change(words: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Other boxes and classes in each call cannot be learned."""
    random = torch.Generator().manual_seed(0)

    def other(usual: Any, self: Any, images: Any, targets: Any) -> Losses:
        changed = []
        for t in targets:
            corners = torch.rand(len(t["labels"]), 2, 2, generator=random).sort(1).values.flatten(1) * 64
            labels = torch.randint(len(self.names), t["labels"].shape, generator=random)
            changed.append(make_target(corners, labels, t["image_id"], t["iscrowd"], t["area"], t["size"]))
        return usual(self, images, changed)

    plant(monkeypatch, SingleObjectDetector, other)
    lines = lines_of(subject(words["simple"]))
    assert bad(lines) == {"one batch": "FAIL"}, lines
    assert "other ones in each call" in lines[3].remedy


def test_without_time(words: dict[str, list[str]]) -> None:
    """Without time the two checks of many steps say so; one step shows the gradients and the loss at the start."""
    lines = lines_of(subject(words["tiny"], seconds=0))
    assert bad(lines) == {"learning rate": "SKIP", "one batch": "SKIP"}
    for line in lines[2:]:
        assert line.sentence.startswith("not judged")
        assert "--seconds" in line.remedy


def test_too_few_steps(words: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps on one batch are no verdict, unless they are enough."""
    monkeypatch.setattr(module, "BATCH_STEPS", 3)
    lines = lines_of(subject(words["tiny"]))
    assert bad(lines) == {"one batch": "SKIP"}
    assert "in 3 steps the loss goes from " in lines[3].sentence
