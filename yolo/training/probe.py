"""How well a network fits its labels: numbers that show why a loss trains or does not.

They are measured at an evaluation, in evaluation mode, without augmentation, with the assignment of the run. All are
means over the evaluated images:

    probe/iou               IoU of a positive's box with its label
    probe/low_iou           share of positives with an IoU below 0.1, where the loss 1 - IoU has almost no gradient
    probe/objectness        probability that a positive is an object
    probe/calibration       distance of that from the positive's IoU, which is the target with `obj_label=iou`
    probe/moved             share of labels with another responsible anchor or scale than at the previous evaluation
    probe/scale_S           share of labels for which an anchor of scale S is responsible, heads in the order of the cfg
    probe/near_misses       predictions per label that overlap it by 0.5 or more and are not responsible for any label
    probe/near_objectness   probability that such a near miss is an object
    probe/near_share        share of the no-object loss that comes from near misses (none with `ignore_thresh`)

And for confident ("sure") detections, confidence 0.3 after NMS at 0.5 (`yolo/training/glance.py`), at an IoU of 0.5:

    probe/sure_AP50         their AP50; detections with less confidence would raise it
    probe/sure_found        share of the objects that a sure detection finds
    probe/duplicates        sure detections per object that find it again
    probe/false             sure detections per object that are wrong in another way

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
from yolo.models.detector import Detector, evaluating
from yolo.models.yolo import YoloDetector
from yolo.options.train import Train
from yolo.training.glance import AT_HALF, Glance, collect_sure
from yolo.training.precision import Arithmetic
from yolo.training.validation import Validation
from yolo.training.watch import Watcher

LOW, NEAR = 0.1, 0.5
"""Below an IoU of LOW the box of a positive has lost its label; from NEAR on a prediction is a near miss."""


class Probe(Watcher):
    """A watcher that measures at every evaluation.

    It remembers which anchor was responsible for each label, int64 `[S, N]` (-1: none), until the next evaluation.

    Args:
        batches: the images to measure on, with their labels.
        arithmetic: the arithmetic of the network.
    """

    def __init__(self, batches: Iterable[Batch], arithmetic: Arithmetic) -> None:
        self.batches, self.arithmetic = batches, arithmetic
        self.before: Tensor | None = None

    def evaluated(self, detector: Detector) -> dict[str, float]:
        """Return the numbers of a YOLO. Numbers without data (no positives, first evaluation) are left out."""
        assert isinstance(detector, YoloDetector)
        network, rule = detector.network, detector.loss.assign
        device = detector.device
        sums = torch.zeros(9, dtype=torch.float64, device=device)
        answers, detections = [], Collector(detector.names, device)
        with evaluating(network), torch.no_grad():
            for batch in self.batches:
                labels = pack_labels(batch.targets, (batch.images.shape[2], batch.images.shape[3])).to(device)
                # Only the network computes in the arithmetic of training; the rest is float32, as in the loss.
                with self.arithmetic():
                    raw = [scale.float() for scale in network(batch.images.to(device) / 255)]
                collect_sure(detections, detector, raw, batch)
                found = assign(raw, labels, network.heads, rule)
                answers.append(_answers(found, len(network.heads), len(labels)))
                for s, grid in enumerate(make_grids(raw, network.heads, labels.dtype)):
                    sums += _sums(raw[s], grid, labels, found, s)
        # Images and their order are the same at each evaluation, so columns can be compared.
        now, before = torch.cat(answers, dim=1), self.before
        numbers = _means(sums.tolist(), now.shape[1]) | _sure(detections)
        if now.shape[1]:
            numbers |= {f"probe/scale_{s}": float((anchors >= 0).double().mean()) for s, anchors in enumerate(now)}
        if before is not None and before.shape == now.shape and now.shape[1]:
            numbers["probe/moved"] = float((now != before.to(now.device)).any(0).double().mean())
        self.before = now
        return numbers

    def state_dict(self) -> dict[str, Tensor]:
        """Return the responsible anchors of the latest evaluation; empty before the first."""
        return {} if self.before is None else {"answers": self.before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.before = state.get("answers")


def watchers(
    detector: YoloDetector, options: Train, validation: Validation, arithmetic: Arithmetic
) -> dict[str, Watcher]:
    """Return the watchers of a YOLO's training that the options enable."""
    found: dict[str, Watcher] = {}
    if options.glance is not None:
        found["glance"] = Glance(detector, options.glance, arithmetic)
    if options.probe:
        found["probe"] = Probe(validation.loader, arithmetic)
    return found


def _answers(found: Assignment, scales: int, N: int) -> Tensor:
    """Return the anchor that is responsible for each label at each scale, int64 `[S, N]`; -1 for none."""
    answers = torch.full((scales, N), -1, device=found.n.device)
    on = found.matched
    answers[found.s[on], found.n[on]] = found.a[on]
    return answers


def _sums(raw: Tensor, grid: Grid, labels: Tensor, found: Assignment, s: int) -> Tensor:
    """Return the sums of one scale, float64 `[9]`.

    Of positives: number, IoUs, number of low ones, objectness, distance of objectness and IoU. Of near misses: number,
    objectness, loss. Of everything that is not an object: loss.
    """
    on = found.matched & (found.s == s)
    n, b, a, i, j = (index[on] for index in found[1:6])
    overlap = iou(grid.boxes(raw[b, a, i, j, :4], a, i, j), grid.truths(labels)[n])
    sure = raw[b, a, i, j, 4].sigmoid()
    # Near misses are predictions in slots without a positive.
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
    """Return the numbers of the sure detections; empty without objects."""
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
    """Return the means of the sums that `_sums` lists; `N` is the number of labels."""
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
