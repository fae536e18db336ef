"""Trainings that a cfg describes: its values become options, its layers are frozen, weights continue where they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from tests.support.paths import GOLDEN
from tests.support.recipe_problems import by_cfg_run, iterations, recipe_text, recipe_words
from tests.support.train_problems import checkpoint, interrupted, shapes
from yolo.__main__ import main
from yolo.darknet.cfg import parse_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.weights import Header, load_weights, save_weights
from yolo.data.loader import Batch
from yolo.models.build import build_yolo, started_from
from yolo.models.by_cfg import KEYS, CfgDetector, by_cfg
from yolo.options.augment import Augment
from yolo.options.loss import LossOptions
from yolo.options.presets import Command, from_keywords, parse_command, parse_train
from yolo.options.schedule import Schedule
from yolo.options.train import Train
from yolo.recipe import recipe
from yolo.training.engine import Trainer

NAMES = [str(k) for k in range(6)]

WRONG: dict[str, Any] = {
    "epochs": 7, "batch_size": 3, "accumulate": 3, "size": "96", "placement": "stretch", "shuffle": False,
    "optimizer": "adam", "schedule": Schedule(lr=0.005), "weight_decay": 0.1, "momentum": 0.5, "clip": 1.0, "ema": 0.9,
    "freeze": "0-1", "sync_bn": True, "plain": True, "augment": Augment(flip=0), "init": "torch",
    "loss": LossOptions(box_gain=3), "obj_bias": -4.0,
}  # fmt: skip
"""A value of every option that the cfg decides, with which it does not agree."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 images to train on and 6 to evaluate on."""
    return shapes(tmp_path_factory.mktemp("data"))


def options(folder: Path, text: str, **more: Any) -> Train:
    """Return the options of a training as the cfg of this text says."""
    (folder / "my.cfg").write_text(text)
    return started_from(Train(cfg=folder / "my.cfg", recipe="cfg", **more))


# ---- options


@pytest.mark.parametrize("name", KEYS)
def test_an_option_that_the_cfg_decides_is_refused_with_its_key(name: str) -> None:
    cfg, given = parse_cfg(recipe_text(letter_box=1)), Train(cfg=Path("my.cfg"), recipe="cfg")
    with pytest.raises(ValueError, match="the cfg decides these") as problem:
        by_cfg(replace(given, **{name: WRONG[name]}), cfg)
    assert str(problem.value).splitlines()[1:] == [f"  {name}: {KEYS[name]}"]


def test_the_values_of_the_cfg_become_options() -> None:
    """Also given ones that agree with it; the others stay."""
    cfg = parse_cfg(recipe_text(batch=9, subdivisions=2, max_batches=250, burn_in=10, steps="100,200"))
    given = Train(cfg=Path("my.cfg"), recipe="cfg", seed=3, epochs=3, momentum=0.8)
    found = by_cfg(given, cfg)
    assert (found.epochs, found.batch_size, found.accumulate, found.placement) == (3, 4, 2, "stretch")
    assert (found.optimizer, found.momentum, found.weight_decay, found.init) == ("sgd", 0.8, 0.0005, "uniform")
    assert found.schedule == Schedule(schedule="darknet", lr=0.001, burn_in=10, steps=(100, 200), scales=(0.5, 0.1))
    assert (found.precision, found.early_metric, found.seed) == ("fp32", "AP50", 3)
    assert (found.clip, found.ema, found.obj_bias, found.plain) == (None, 0, None, False)
    long = by_cfg(replace(given, epochs=12), parse_cfg(recipe_text(max_batches=11_001, letter_box=1)))
    assert (long.epochs, long.placement) == (12, "letterbox")  # epochs of 1000 iterations


@pytest.mark.parametrize("given", [{"clear": True}, {"darknet_build": "cpu"}])
def test_options_of_another_recipe_are_refused(given: dict[str, Any]) -> None:
    """They would be without effect, and nobody would know."""
    with pytest.raises(ValueError, match="add --recipe cfg"):
        started_from(Train(**given))


def test_no_preset_and_the_options_of_a_run_again(data: Path, tmp_path: Path) -> None:
    """The default preset of YOLO has other values; a run's options.yaml says all that its cfg says."""
    words = recipe_words(data, tmp_path / "my.net.cfg")[1:]
    command = parse_command(Command, "train", words)
    assert command.preset is None
    assert command.train.schedule == Schedule()
    assert from_keywords({"recipe": "cfg", "data": str(data)}, "yolo.train").preset is None
    assert from_keywords({"recipe": "ours", "data": str(data)}, "yolo.train").preset == "default"
    (tmp_path / "mine.yaml").write_text("recipe: cfg\n")
    assert parse_command(Command, "train", ["--options", str(tmp_path / "mine.yaml")]).preset is None
    run = by_cfg_run(data, tmp_path, recipe_text(max_batches=1))
    again = parse_train(["--options", str(run / "options.yaml")])
    assert isinstance(again, Train)
    assert again.recipe == "cfg"
    assert started_from(again) == again
    with pytest.raises(ValueError, match="momentum: momentum"):
        started_from(replace(again, momentum=0.7))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (recipe_text(batch=1, subdivisions=1), "my.cfg:5: [net] batch=1: expected at least 2 images"),
        (recipe_text(max_batches=0), "my.cfg:7: [net] max_batches=0: expected"),
        (recipe_text(head={"iou_loss": "cious"}), "my.cfg:74: [yolo] (layer 7) iou_loss=cious: expected one of"),
    ],
)
def test_a_cfg_without_a_training(
    text: str, expected: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused with file and line before a folder is made."""
    (tmp_path / "my.cfg").write_text(text)
    assert main(recipe_words(data, tmp_path / "my.cfg", "--out", tmp_path / "run")) != 0
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_cfg_is_needed(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    assert main(["train", "--recipe", "cfg", "--data", str(data), "--out", out]) != 0
    assert "recipe=cfg trains as a cfg says: give one with --cfg FILE" in capsys.readouterr().err


# ---- frozen layers and rates of layers


def states_of(run: Path, begun: Sequence[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Return the network before the first step and after each one."""
    return [*begun, checkpoint(run)["network"]]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """A list that gets the network at the beginning of every step."""
    found: list[dict[str, Tensor]] = []
    begin = CfgDetector.begin_step

    def seen(detector: CfgDetector, step: int) -> None:
        begin(detector, step)
        found.append({name: value.clone() for name, value in detector.network.state_dict().items()})

    monkeypatch.setattr(CfgDetector, "begin_step", seen)
    return found


def moved(before: dict[str, Tensor], after: dict[str, Tensor], word: str = "") -> set[str]:
    """Return the names with this word of tensors, without batches counted, that differ in a bit."""
    return {k for k in before if word in k and "num_batches" not in k and not before[k].equal(after[k])}


def of_layers(state: dict[str, Tensor], *layers: int) -> set[str]:
    """Return the names of the parameters of these layers."""
    return {k for k in state if int(k.split(".")[1]) in layers and k.endswith(("weight", "bias"))}


@pytest.mark.parametrize(("build", "first"), [("gpu", 3), ("cpu", None)])
def test_frozen_until_an_iteration(
    build: str, first: int | None, data: Path, tmp_path: Path, begun: list[dict[str, Tensor]]
) -> None:
    """`stopbackward=3` at layer 3: layers 0 to 2 stay up to iteration 2, in the CPU build for ever.

    `dont_update` keeps a layer, `train_only_bn` all but its batch norm. The CPU build never trains the biases of batch
    norm.
    """
    keys = {3: "stopbackward=3\n", 4: "train_only_bn=1\n", 5: "dont_update=1\n"}
    text = recipe_text(keys, max_batches=4, subdivisions=1, steps="100,200")
    states = states_of(by_cfg_run(data, tmp_path, text, "--darknet-build", build), begun)
    parameters = of_layers(states[0], *range(14))
    for step, (before, after) in enumerate(pairwise(states), 1):
        frozen = set() if first and step >= first else of_layers(before, 0, 1, 2)
        frozen |= of_layers(before, 5) | {"layers.4.conv.weight"}
        frozen |= {name for name in parameters if build == "cpu" and name.endswith("bn.bias")}
        assert moved(before, after) & parameters == parameters - frozen, step
    assert len(states) == 5


def test_frozen_for_ever_and_the_rate_of_a_layer(data: Path, tmp_path: Path, begun: list[dict[str, Tensor]]) -> None:
    """`stopbackward=1`: nothing of layers 0 to 2 moves, the statistics of batch norm neither.

    A layer with `learning_rate=.5` makes half of the first step that it makes without.
    """
    run = by_cfg_run(data, tmp_path, recipe_text({3: "stopbackward=1\n", 12: "learning_rate=.5\n"}, max_batches=2))
    half = states_of(run, begun)
    for before, after in pairwise(half):
        names = moved(before, after)
        assert {int(name.split(".")[1]) for name in names} == {4, 5, 6, 9, 12}
        assert of_layers(before, 4, 5, 6, 9, 12) <= names
    begun.clear()
    run = by_cfg_run(data, tmp_path, recipe_text({3: "stopbackward=1\n"}, max_batches=2), out="whole")
    whole = states_of(run, begun)
    for name in ("layers.6.conv.weight", "layers.12.conv.weight", "layers.12.conv.bias"):
        factor = 2 if "12" in name else 1
        steps = [state[1][name] - state[0][name] for state in (half, whole)]
        assert steps[1].abs().max() > 0
        assert factor * steps[0] == pytest.approx(steps[1], rel=1e-4, abs=1e-6)


# ---- weights that have seen images


def test_weights_continue_at_their_iteration(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same images, rates and numbers as the run that went on; their momentum is lost, so weights differ."""
    monkeypatch.setattr(recipe, "EPOCH", (3, 3))  # the weights end within the second epoch
    seen: dict[int, list[Batch]] = {}
    step = Trainer._step

    def recorded(trainer: Trainer, batches: list[Batch]) -> None:
        step(trainer, batches)
        assert trainer.step not in seen
        seen[trainer.step] = list(batches)

    monkeypatch.setattr(Trainer, "_step", recorded)
    text = recipe_text(max_batches=6, head={"jitter": 0.3})
    whole = by_cfg_run(data, tmp_path, text, out="whole")
    expected = seen.copy()
    seen.clear()
    start = by_cfg_run(data, tmp_path, text.replace("max_batches=6", "max_batches=4"), out="start")
    seen.clear()
    run = tmp_path / "run"
    (tmp_path / "my.net.cfg").write_text(text)
    words = ["--weights", start / "my_final.weights", "--out", run]
    interrupted(recipe_words(data, tmp_path / "my.net.cfg", *words), 5, monkeypatch)
    assert main(["train", "--resume", str(run)]) == 0  # which does not need these weights again
    assert list(expected) == [1, 2, 3, 4, 5, 6]
    assert list(seen) == [5, 6]
    for number, batches in seen.items():
        assert len(batches) == 2
        for ours, theirs in zip(batches, expected[number], strict=True):
            assert ours.images.equal(theirs.images)
            assert [t["image_id"] for t in ours.targets] == [t["image_id"] for t in theirs.targets]
    for mine, row in zip(iterations(run), iterations(whole)[4:], strict=True):
        assert {k: mine[k] for k in ("iteration", "rate", "images")} == {
            k: row[k] for k in ("iteration", "rate", "images")
        }
    mine, row = iterations(run)[0], iterations(whole)[4]
    assert mine["loss"] == pytest.approx(row["loss"], rel=1e-4)  # the same weights before the step
    assert mine["avg"] == mine["loss"]
    assert checkpoint(run)["loader"]["epoch"] == 2
    for folder in (run, whole):
        network = Darknet(parse_cfg(text))
        assert load_weights(network, folder / "my_final.weights").header.seen == 24


def saved(folder: Path, text: str, seen: int) -> Path:
    """Write the initial weights of a cfg, with a number of images seen."""
    save_weights(Darknet(parse_cfg(text)), folder / "my.weights", Header(seen=seen))
    return folder / "my.weights"


def test_where_weights_begin(tmp_path: Path) -> None:
    """At images seen / batch, rounded down; at 0 with `clear`, and with weights of other classes."""
    text = recipe_text()
    other = text.replace("filters=33", "filters=24").replace("classes=6", "classes=3")

    def begun(start: str, **more: Any) -> CfgDetector:
        detector = build_yolo(options(tmp_path, text, weights=saved(tmp_path, start, 23), **more), NAMES)
        assert isinstance(detector, CfgDetector)
        return detector

    detector = begun(text)
    assert (detector.recipe.first, detector.recipe.start, detector.header.seen) == (5, (0, 10), 20)
    detector = begun(text, clear=True)
    assert (detector.recipe.first, detector.recipe.start) == (0, (0, 0))
    assert begun(other).recipe.first == 0


def test_complete_weights_are_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my.cfg").write_text(recipe_text())
    weights = saved(tmp_path, recipe_text(), 24)
    words = recipe_words(data, tmp_path / "my.cfg", "--weights", weights, "--out", tmp_path / "run")
    assert main(words) != 0
    error = capsys.readouterr().err
    assert "seen 24 images, 6 iterations of 4, and max_batches is 6: nothing is left to train" in error
    assert "--clear begins at iteration 0" in error
    assert not (tmp_path / "run").exists()
    assert main([*words, "--clear"]) == 0
    assert [row["iteration"] for row in iterations(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]


# ---- heads that only darknet trains


def test_new_coords(
    data: Path, tmp_path: Path, begun: list[dict[str, Tensor]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Heads with `new_coords=1` are trained; the loss of `--recipe ours` has no meaning for them."""
    file = GOLDEN / "nets" / "mini-yolov7" / "mini-yolov7.cfg"
    more = "channels=3\nbatch=4\nsubdivisions=2\nmax_batches=2\nlearning_rate=.001\npolicy=constant\n"
    text = file.read_text().replace("channels=3\n", more)
    run = by_cfg_run(data, tmp_path, text)
    assert [row["iteration"] for row in iterations(run)] == [1, 2]
    assert all(math.isfinite(row["loss"]) and row["loss"] > 0 for row in iterations(run))
    for before, after in pairwise(states_of(run, begun)):
        assert moved(before, after) == {name for name in before if "num_batches" not in name}
    words = [word for word in recipe_words(data, tmp_path / "my.net.cfg") if word not in ("--recipe", "cfg")]
    capsys.readouterr()
    assert main([*words, "--out", str(tmp_path / "ours")]) != 0
    assert "new_coords" in capsys.readouterr().err
