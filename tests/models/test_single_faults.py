"""Faults planted in the samples and in the head of a localizer: training does not begin, and says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support.single_problems import singles, tiny_backbone
from yolo.__main__ import main
from yolo.data.order import Draw
from yolo.data.sample import Target
from yolo.localize.features import FeatureSamples
from yolo.localize.heads import LocalizationNet
from yolo.models import localizer

PIXELS = "boxes are beyond 1, as in pixels"
SWAPPED = "boxes have xmin > xmax or ymin > ymax"
NO_SIGMOID = "beyond 0 to 1: end the box branch with a sigmoid"
TWO_SIGMOIDS = "as after two sigmoids: remove one"
PROBABILITIES = "like probabilities: remove the sigmoid"


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the command line of a short training in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    found = ["train", "--model", "localizer", "--data", str(singles(tmp_path)), "--backbone", tiny_backbone(tmp_path)]
    found += ["--target", "disc", "--size", "64", "--epochs", "1", "--workers", "0", "--device", "cpu", "--out", "run"]
    return found


def plant_boxes(monkeypatch: pytest.MonkeyPatch, change: Callable[[Tensor], Tensor]) -> None:
    """Change the boxes of all samples."""
    draw = FeatureSamples.__getitem__

    def changed(samples: FeatureSamples, drawn: Draw) -> tuple[Tensor, Target]:
        features, target = draw(samples, drawn)
        target["boxes"].as_subclass(Tensor).copy_(change(target["boxes"].as_subclass(Tensor)))
        return features, target

    monkeypatch.setattr(FeatureSamples, "__getitem__", changed)


def plant_head(monkeypatch: pytest.MonkeyPatch, presence: nn.Module | None, box: list[nn.Module]) -> None:
    """Change the ends of the branches of the head: the last layer of `box` replaces its sigmoid."""

    class Faulty(LocalizationNet):
        def __init__(self, inputs: int, hidden: int = 128, *, norm: bool = True, dropout: float = 0.0) -> None:
            super().__init__(inputs, hidden, norm=norm, dropout=dropout)
            self.presence = nn.Sequential(self.presence, presence or nn.Identity())
            self.box = nn.Sequential(*list(self.box)[:-1], *box)

    monkeypatch.setattr(localizer, "LocalizationNet", Faulty)


@pytest.mark.parametrize(
    ("boxes", "presence", "box", "lines"),
    [
        (lambda xyxy: xyxy * 20, None, [nn.Sigmoid()], [PIXELS]),
        (lambda xyxy: xyxy[:, [2, 1, 0, 3]], None, [nn.Sigmoid()], [SWAPPED]),
        (lambda xyxy: xyxy * torch.nan, None, [nn.Sigmoid()], ["boxes are not finite"]),
        (lambda xyxy: xyxy, None, [], [NO_SIGMOID]),
        (lambda xyxy: xyxy, None, [nn.Sigmoid(), nn.Sigmoid()], [TWO_SIGMOIDS]),
        (lambda xyxy: xyxy, nn.Sigmoid(), [nn.Sigmoid()], [PROBABILITIES]),
        (lambda xyxy: 20 * xyxy[:, [2, 1, 0, 3]], nn.Sigmoid(), [], [PIXELS, SWAPPED, PROBABILITIES, NO_SIGMOID]),
    ],
)
def test_a_planted_fault_is_named(
    boxes: Callable[[Tensor], Tensor],
    presence: nn.Module | None,
    box: list[nn.Module],
    lines: list[str],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line for each fault and no other, before anything is written."""
    plant_boxes(monkeypatch, boxes)
    plant_head(monkeypatch, presence, box)
    assert main(words) == 1
    error = capsys.readouterr().err.strip().splitlines()[-len(lines) :]
    assert error[0].startswith("error: ")
    for line, expected in zip(error, lines, strict=True):
        assert expected in line
    assert not Path("run").exists()


def test_a_clean_run_says_nothing(words: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """Also where the first batches happen to have no image with the object."""
    assert main([*words, "--batch-size", "1", "--negative-ratio", "None"]) == 0
    assert all(record.message.startswith("features of") for record in caplog.records)


def test_one_kind_is_a_warning(words: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """If all images have the object, presence cannot be learned, but the box can: training goes on."""
    for split in ("train", "val"):
        file = Path(words[4]) / "annotations" / f"instances_{split}.json"
        content = json.loads(file.read_text())
        content["categories"] = content["categories"][:1]
        for one in content["annotations"]:
            one["category_id"] = content["categories"][0]["id"]
        file.write_text(json.dumps(content))
    at = words.index("--target")
    assert main([*words[:at], *words[at + 2 :]]) == 0
    (line,) = (record.message for record in caplog.records if not record.message.startswith("features of"))
    assert line == "labels are [1], of one kind: presence cannot be learned; add images of the other kind"


def test_a_transform_would_have_no_effect(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The features are computed once, from images without augmentation; so a user's transform is refused."""
    assert main([*words, "--transform", "json:dumps"]) == 1
    assert "error: transform: a localizer learns from features that were computed once" in capsys.readouterr().err
