"""Steps that move pixels and not boxes, planted: the step is named; what moves both passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from tests.support.preflight_problems import gathered, said
from tests.support.train_problems import shapes, tiny_cfg
from yolo.data.loader import Drawn
from yolo.data.order import Draw
from yolo.data.transforms import Augmented
from yolo.data.warp import Warp
from yolo.images.inputs import ImageLike
from yolo.images.placement import Placement
from yolo.models.yolo import YoloDetector
from yolo.preflight.subject import Subject
from yolo.preflight.transform import transform
from yolo.training.assemble import Parts

PLAIN = ["--flip", "0", "--hue", "0", "--saturation", "1", "--value", "1", "--scale", "1", "--translate", "0"]


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """Return the parts of a clean run."""
    monkeypatch.chdir(tmp_path)
    return gathered(shapes(tmp_path), tiny_cfg(tmp_path))


def pixels_only(image: Any, target: Any) -> tuple[Any, Any]:
    """Mirror the pixels of every second image."""
    return (image.flip(-1) if torch.rand(()) < 0.5 else image), target


def no_boxes(image: Any, target: Any) -> tuple[Any, Any]:
    """Drop all objects."""
    return image, {**target, **{key: target[key][:0] for key in ("boxes", "labels", "iscrowd", "area")}}


def darker(image: Any, target: Any) -> tuple[Any, Any]:
    """Return another type."""
    return image.float() / 2, target


@pytest.mark.parametrize(
    "more",
    [
        [],
        PLAIN,
        ["--mosaic", "1", "--mixup", "1", "--scale", "3", "--value", "9", "--rotate", "10", "--last-plain", "1"],
        ["--placement", "stretch", "--translate", "0.5", "--size", "32x320"],
        ["--multi-scale", "2"],
        ["--translate", "1", "--scale", "10"],
    ],
)
def test_our_own_augmentation_passes(more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every option."""
    monkeypatch.chdir(tmp_path)
    (line,) = transform(Subject(gathered(shapes(tmp_path), tiny_cfg(tmp_path), *more)))
    assert line.verdict == "PASS", line


@pytest.mark.parametrize(
    "own",
    [
        v2.RandomHorizontalFlip(0.5),
        v2.RandomPhotometricDistort(p=1),
        v2.Compose([v2.RandomVerticalFlip(0.5), v2.RandomAffine(0, translate=(0.1, 0.1))]),
    ],
)
def test_transforms_that_move_both_pass(own: Any, parts: Parts) -> None:
    """Of torchvision's v2."""
    parts.seen.transform = own
    assert said(transform(Subject(parts))) == []


def test_a_transform_that_moves_pixels_only(parts: Parts) -> None:
    """Named with the IoU and the remedy."""
    parts.seen.transform = pixels_only
    lines = list(transform(Subject(parts)))
    assert said(lines) == [("FAIL", "transform")]
    assert lines[0].sentence.startswith("the transform: in ")
    assert "torchvision.transforms.v2" in lines[0].remedy


def test_one_odd_sample_is_a_warning(parts: Parts) -> None:
    """A transform may cover the marker now and then."""
    calls = []

    def seldom(image: Any, target: Any) -> tuple[Any, Any]:
        calls.append(1)
        return (image.flip(-1) if len(calls) == 3 else image), target

    parts.seen.transform = seldom
    assert said(transform(Subject(parts))) == [("WARN", "transform")]


def test_a_transform_that_loses_boxes(parts: Parts) -> None:
    """Another sentence of the same check; one that gives no sample raises what training would raise."""
    parts.seen.transform = no_boxes
    lines = list(transform(Subject(parts)))
    assert said(lines) == [("FAIL", "transform")]
    assert lines[0].sentence == "the transform: the box of a marker is lost"
    parts.seen.transform = darker
    with pytest.raises(ValueError, match="your own transform returned an image torch.float32"):
        list(transform(Subject(parts)))


def test_an_augmentation_that_leaves_boxes_behind(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes ten pixels beside their objects."""
    right = Warp.boxes
    monkeypatch.setattr(Warp, "boxes", lambda warp, boxes: right(warp, boxes) - 10)
    lines = list(transform(Subject(parts)))
    assert said(lines) == [("FAIL", "transform")]
    assert lines[0].sentence.startswith("the augmentation: in 7 of 8 samples")


class Mirrored(YoloDetector):
    """Detects in mirrored images."""

    def prepare(self, image: ImageLike) -> tuple[Tensor, Placement]:
        pixels, placement = super().prepare(image)
        return pixels.flip(-1), placement


class Mirrors(YoloDetector):
    """Its samples are mirrored images."""

    def samples(self, seen: Augmented) -> Drawn:
        class Own:
            def __getitem__(self, draw: Draw) -> Any:
                image, target = seen[draw]
                return image.flip(-1), target

        return Own()


@pytest.mark.parametrize(
    ("kind", "step"), [(Mirrored, "the placement of detection"), (Mirrors, "the samples of the model")]
)
def test_a_model_that_moves_pixels_only(kind: type[YoloDetector], step: str, parts: Parts) -> None:
    """In its detection, or in its own samples."""
    assert isinstance(parts.detector, YoloDetector)
    own = kind(parts.detector.network, parts.detector.names, size=parts.detector.size)
    planted = replace(parts, detector=own)
    planted.loader.data = own.samples(parts.seen)
    lines = list(transform(Subject(planted)))
    assert said(lines) == [("FAIL", "transform")]
    assert lines[0].sentence.startswith(f"{step}: in ")


def test_samples_that_are_no_images_are_left_alone(parts: Parts) -> None:
    """Such as features, which have no pixels."""

    class Means(YoloDetector):
        def samples(self, seen: Augmented) -> Drawn:
            class Mean:
                def __getitem__(self, draw: Draw) -> Any:
                    image, target = seen[draw]
                    return image.float().mean((1, 2)), target

            return Mean()

    assert isinstance(parts.detector, YoloDetector)
    own = Means(parts.detector.network, parts.detector.names, size=parts.detector.size)
    parts.loader.data = own.samples(parts.seen)
    assert said(transform(Subject(replace(parts, detector=own)))) == []
