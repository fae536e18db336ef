"""What a network makes of labels: numbers that show why a loss trains or does not.

They are measured at an evaluation, in evaluation mode, without augmentation, under the run's own assignment. All are
means over the images:

    probe/iou               IoU of a positive's box with its label
    probe/low_iou           share of positives with an IoU below 0.1: 1 - IoU gives them next to no direction
    probe/objectness        probability that a positive is an object
    probe/calibration       its distance from the positive's IoU, which is its target with `obj_label=iou`
    probe/moved             share of labels whose responsible anchor or scale is another than at the evaluation before
    probe/scale_S           share of labels for which an anchor of scale S is responsible, heads in the order of the cfg
    probe/near_misses       for each label, predictions that overlap it by 0.5 or more and are responsible for none
    probe/near_objectness   probability that such a near miss is an object
    probe/near_share        part of the no-object loss that comes from near misses (none with `ignore_thresh`)

And of the sure detections, those with confidence 0.3 after NMS at 0.5 (`yolo/training/glance.py`), at an IoU of 0.5:

    probe/sure_AP50         their AP50, which those with less confidence would raise
    probe/sure_found        share of the objects that one of them finds
    probe/duplicates        for each object, sure detections of it beside the one that finds it
    probe/false             for each object, sure detections that are wrong in another way

Letters: `N` labels of the data set, `S` scales, `B, A, H, W`; R = S · N rows of an assignment, or N.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from yolo.boxes import iou
from yolo.data.loader import Batch
from yolo.detection.assign import Assignment, assign
from yolo.detection.grid import Grid, make_grids
from yolo.detection.labels import pack_labels
from yolo.detection.near_misses import near_labels
from yolo.metrics.coco import evaluate
from yolo.metrics.collect import Collector
from yolo.metrics.errors import error_breakdown
from yolo.metrics.verdict import verdict
from yolo.models.detector import Detector
from yolo.models.yolo import YoloDetector
from yolo.options.train import Train
from yolo.training.glance import AT_HALF, Glance, collect_sure
from yolo.training.validation import Validation
from yolo.training.watch import Arithmetic, Watcher

LOW, NEAR = 0.1, 0.5
"""IoU below which a positive's box has lost its label; above which a prediction is a near miss."""


class Probe(Watcher):
    """A watcher that measures at every evaluation.

    Args:
        batches: the images to measure on, with their labels.
        arithmetic: of the network.

    It remembers which anchor was responsible for each label, int64 `[S, N]` (-1: none), until the next evaluation.
    """

    def __init__(self, batches: Iterable[Batch], arithmetic: Arithmetic) -> None:
        self.batches, self.arithmetic = batches, arithmetic
        self.before: Tensor | None = None

    def evaluated(self, detector: Detector) -> dict[str, float]:
        """Return the numbers of a YOLO. Numbers without data (no positives, no evaluation before) are left out."""
        assert isinstance(detector, YoloDetector)
        network, rule = detector.network, detector.loss.assign
        device, was_training = next(network.parameters()).device, network.training
        network.eval()
        sums = torch.zeros(9, dtype=torch.float64, device=device)
        answers, detections = [], Collector(detector.names, device)
        with torch.no_grad():
            for batch in self.batches:
                images, targets = batch
                labels = pack_labels(targets, (images.shape[2], images.shape[3])).to(device)
                with self.arithmetic():
                    raw = network(images.to(device) / 255)
                collect_sure(detections, detector, raw, batch)
                raw = [scale.float() for scale in raw]
                found = assign(raw, labels, network.heads, rule)
                answers.append(_answers(found, len(network.heads), len(labels)))
                for s, grid in enumerate(make_grids(raw, network.heads, labels.dtype)):
                    sums += _sums(raw[s], grid, labels, found, s)
        network.train(was_training)
        now, before = torch.cat(answers, dim=1), self.before
        numbers = _means(sums.tolist(), now.shape[1]) | _sure(detections)
        if now.shape[1]:
            numbers |= {f"probe/scale_{s}": float((anchors >= 0).double().mean()) for s, anchors in enumerate(now)}
        if before is not None and before.shape == now.shape and now.shape[1]:
            numbers["probe/moved"] = float((now != before.to(now.device)).any(0).double().mean())
        self.before = now
        return numbers

    def state_dict(self) -> dict[str, Tensor]:
        """Return what is remembered."""
        return {} if self.before is None else {"answers": self.before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with that."""
        self.before = state.get("answers")


def watchers(
    detector: YoloDetector, options: Train, validation: Validation, arithmetic: Arithmetic
) -> dict[str, Watcher]:
    """Return the watchers of a YOLO's training that the options ask for."""
    found: dict[str, Watcher] = {}
    if options.glance is not None:
        found["glance"] = Glance(detector, options.glance, arithmetic)
    if options.probe:
        found["probe"] = Probe(validation.loader, arithmetic)
    return found


def _answers(found: Assignment, scales: int, N: int) -> Tensor:
    """The anchor that is responsible for each label at each scale, `[S, N]`; -1 for none."""
    answers = torch.full((scales, N), -1, device=found.n.device)
    on = found.matched
    answers[found.s[on], found.n[on]] = found.a[on]
    return answers


def _sums(raw: Tensor, grid: Grid, labels: Tensor, found: Assignment, s: int) -> Tensor:
    """Of one scale: positives, their IoUs, low ones, objectness, distance of the two; near misses, their objectness and
    loss; the loss of all that is no object. float64 `[9]`."""
    on = found.matched & (found.s == s)
    n, b, a, i, j = (index[on] for index in found[1:6])
    overlap = iou(grid.boxes(raw[b, a, i, j, :4], a, i, j), grid.truths(labels)[n])
    sure = raw[b, a, i, j, 4].sigmoid()
    nothing = torch.ones(raw.shape[:4], dtype=torch.bool, device=raw.device)
    nothing[b, a, i, j] = False
    near = near_labels(raw, labels, grid, NEAR) & nothing
    loss = softplus(raw[..., 4].double())  # cross entropy with target 0
    parts = (
        on.sum(),
        overlap.sum(),
        (overlap < LOW).sum(),
        sure.sum(),
        (sure - overlap).abs().sum(),
        near.sum(),
        (raw[..., 4].sigmoid() * near).sum(),
        (loss * near).sum(),
        (loss * nothing).sum(),
    )
    return torch.stack([part.double() for part in parts])


def _sure(detections: Collector) -> dict[str, float]:
    """The numbers of the sure detections."""
    result = evaluate(detections.records(), detections.names, AT_HALF)
    found = verdict(result)
    objects, wrong = int(found.objects.sum()), int((found.counted & ~found.hit).sum())
    if not objects:
        return {}
    duplicates = error_breakdown(result).number["duplicate"]
    return {
        "probe/sure_AP50": result.ap(),
        "probe/sure_found": 1 - int(found.missed.sum()) / objects,
        "probe/duplicates": duplicates / objects,
        "probe/false": (wrong - duplicates) / objects,
    }


def _means(sums: list[float], N: int) -> dict[str, float]:
    """The sums as means."""
    positives, overlap, low, sure, off, near, near_sure, near_loss, loss = sums
    means: dict[str, float] = {}
    if positives:
        means |= {"iou": overlap / positives, "low_iou": low / positives}
        means |= {"objectness": sure / positives, "calibration": off / positives}
    if N:
        means["near_misses"] = near / N
    if near:
        means |= {"near_objectness": near_sure / near, "near_share": near_loss / loss}
    return {f"probe/{name}": value for name, value in means.items()}
