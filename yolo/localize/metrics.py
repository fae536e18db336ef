"""How good the answers of a localizer are: is the object there, what is it, and where.

A class can be right by guessing and a box can be good by habit. So beside the accuracy is that of always answering the
most frequent answer (`majority`), and beside the IoU that of always answering the mean box (`IoU_mean_box`). A metric
is NaN where it is not defined: without images or objects, and precision also if no image is said to have an object.

Letters: `I` images of the data set; *objects* are its images with an object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from yolo.boxes import corners_in_order, iou, xyxy_to_cxcywh
from yolo.metrics.bootstrap import centred

PRESENCE = ("accuracy", "majority", "precision", "recall", "AP_presence", "IoU", "IoU_mean_box", "IoU50", "L1/224")
"""The metrics of presence, in order; lower is better for those with a "/" in the name."""

CLASSES = ("accuracy", "majority", "IoU", "IoU_mean_box", "IoU50", "L1/224", "correct")
"""The metrics of classes, in order."""

SIDE = 224
"""L1 is in pixels of an image of this width and height."""


class Answers(NamedTuple):
    """One answer per image of a data set, and the truth, on the CPU.

    Attributes:
        score: floating point `[I]`, the probability that the object is there (presence) or of the answered class.
        label: int64 `[I]`, the answered class; 0 for presence.
        boxes: float64 `[I, 4]`, the answered xyxy boxes in pixels of the original image, whatever the score. A box with
            swapped corners is the box between them.
        true_label: int64 `[I]`, -1 for an image without object.
        true_boxes: float64 `[I, 4]`, xyxy in pixels of the original image; zeros without object.
        sizes: float64 `[I, 2]`, width and height of the original images in pixels.
    """

    score: Tensor
    label: Tensor
    boxes: Tensor
    true_label: Tensor
    true_boxes: Tensor
    sizes: Tensor

    def of(self, images: Tensor) -> Answers:
        """Return the answers for some images: a mask bool `[I]`, or indices int64, which may repeat."""
        return Answers(*(field[images] for field in self))

    def objects(self) -> Answers:
        """Return the answers for the images with an object."""
        return self.of(self.true_label >= 0)

    def overlaps(self) -> Tensor:
        """Return the IoU of each answered box with the true box, float64 `[I]`; 0 without object."""
        return iou(xyxy_to_cxcywh(corners_in_order(self.boxes)), xyxy_to_cxcywh(self.true_boxes))

    def always(self, box: Tensor) -> Answers:
        """Return the answers with the same box for all images: `[4]` xyxy as fractions of the image."""
        return self._replace(boxes=box.double() * self.sizes.repeat(1, 2))


def presence_metrics(answers: Answers, mean_box: Tensor, threshold: float = 0.5) -> dict[str, float]:
    """Return the metrics `PRESENCE`. The object is said to be there if the score exceeds the threshold.

    Boxes are measured in all images with an object, whatever the score.

    Args:
        answers: the answers and the truth.
        mean_box: `[4]`, the mean box of the training set, xyxy as fractions of the image.
        threshold: that of accuracy, precision and recall; the others do not depend on it.
    """
    there, said = answers.true_label >= 0, answers.score > threshold
    precision, recall = precision_recall(answers)
    # The step-wise area: each step of recall has the precision at its end. Nothing is interpolated.
    area = float((recall.diff(prepend=recall.new_zeros(1)) * precision).sum()) if len(recall) else torch.nan
    numbers = {
        "accuracy": _mean(there == said),
        "majority": _majority(there.long()),
        "precision": _mean(there[said]),
        "recall": _mean(said[there]),
        "AP_presence": area,
        **_box_metrics(answers.objects(), mean_box),
    }
    return {name: numbers[name] for name in PRESENCE}


def class_metrics(answers: Answers, mean_box: Tensor) -> dict[str, float]:
    """Return the metrics `CLASSES` of the images with an object; the score does not matter.

    `correct` is the share of objects whose class is right and whose box has an IoU of at least 0.5. `mean_box` is that
    of `presence_metrics`.
    """
    answers = answers.objects()
    right = answers.label == answers.true_label
    numbers = {
        "accuracy": _mean(right),
        "majority": _majority(answers.true_label),
        "correct": _mean(right & (answers.overlaps() >= 0.5)),
        **_box_metrics(answers, mean_box),
    }
    return {name: numbers[name] for name in CLASSES}


def precision_recall(answers: Answers) -> tuple[Tensor, Tensor]:
    """Return precision and recall of presence, float64 `[scores]`, where each different score is the lowest accepted.

    Scores descend, so recall ascends to 1. Equal scores are accepted together. Recall is NaN without objects.
    """
    score, order = answers.score.sort(descending=True, stable=True)
    hits = (answers.true_label[order] >= 0).double().cumsum(0)
    last = torch.nn.functional.pad(score[1:] != score[:-1], (0, min(1, len(score))), value=True).nonzero().squeeze(1)
    return hits[last] / (last + 1), hits[last] / hits[-1:]


def intervals(
    answers: Answers, metrics: Callable[[Answers], dict[str, float]], resamples: int, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return 95 % intervals of the metrics, (low, high) by name: how much they depend on which images there are.

    As for AP (`yolo.metrics.bootstrap`): the central part of resamples of the images, moved so that their mean is at
    the value. The draws depend on the seed and the number of images alone. A metric that is not defined is left out.

    Args:
        answers: the answers and the truth.
        metrics: `presence_metrics` or `class_metrics` with the mean box of the training set.
        resamples: the number of resamples, for example 1000.
        seed: chooses the resamples.
    """
    images = len(answers.score)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(max(1, images), (resamples, images), generator=generator)
    rows = [metrics(answers.of(row)) for row in drawn]
    found: dict[str, tuple[float, float]] = {}
    for name, value in metrics(answers).items():
        values = torch.tensor([row[name] for row in rows], dtype=torch.float64)
        values = values[~values.isnan()]
        if len(values):
            found[name] = centred(value, values, 0.95, highest=torch.inf if "/" in name else 1.0)
    return found


def _box_metrics(answers: Answers, mean_box: Tensor) -> dict[str, float]:
    """Return the metrics of the boxes in images with an object."""
    overlaps = answers.overlaps()
    distance = (corners_in_order(answers.boxes) - answers.true_boxes).abs() / answers.sizes.repeat(1, 2)
    return {
        "IoU": _mean(overlaps),
        "IoU_mean_box": _mean(answers.always(mean_box).overlaps()),
        "IoU50": _mean(overlaps >= 0.5),
        "L1/224": _mean(distance) * SIDE,
    }


def _mean(values: Tensor) -> float:
    """Return the mean of numbers, or the share of True; NaN if there are none."""
    return float(values.double().mean())


def _majority(labels: Tensor) -> float:
    """Return the share of the most frequent label; NaN without labels."""
    return float(torch.bincount(labels, minlength=1).max().double() / len(labels)) if len(labels) else torch.nan
