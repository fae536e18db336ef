"""AP50 of confident detections in images that were just learned.

This is not an evaluation. It is how many published curves of mAP are made, including those of the blog post.
`--glance N` logs it next to the metrics of the evaluation, to show where the two differ:

    glance/AP50         of batches 0, N, 2N, ... of an epoch, right after its step, network in evaluation mode
    glance/AP50_batch   the same in training mode: batch norm takes the statistics of the batch, not its running ones

Letters: `B, A, H, W, C`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from yolo.data.loader import Batch
from yolo.images.placement import Placement
from yolo.metrics.coco import Rules, evaluate
from yolo.metrics.collect import Collector
from yolo.models.yolo import YoloDetector
from yolo.options.detection import Filter
from yolo.size import Size
from yolo.training.precision import Arithmetic
from yolo.training.watch import Watcher

SURE = Filter(confidence=0.3, nms=0.5)
"""The thresholds of the blog post. Objects that are found with less confidence do not count."""

AT_HALF = Rules(thresholds=(0.5,), areas={"all": (0.0, 1e10)})
"""The rules of AP50 alone."""


def collect_sure(seen: Collector, detector: YoloDetector, raw: Sequence[Tensor], batch: Batch) -> None:
    """Add the confident detections in a batch to those seen before, all boxes in pixels of the network input.

    Args:
        seen: collects detections and targets.
        detector: selects detections from predictions.
        raw: the raw predictions for the batch, `[B, A, H, W, 5 + C]` of each head.
        batch: the images and their targets.
    """
    size = Size(*batch.images.shape[2:])
    whole = Placement.stretch(size, size)
    found = detector.select([scale.float() for scale in raw], [whole] * len(batch.images), SURE)
    seen.update(found, batch.targets)


class Glance(Watcher):
    """A watcher that examines every N-th batch. It changes neither weights, batch norm nor random numbers.

    Args:
        detector: the detector that is trained.
        every: N; the first batch of an epoch is examined.
        arithmetic: the arithmetic of the network.
    """

    def __init__(self, detector: YoloDetector, every: int, arithmetic: Arithmetic) -> None:
        self.detector, self.every, self.arithmetic = detector, every, arithmetic
        self.device = next(detector.network.parameters()).device
        self._forget()

    def step(self, first: int, batches: Sequence[Batch]) -> None:
        """Examine, right after a step, every N-th of its batches; `first` counts within the epoch."""
        for batch in batches[-first % self.every :: self.every]:
            collect_sure(self._seen["AP50"], self.detector, self._predict(batch.images, False), batch)
            collect_sure(self._seen["AP50_batch"], self.detector, self._predict(batch.images, True), batch)

    def epoch(self) -> dict[str, float]:
        """Return this epoch's numbers and reset; empty if no batch with objects was examined."""
        numbers: dict[str, float] = {}
        for name, seen in self._seen.items():
            records = seen.records()
            if len(records.image_ids):
                ap = evaluate(records, self.detector.names, AT_HALF).ap()
                numbers |= {f"glance/{name}": ap} if ap != -1 else {}
        self._forget()
        return numbers

    def state_dict(self) -> dict[str, Any]:
        """Return the detections and targets of this epoch so far."""
        return {name: seen.state_dict() for name, seen in self._seen.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        for name, seen in self._seen.items():
            seen.load_state_dict(state[name])

    def _forget(self) -> None:
        self._seen = {name: Collector(self.detector.names, self.device) for name in ("AP50", "AP50_batch")}

    def _predict(self, images: Tensor, training: bool) -> list[Tensor]:
        """Return raw predictions in either mode. Buffers, mode and random numbers of the training do not change."""
        network, was_training = self.detector.network, self.detector.network.training
        # In training mode batch norm updates its statistics; here it updates these copies.
        buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        devices = [self.device] if self.device.type == "cuda" else []
        network.train(training)
        with torch.no_grad(), torch.random.fork_rng(devices), self.arithmetic():
            raw: list[Tensor] = functional_call(network, buffers, (images.to(self.device) / 255,))
        network.train(was_training)
        return raw
