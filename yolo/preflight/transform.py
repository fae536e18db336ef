"""Whether boxes follow the pixels: a drawn marker goes through augmentation, transform and placement of the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from yolo.data.marker import marker, marker_iou
from yolo.data.order import Draw
from yolo.data.sample import Sample, Target, make_target
from yolo.data.transforms import Augmented
from yolo.models.detector import Detector
from yolo.preflight.line import Line, Row, judged
from yolo.preflight.subject import Subject
from yolo.size import Size

IMAGE = Size(240, 320)
"""The marker. Its proportions are not those of a square input, so that a letterbox moves it."""

DRAWS, ENOUGH = 8, 0.8
"""How often it is augmented, and the IoU of its box with its white pixels from which the two agree."""

SEEN = 8.0
"""Pixels: a smaller side is rounded so much that the IoU says nothing."""


@dataclass
class One:
    """A data set of the marker alone."""

    names: list[str]

    def __len__(self) -> int:
        return 1

    def sample(self, k: int) -> Sample:
        """Return the marker."""
        return marker(IMAGE)

    def path(self, k: int) -> Path:
        """Return a name for messages."""
        return Path("marker")


def transform(subject: Subject) -> Iterator[Line]:
    """Yield a FAIL for the first step after which the marker's box is not around its pixels, else a PASS.

    A single sample out of eight is a WARN, since a transform may cover the marker.
    """
    least, kept, seen = 1.0, False, 0
    for step, samples in _steps(subject):
        overlaps = [marker_iou((image, target)) for image, target in samples if _judged(target)]
        wrong = [overlap for overlap in overlaps if overlap < ENOUGH]
        before, kept = kept, any(len(target["boxes"]) for _, target in samples)
        shifted = (
            f"{step}: in {len(wrong)} of {len(samples)} samples the box of a marker is not around its pixels, IoU "
        )
        least, seen = min([least, *overlaps]), seen + len(overlaps)
        rows: list[Row] = [  # augmentation may move the marker out of the image, the other steps may not
            (before and not kept, "FAIL", f"{step}: the box of a marker is lost", f"{step} must keep the boxes"),
            (wrong, "WARN" if len(wrong) == 1 < len(samples) else "FAIL", f"{shifted}{least:.2f}",
             f"{step} must move boxes as it moves pixels: take torchvision.transforms.v2, which moves both"),
        ]  # fmt: skip
        line = judged("transform", f"boxes follow the pixels of a drawn marker, IoU at least {least:.2f}", rows)
        if line.verdict != "PASS":
            break
    small = Line("SKIP", "transform", f"not checked: a marker is smaller than {SEEN:g} pixels at this input")
    yield line if seen or line.verdict != "PASS" else small


def _steps(subject: Subject) -> Iterator[tuple[str, Sequence[tuple[Tensor, Target]]]]:
    """Yield each step by name, with the samples of the marker after it."""
    parts, detector = subject.parts, subject.parts.detector
    options, draws = parts.options, [Draw(epoch, 0, detector.size) for epoch in range(DRAWS)]
    # Mosaic and mixup would show several markers at once; colours move nothing; no epoch is a plain one.
    still = {"hue": 0.0, "saturation": 1.0, "value": 1.0, "photometric": 0.0}
    moves = replace(parts.seen.options, mosaic=0.0, mixup=0.0, last_plain=0, **still)
    seen = Augmented(One(detector.names), moves, seed=options.seed, letterbox=parts.seen.letterbox)
    yield "the augmentation", [seen[draw] for draw in draws]
    if parts.seen.transform is not None:
        seen.transform = parts.seen.transform
        yield "the transform", [seen[draw] for draw in draws]
    first = parts.batches.epoch(0)[0][0]
    # Features, which some models make of images, have no pixels to look at.
    if type(detector).samples is not Detector.samples and parts.loader.data[first][0].dtype == torch.uint8:
        own = detector.samples(seen)
        yield "the samples of the model", [own[draw] for draw in draws]
    image, target = marker(IMAGE)
    pixels = image[: detector.channels].permute(1, 2, 0).contiguous().numpy()
    prepared, placement = detector.prepare(pixels)
    boxes = placement.to_input(target["boxes"])
    placed = make_target(boxes, target["labels"], 0, target["iscrowd"], target["area"], placement.input)
    yield "the placement of detection", [(prepared, placed)]


def _judged(target: Target) -> bool:
    """Return whether the marker's box is large enough to be compared with its pixels."""
    boxes = target["boxes"][:1]
    return bool(((boxes[:, 2:] - boxes[:, :2]) >= SEEN).all(dim=1).any())
