"""Curves of a run: what the line says of losses of known shape, and what is drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolo.training.curves import _panels, curves
from yolo.training.trend import _spearman

EPOCHS = np.arange(30)
NOISE = np.random.default_rng(0).normal(size=30)
FALLING = 2 * np.exp(-EPOCHS / 8) + 0.1


def write(folder: Path, train: np.ndarray, val: np.ndarray | None = None, every: int = 1, **more: Any) -> Path:
    """Write the metrics of a run with these losses; those of validation every `every` epochs. NaN becomes null."""
    lines = []
    for epoch, loss in enumerate(train):
        row = {"epoch": epoch, "step": 10 * epoch + 10, "train/loss": None if np.isnan(loss) else float(loss), **more}
        if val is not None and (epoch + 1) % every == 0:
            row["val/loss"] = float(val[epoch])
        lines.append(json.dumps(row) + "\n")
    (folder / "metrics.jsonl").write_text("".join(lines))
    return folder


def test_steady(tmp_path: Path) -> None:
    """A falling loss with a little noise is steady, also if validation falls or levels out noisily."""
    line = curves(write(tmp_path, FALLING * (1 + 0.05 * NOISE), FALLING + 0.5 + 0.02 * NOISE))
    assert line.startswith("train/loss fell steadily from 2.1")
    assert "?" not in line
    assert "overfitting" not in line
    smooth = curves(write(tmp_path, np.linspace(1, 0.5, 5)))
    assert smooth == "train/loss fell steadily from 1 to 0.5 (Spearman -1.00; it rose in 0% of the epochs)"
    # A loss that reaches zero and stays there fell; equal values share a rank.
    assert "fell steadily" in curves(write(tmp_path, np.concatenate((np.linspace(1, 0, 20), np.zeros(5)))))


@pytest.mark.parametrize("loss", [np.full(30, 0.7), 0.693 + 0.005 * NOISE, np.linspace(0.7, 0.68, 30)])
def test_flat(tmp_path: Path, loss: np.ndarray) -> None:
    """A loss that hardly changes has the causes of that, even if it falls, and never overfitting."""
    line = curves(write(tmp_path, loss, 2 - FALLING))
    assert line.startswith("train/loss is flat, from 0.")
    for cause in ("learning rate too low", "labels of one kind", "frozen"):
        assert cause in line
    assert "overfitting" not in line


@pytest.mark.parametrize(
    ("loss", "word"),
    [(1 + EPOCHS % 2 * 1.0, "rose"), (2 - EPOCHS % 2 * 1.0, "did not fall steadily"), (3 - FALLING, "rose")],
)
def test_rising_or_jumping(tmp_path: Path, loss: np.ndarray, word: str) -> None:
    """A loss that rises, or jumps in either phase, asks for a smaller learning rate."""
    line = curves(write(tmp_path, loss))
    assert line.startswith(f"train/loss {word}, from ")
    assert "learning rate too high? Try a tenth, or a schedule that decays" in line
    share = float((np.diff(loss) > 0).mean())
    assert f"it rose in {share:.0%} of the epochs" in line


@pytest.mark.parametrize("every", [1, 3])
def test_overfitting(tmp_path: Path, every: int) -> None:
    """A validation loss that rises from epoch 12 on while training falls is named, with that epoch."""
    val = 1 + np.abs(EPOCHS - 11) / 20
    line = curves(write(tmp_path, FALLING, val, every))
    assert line.startswith("train/loss fell steadily")
    assert "val/loss has risen from 1 in epoch 12 to 1.9, which is overfitting" in line
    for remedy in ("best epoch", "more images", "augmentation", "fewer epochs"):
        assert remedy in line
    # It is not overfitting if the training loss rises as well, nor is a small rise, nor a single bad epoch.
    assert "overfitting" not in curves(write(tmp_path, 3 - FALLING, val, every))
    assert "overfitting" not in curves(write(tmp_path, FALLING, 1 + (val - 1) / 20, every))
    assert "overfitting" not in curves(write(tmp_path, FALLING, val[::-1] + (EPOCHS == 20), every))


@pytest.mark.drawn
def test_too_few_epochs(tmp_path: Path) -> None:
    """Four finite losses are too few; the figure is drawn all the same, but not of nothing."""
    line = curves(write(tmp_path, np.array([4.0, 3, np.nan, 2, 1])))
    assert line.startswith("too few epochs to judge")
    assert (tmp_path / "losses.png").exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert curves(write(empty, np.array([]))).startswith("too few epochs to judge")
    assert [path.name for path in empty.iterdir()] == ["metrics.jsonl"]
    with pytest.raises(FileNotFoundError):
        curves(tmp_path / "nowhere")


def test_what_is_drawn_where() -> None:
    """Terms of both parts share a diagram, fractions another one; counts, gradients and the machine are not drawn."""
    row = {"epoch": 0, "step": 10, "train/loss": 3.0, "train/box": 1.0, "train/labels": 7, "train/gradient": 1.5}
    row |= {"lr": 0.1, "AP": 0.5, "APs": 0.2, "ARm": 0.3, "accuracy": 1.0, "L1/224": 9.5, "probe/iou": 0.5}
    later = {"epoch": 1, "step": 20, "val/loss": 3.5, "val/box": 1.5, "recall": 0.5, "seconds": 1.5, "memory_mb": 100.5}
    assert _panels([row, later]) == {
        "loss": ["train/loss", "val/loss"],
        "box": ["train/box", "val/box"],
        "metrics": ["AP", "accuracy", "recall"],
        "L1/224": ["L1/224"],
    }


@pytest.mark.drawn
def test_the_figure(tmp_path: Path) -> None:
    """losses.png is a colour image that grows with the number of diagrams; nothing else is left in the folder."""

    def drawn(*args: Any, **more: Any) -> np.ndarray:
        curves(write(tmp_path, *args, **more))
        image = cv2.imread(str(tmp_path / "losses.png"))
        assert image is not None
        return np.asarray(image)

    one, other = drawn(FALLING), drawn(FALLING, FALLING + 1)
    assert one.shape == other.shape
    orange = [((image[..., 2].astype(int) - image[..., 0]) > 100).sum() for image in (one, other)]
    assert orange[0] == 0
    assert orange[1] > 100
    metrics = {"accuracy": 0.5, "IoU": 0.4, "IoU50": 0.3, "recall": 0.6, "L1/224": 9.5, "train/a": 0.1, "train/$b": 0.1}
    assert drawn(FALLING, **metrics).shape[0] == 2 * one.shape[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["losses.png", "metrics.jsonl"]


RANKINGS: list[Callable[[np.random.Generator], np.ndarray]] = [
    lambda rng: rng.normal(size=12),
    lambda rng: rng.integers(0, 4, 12).astype(float),
]


@pytest.mark.parametrize("values", RANKINGS)
def test_spearman(values: Callable[[np.random.Generator], np.ndarray]) -> None:
    """It is Pearson's correlation of ranks, where equal values have their mean rank; 0 if all are equal."""
    for seed in range(20):
        found = values(np.random.default_rng(seed))
        ordered = sorted(found)
        ranks = [float(np.mean([place for place, other in enumerate(ordered) if other == value])) for value in found]
        assert _spearman(found) == pytest.approx(np.corrcoef(ranks, np.arange(12))[0, 1], abs=1e-12)
    assert _spearman(np.ones(5)) == 0
