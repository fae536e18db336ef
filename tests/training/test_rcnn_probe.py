"""The numbers of `--probe` of Faster R-CNN, for a detector whose counts are known."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.mean_box import MeanBoxDetector, MeanBoxNetwork
from tests.support.train_problems import shapes
from yolo.data.datasets import open_data
from yolo.models.detector import Losses
from yolo.options.faster_rcnn import FasterRcnn
from yolo.options.registry import find_model, resolve
from yolo.size import Size
from yolo.training.rcnn_probe import watchers
from yolo.training.validation import Validation


class Counting(MeanBoxDetector):
    """Has 200 anchors for an image, of which 3 are positive for each object and 5 belong to neither side."""

    def losses(self, images: Tensor, targets: Sequence[Any], through: nn.Module | None = None) -> Losses:
        """Return the losses of the mean box, with the counts of a Faster R-CNN."""
        assert not torch.is_grad_enabled()
        assert not self.network.training
        B, objects = len(images), sum(len(target["labels"]) for target in targets)
        counts = {"anchors": 200 * B, "positive_anchors": 3 * objects, "negative_anchors": 195 * B - 3 * objects}
        counts |= {"sampled_objects": 2 * objects, "sampled_background": 48 * B, "labels": objects}
        terms = super().losses(images, targets, through).terms
        return Losses(terms, {name: torch.tensor(count) for name, count in counts.items()})


def test_means_per_image(tmp_path: Path) -> None:
    """Of each evaluation its own; the labels are not a number of the probe."""
    data = open_data(shapes(tmp_path), split="val")
    objects = len(data.index.labels) / len(data)
    detector = Counting(MeanBoxNetwork(len(data.names), 0.5), list(data.names), Size(64, 64))
    validation = Validation(data, detector, arithmetic=nullcontext)
    probe = watchers(detector, FasterRcnn(model="faster-rcnn", probe=True), validation, nullcontext)["probe"]
    for _ in range(2):
        validation(detector)
        numbers = probe.evaluated(detector)
        assert numbers == pytest.approx(
            {
                "probe/anchors": 200,
                "probe/positive_anchors": 3 * objects,
                "probe/negative_anchors": 195 - 3 * objects,
                "probe/sampled_objects": 2 * objects,
                "probe/sampled_background": 48,
                "probe/positive_share": 3 * objects / 200,
            }
        )


def test_it_is_off_by_default(tmp_path: Path) -> None:
    """And the model's watchers are those of this file."""
    assert [resolve(make) for make in find_model("faster-rcnn").watchers] == [watchers]
    assert watchers(None, FasterRcnn(model="faster-rcnn"), None, nullcontext) == {}  # type: ignore[arg-type]
