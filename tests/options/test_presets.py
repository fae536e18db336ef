"""The options of training: the command line, the presets, settings that are errors."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT, environment
from yolo.__main__ import main
from yolo.options.augment import PLAIN, Augment
from yolo.options.presets import find_preset, parse_train
from yolo.options.registry import find_model
from yolo.options.schedule import Schedule
from yolo.options.train import LossOptions, Train
from yolo.options.yaml_file import read_yaml, write_yaml
from yolo.training.schedule import make_schedule

PRESETS = sorted(file.stem for file in (ROOT / "config" / "presets").glob("*.yaml"))


def test_without_arguments_it_is_the_defaults() -> None:
    """The quick start is the embedded data set and the toy network, with the default preset."""
    assert parse_train([]) == read_yaml(find_preset("default"), Train())
    found = parse_train([])
    assert isinstance(found, Train)
    assert (found.model, found.data, found.cfg) == ("yolo", "shapes", None)


def test_flags_have_no_prefix() -> None:
    """Loss, schedule and augmentation are groups of options, but not parts of the flags' names."""
    words = "--obj-label 1 --pos-weight 2.5 --schedule cosine --final-lr 1e-5 --flip 0 --no-shuffle --freeze 0-73"
    plain = parse_train([])
    assert isinstance(plain, Train)
    assert parse_train(words.split()) == replace(
        plain,
        loss=replace(plain.loss, obj_label="1", pos_weight=2.5),
        schedule=replace(plain.schedule, schedule="cosine", final_lr=1e-5),
        augment=replace(plain.augment, flip=0),
        shuffle=False,
        freeze="0-73",
    )


def test_what_comes_last_counts(tmp_path: Path) -> None:
    """Of defaults, preset, file and command line, each overrides the ones before it in the options that it has."""
    (tmp_path / "a.yaml").write_text("epochs: 7\nbatch_size: 9\nschedule:\n  peak_lr: 0.5\n")
    found = parse_train(["--epochs", "3", "--preset", "blog", "--options", str(tmp_path / "a.yaml")])
    assert (found.epochs, found.batch_size, found.schedule.peak_lr) == (3, 9, 0.5)
    assert (found.limit, found.schedule.lr, found.optimizer) == (100, 1e-4, "adam")
    assert parse_train([f"--options={tmp_path / 'a.yaml'}"]).limit is None


def test_every_option_can_be_given_on_the_command_line() -> None:
    """Each option is accepted with its default, and no two options have the same flag."""
    arguments = []
    for part in (Train(), Train().loss, Train().schedule, Train().augment):
        for field in fields(part):
            value = getattr(part, field.name)
            if isinstance(value, tuple):
                arguments += [f"--{field.name.replace('_', '-')}", *map(str, value)]
            elif not isinstance(value, (bool, LossOptions, Schedule, Augment)):
                arguments += [f"--{field.name.replace('_', '-')}", str(value)]
    assert len(arguments) > 100
    assert parse_train(arguments) == Train()


def test_the_blogs_recipe() -> None:
    """The preset has the settings of the post and does not depend on the defaults."""
    assert parse_train(["--preset", "blog"]) == Train(
        limit=100, epochs=150, init="torch", batch_size=4, accumulate=1, shuffle=False, size="416", precision="fp32",
        plain=True, eval_on="train", early_metric="AP50",
        optimizer="adam", weight_decay=1e-4, momentum=0.9, clip=None, ema=0.0,
        schedule=Schedule(schedule="warmup", lr=1e-4, peak_lr=8e-4, warmup_steps=333, warmup_power=1.0),
        loss=LossOptions(assign="ratio", bbox_loss="iou", obj_label="iou", pos_weight="auto", obj_reduction="mean"),
    )  # fmt: skip


def test_darknets_recipe() -> None:
    """The preset has darknet's 64 images per step, its learning rates and its loss."""
    found = parse_train(["--preset", "darknet"])
    assert isinstance(found, Train)
    assert found.batch_size * found.accumulate == 64
    assert (found.optimizer, found.momentum, found.weight_decay) == ("sgd", 0.9, 5e-4)
    assert found.loss == LossOptions(
        assign="prior", ignore_thresh=0.7, obj_label="1", bbox_loss="mse", obj_reduction="sum", pos_weight=1.0
    )
    steps = found.epochs * 117_266 // 64
    assert steps == pytest.approx(500_200, abs=100)
    rate = make_schedule(found.schedule, steps, 117_266 // 64)
    assert [rate(t) for t in (500, 1000, 400_000, 450_000)] == pytest.approx([1e-3 / 16, 1e-3, 1e-4, 1e-5])


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset(name: str, tmp_path: Path) -> None:
    """A preset differs from the model's defaults, and is equal after writing and reading, also onto another preset.

    A preset of another model has options that this one lacks, which is an error.
    """
    found = parse_train(["--preset", name])
    defaults = find_model(found.model).options()
    assert found != replace(defaults, model=found.model)
    file = tmp_path / "options.yaml"
    write_yaml(file, found)
    assert read_yaml(file, defaults) == found
    assert parse_train(["--preset", name, "--options", str(file)]) == found
    if isinstance(found, Train):
        assert parse_train(["--preset", "darknet", "--options", str(file)]) == found
    else:
        with pytest.raises(ValueError, match="unknown option 'loss'"):
            parse_train(["--preset", "darknet", "--options", str(file)])


def test_presets_are_found_by_name() -> None:
    """A preset is found by its name; a wrong name or a path is an error with all names."""
    assert PRESETS == [
        "blog", "darknet", "default", "faster-rcnn", "faster-rcnn-small", "fine-tune", "largest", "localizer",
        "penn-fudan", "simple", "small-data",
    ]  # fmt: skip
    assert find_preset("blog").read_text().startswith("# The recipe of the blog")
    for wrong in ("blok", "../presets/blog", ""):
        with pytest.raises(ValueError, match=f"expected one of {', '.join(PRESETS)}"):
            find_preset(wrong)


def test_help_shows_the_presets_values_without_torch(tmp_path: Path) -> None:
    """`train --preset blog --help` in a process of its own, started in another folder."""
    code = (
        "import sys; from yolo.__main__ import main\n"
        "try: main(['train', '--preset', 'blog', '--help'])\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment(COLUMNS="200")
    )
    assert done.returncode == 0
    assert "(default: 150)" in done.stdout
    assert "--bbox-loss {mse,iou,giou,diou,ciou}" in done.stdout
    assert done.stdout.endswith("False\n")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 0}, "epochs=0: expected at least 1"),
        ({"workers": -1}, "workers=-1: expected at least 0"),
        ({"limit": 0}, "limit=0: expected at least 1"),
        ({"early_stop": 0}, "early_stop=0: expected at least 1"),
        ({"early_stop": 3, "eval_every": 0}, "early_stop without effect"),
        ({"size": "4x"}, "size '4x': expected pixels"),
        ({"momentum": 1.0}, "momentum=1.0: expected"),
        ({"ema": float("nan")}, "ema=nan: expected"),
        ({"weight_decay": -1e-4}, "weight_decay=-0.0001: expected"),
        ({"clip": 0.0}, "clip=0.0: expected a norm above 0"),
        ({"obj_bias": float("inf")}, "obj_bias=inf: expected a number"),
        ({"plain": True, "augment": Augment(mosaic=0.5)}, "plain means no augmentation"),
        ({"epochs": 5, "augment": Augment(last_plain=5)}, "last_plain=5 of 5 epochs"),
    ],
)
def test_wrong_settings(changed: dict[str, Any], message: str) -> None:
    """The error has the setting, its value and what was expected."""
    with pytest.raises(ValueError, match=message):
        Train(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ignore_thresh": 0.0}, "ignore_thresh=0.0: expected an IoU"),
        ({"ignore_thresh": 1.5}, "ignore_thresh=1.5: expected an IoU"),
        ({"pos_weight": 0.0}, "pos_weight=0.0: expected a factor above 0, or auto"),
        ({"box_gain": -1.0}, "box_gain=-1.0: expected"),
        ({"focal_gamma": float("nan")}, "focal_gamma=nan: expected"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0: expected a share"),
    ],
)
def test_wrong_settings_of_the_loss(changed: dict[str, Any], message: str) -> None:
    """The error has the setting, its value and what was expected."""
    with pytest.raises(ValueError, match=message):
        LossOptions(**changed)


def test_plain_leaves_the_size_of_the_input() -> None:
    """Images are not augmented, but the size of the network input may vary from batch to batch."""
    found = Train(plain=True, augment=Augment(multi_scale=1.5)).augmentation
    assert found.plain
    assert found.multi_scale == 1.5
    assert Train(plain=True).augmentation == PLAIN
    assert Train().augmentation == Augment()


def test_errors_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong file is an error of one line with status 1; wrong words are reported by tyro with status 2."""
    (tmp_path / "a.yaml").write_text("\npeek_lr: 1\n")
    assert main(["train", "--options", str(tmp_path / "a.yaml")]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'a.yaml'}:2: unknown option 'peek_lr'; did you mean peak_lr, under `schedule:`?\n"
    )
    assert main(["train", "--options", str(tmp_path / "b.yaml")]) == 1
    assert "No such file" in capsys.readouterr().err
    for model, message in (
        ("[[1, 2]]", "a.yaml:1: model: got a list"),
        ("x" * 9999, f"model '{'x' * 60}': expected one"),
    ):
        (tmp_path / "a.yaml").write_text(f"model: {model}\n")
        assert main(["train", "--options", str(tmp_path / "a.yaml")]) == 1
        assert message in capsys.readouterr().err
    assert main(["train", "--preset", "blok"]) == 1
    assert f"expected one of {', '.join(PRESETS)}" in capsys.readouterr().err
    for wrong, message in (
        (["--obj-label", "2"], "invalid choice '2'"),
        (["--epochs", "x"], "Error parsing --epochs"),
        (["--epoch", "3"], "--epochs"),
        (["--preset"], "expected one argument"),
        (["--epochs", "0"], "epochs=0: expected at least 1"),
        (["--preset", "small-data", "--schedule", "darknet"], "without effect: peak_lr=0.005 (by default 0.006)"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["train", *wrong])
        assert caught.value.code == 2
        assert message in " ".join(capsys.readouterr().err.split())
