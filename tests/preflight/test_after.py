"""A run after its end: each kind of curve is named by its check alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.train_problems import shapes, tiny_cfg
from yolo.__main__ import main
from yolo.options.presets import parse_train
from yolo.options.train import Train
from yolo.options.yaml_file import yaml_text
from yolo.preflight import after as module
from yolo.preflight.after import after
from yolo.preflight.line import Line

EPOCHS = np.arange(20)
FALLING = 2 * np.exp(-EPOCHS / 8) + 0.1
RISING = 0.6 * (1 - np.exp(-EPOCHS / 4))
NEVER = np.full(20, np.nan)


def write(folder: Path, options: Train | None = None, /, **curves: Any) -> Path:
    """Write a run by hand: a sound one, but for these curves. NaN becomes null; "loss" is train/loss."""
    sound = {"train/loss": FALLING, "val/loss": FALLING + 0.2, "AP": RISING}
    sound |= {{"loss": "train/loss", "val": "val/loss"}.get(name, name): curve for name, curve in curves.items()}
    lines = []
    for epoch in range(len(sound["train/loss"])):
        row: dict[str, float | None] = {"epoch": epoch, "step": 10 * epoch + 10}
        row |= {name: None if np.isnan(curve[epoch]) else float(curve[epoch]) for name, curve in sound.items()}
        lines.append(json.dumps(row) + "\n")
    (folder / "metrics.jsonl").write_text("".join(lines))
    (folder / "options.yaml").write_text(yaml_text(options or Train(epochs=20)))
    return folder


def bad(lines: list[Line]) -> dict[str, str]:
    """Return the verdicts that are not PASS, by check."""
    assert all(line.sentence and bool(line.remedy) == (line.verdict in ("WARN", "FAIL")) for line in lines)
    return {line.check: line.verdict for line in lines if line.verdict not in ("PASS", "SKIP")}


def said(lines: list[Line], check: str) -> str:
    """Return the sentence and the remedy of a check."""
    return next(f"{line.sentence} -> {line.remedy}" for line in lines if line.check == check)


def test_a_sound_run(tmp_path: Path) -> None:
    """All checks pass; without data and weights the gap is not compared, with a word."""
    lines = after(write(tmp_path))
    assert bad(lines) == {}, lines
    assert [line.check for line in lines] == ["end", "training loss", "validation loss", "detections", "metric", "gap"]
    assert "not compared: " in said(lines, "gap")


OVERFIT = np.concatenate((np.linspace(0.1, 0.6, 6), np.linspace(0.6, 0.3, 14)))

CASES: dict[str, tuple[Mapping[str, np.ndarray], dict[str, str], str]] = {
    "flat": ({"loss": np.full(20, 0.7)}, {"training loss": "WARN"}, "train/loss is flat"),
    "wild": ({"loss": 2 - EPOCHS % 2 * 1.0}, {"training loss": "WARN"}, "did not fall steadily"),
    "rising": ({"loss": 3 - FALLING}, {"training loss": "WARN"}, "train/loss rose"),
    "not finite": ({"loss": np.where(EPOCHS == 7, np.nan, FALLING)}, {"end": "FAIL"}, "not finite in epoch 8 "),
    "val rises": ({"val": 1 + np.abs(EPOCHS - 6) / 10}, {"validation loss": "WARN"}, "in epoch 7 to 2.3"),
    "improving": ({"AP": np.linspace(0, 0.4, 20)}, {"metric": "WARN"}, "still improving -> train longer"),
    "overfits": ({"AP": OVERFIT}, {"metric": "WARN"}, "it overfits from epoch 6 on"),
    "nothing found": ({"AP": np.zeros(20)}, {"detections": "FAIL"}, "AP is 0 in all 20 evaluations"),
    "no objects": ({"AP": NEVER}, {"detections": "WARN"}, "AP is n/a"),
}


@pytest.mark.parametrize("name", CASES)
def test_curves(name: str, tmp_path: Path) -> None:
    """Each kind of curve is named, and nothing else."""
    curves, due, words = CASES[name]
    lines = after(write(tmp_path, **curves))
    assert bad(lines) == due, lines
    assert words in said(lines, *due)


def test_a_metric_that_is_better_where_it_is_lower(tmp_path: Path) -> None:
    """With a loss as the metric, a falling curve is still improving and a rising one overfits."""
    options = Train(epochs=20, early_metric="val/loss")
    assert "still improving" in said(after(write(tmp_path, options, val=2 - EPOCHS / 12)), "metric")
    lines = after(write(tmp_path, options, val=1 + np.abs(EPOCHS - 6) / 10))
    assert "overfits from epoch 7 on" in said(lines, "metric")


def test_runs_that_ended_early(tmp_path: Path) -> None:
    """A run that was interrupted is named, one that stopped early is not; without an epoch there is one line."""
    lines = after(write(tmp_path, Train(epochs=30)))
    assert bad(lines) == {"end": "WARN"}
    assert "20 of 30 epochs" in said(lines, "end")
    assert bad(after(write(tmp_path, Train(epochs=30, early_stop=5)))) == {}
    few = {"loss": FALLING[:3], "val": FALLING[:3], "AP": RISING[:3]}
    assert bad(after(write(tmp_path, Train(epochs=3), **few))) == {}
    (tmp_path / "metrics.jsonl").write_text("")
    assert bad(after(tmp_path)) == {"end": "FAIL"}
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 0, "step": 10, "train/loss": 1.0}\n')
    assert "no epoch was evaluated" in said(after(tmp_path), "detections")
    with pytest.raises(FileNotFoundError):
        after(tmp_path / "nowhere")


def test_the_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best weights are evaluated on training images; a gap above 0.3 is named; data that is gone is no error."""
    data, run = shapes(tmp_path), tmp_path / "run"
    words = ["--data", data, "--cfg", tiny_cfg(tmp_path), "--epochs", "1", "--workers", "0", "--device", "cpu"]
    assert main(["train", *map(str, words), "--out", str(run)]) == 0
    (row,) = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    assert said(after(run), "gap").startswith(f"AP is 0.000 on 12 training images, {row['AP']:.3f} on others")
    for value, verdict in ((row["AP"] + 0.29, "PASS"), (row["AP"] + 0.31, "WARN")):
        monkeypatch.setattr(module, "coco_metrics", lambda detector, data, value=value: {"AP": value})
        line = after(run)[-1]
        assert (line.check, line.verdict) == ("gap", verdict)
    assert "--freeze" in line.remedy
    shutil.rmtree(data)
    assert "is not there" in said(after(run), "gap")
    own = replace(parse_train(list(map(str, words))), eval_on="train", out=run)
    (run / "options.yaml").write_text(yaml_text(own))
    assert "no AP on other images" in said(after(run), "gap")
