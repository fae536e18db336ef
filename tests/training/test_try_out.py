"""A try-out, 2 epochs on 20 images, works with every preset: the warm-up is shortened where it would not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.single_problems import singles
from tests.support.tiny_rcnn import tiny_rcnn
from tests.support.train_problems import tiny_cfg
from yolo.__main__ import main
from yolo.options.presets import find_preset, model_in, parse_train, presets
from yolo.training.run_folder import read_metrics


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the words of a training on a set of 20 images and the tiny network."""
    folder = tmp_path_factory.mktemp("try-out")
    data, cfg = singles(folder, train=20, val=3), tiny_cfg(folder)
    words = f"--data {data} --size 64 --epochs 2 --eval-every 2 --workers 0 --device cpu --precision fp32"
    return [*words.split(), "--cfg", str(cfg)]


def words_for(model: str, place: list[str]) -> list[str]:
    """Return the words for a model: those of a tiny network, in place of the cfg."""
    backbone = ["--backbone", f"darknet:{place[-1]},none@3", "--no-pretrained"]
    rcnn = ["--network", "lite0", "--pretrained", "none"]
    own = {"yolo": place[-2:], "simple": [], "largest": backbone, "faster-rcnn": rcnn}
    return place[:-2] + own.get(model, [*backbone, "--target", "disc", "--negative-ratio", "None"])


@pytest.mark.parametrize("batch", [None, 20], ids=["the preset's batch", "one batch per epoch"])
@pytest.mark.parametrize("preset", presets())
def test_every_preset(
    preset: str,
    batch: int | None,
    place: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All steps are taken. One line says that the warm-up is shortened, or that it is too long."""
    monkeypatch.setattr("yolo.rcnn.builder.lite0_rcnn", lambda classes, **_: (tiny_rcnn(classes=classes - 1), []))
    own = words_for(model_in(find_preset(preset)) or "yolo", place)
    words = [*own, "--preset", preset, *(["--batch-size", str(batch), "--no-check"] if batch else [])]
    assert main(["train", *words, "--out", str(tmp_path / "run")]) == 0
    options = parse_train(words)
    steps = 2 * -(-20 // (options.batch_size * options.accumulate))
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [steps // 2, steps]
    short = options.schedule.warmup_share is not None
    line = (
        f"steps shortened to {max(1, steps // 10)} of {steps} (warmup_share=0.1)"
        if short
        else f"steps are more than the {steps} of"
    )
    counted = capsys.readouterr().out.count(f"warm-up: {options.schedule.rise:,} {line}")
    assert counted == (options.schedule.rise > 0)


def test_one_step(place: list[str], tmp_path: Path) -> None:
    """One epoch of one batch has the peak rate: with a cosine's end the network would not change."""
    words = ["--batch-size", "20", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert main(["train", *place, *words]) == 0
    assert [row["lr"] for row in read_metrics(tmp_path / "run")] == [6e-3]


def test_a_warm_up_without_share_does_not_fit(
    place: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On request the length is kept, and an error before anything is written has the remedy."""
    assert main(["train", *place, "--warmup-share", "None", "--out", str(tmp_path / "run")]) == 1
    assert "warmup_steps=100 of 6 steps: expected fewer" in (error := capsys.readouterr().err)
    assert "warmup_share=0.1" in error
    assert not (tmp_path / "run").exists()
