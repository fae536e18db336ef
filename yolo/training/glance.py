"""What a glance at a training sees: only detections that are sure, and only images that were just learned.

Many curves of mAP are made so, those of the blog post, too. It is no evaluation. `--glance N` logs it beside the proper
numbers, to see where the two part:

    glance/AP50         of the batches 0, N, 2N, ... of an epoch, each right after its step, network in evaluation mode
    glance/AP50_batch   the same in training mode: batch norm takes the statistics of the batch, not its running ones

Letters: `B, A, H, W, C` as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call

from yolo.images.placement import Placement
from yolo.metrics.coco import Rules, evaluate
from yolo.metrics.collect import Collector
from yolo.models.yolo import YoloDetector
from yolo.options.detection import Filter
from yolo.size import Size

if TYPE_CHECKING:
    from yolo.data.loader import Batch


SURE = Filter(confidence=0.3, nms=0.5)
"""The post's thresholds. What a curve drawn with them does not show: objects that are found with less confidence."""

AT_HALF = Rules(thresholds=(0.5,), areas={"all": (0.0, 1e10)})
"""AP50 and nothing else."""


def collect_sure(seen: Collector, detector: YoloDetector, raw: Sequence[Tensor], batch: Batch) -> None:
    """Adds the sure detections in a batch to those seen before, all boxes in pixels of the input.

    `raw`: the predictions for the batch, `[B, A, H, W, 5 + C]` of each head.
    """
    size = Size(*batch.images.shape[2:])
    shown = copy(detector)
    shown.options = SURE
    whole = Placement.stretch(size, size)
    found = shown.select([scale.float() for scale in raw], [whole] * len(batch.images))
    seen.update(found, [{**target, "boxes": target["boxes"].as_subclass(Tensor)} for target in batch.targets])


class Glance:
    """Looks at every so many batches of an epoch. It changes neither weights, batch norm nor random numbers.

    Args:
        detector: that is trained.
        every: batches from one look to the next; the first batch of an epoch is looked at.
        arithmetic: of the network.
    """

    def __init__(
        self, detector: YoloDetector, every: int, arithmetic: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self.detector, self.every, self.arithmetic = detector, every, arithmetic
        self.device = next(detector.network.parameters()).device
        self._forget()

    def __call__(self, first: int, batches: Sequence[Batch]) -> None:
        """Looks, right after a step, at those of its batches whose turn it is; `first` counts within the epoch."""
        for batch in batches[-first % self.every :: self.every]:
            collect_sure(self._seen["AP50"], self.detector, self._predict(batch.images, False), batch)
            collect_sure(self._seen["AP50_batch"], self.detector, self._predict(batch.images, True), batch)

    def numbers(self) -> dict[str, float]:
        """Of the epoch, which ends with this; nothing if none of its batches was looked at."""
        numbers = {}
        for name, seen in self._seen.items():
            records = seen.records()
            if len(records.image_ids):
                numbers[f"glance/{name}"] = evaluate(records, self.detector.names, AT_HALF).ap()
        self._forget()
        return numbers

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """What was seen in this epoch."""
        return {name: seen.state_dict() for name, seen in self._seen.items()}

    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Goes on with that."""
        for name, seen in self._seen.items():
            seen.load_state_dict(state[name])

    def _forget(self) -> None:
        self._seen = {name: Collector(self.detector.names, self.device) for name in ("AP50", "AP50_batch")}

    def _predict(self, images: Tensor, training: bool) -> list[Tensor]:
        """Raw predictions in either mode; what batch norm writes and dropout draws for it is thrown away."""
        network, was_training = self.detector.network, self.detector.network.training
        buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        devices = [self.device] if self.device.type == "cuda" else []
        network.train(training)
        with torch.no_grad(), torch.random.fork_rng(devices), self.arithmetic():
            raw: list[Tensor] = functional_call(network, buffers, (images.to(self.device) / 255,))
        network.train(was_training)
        return raw
