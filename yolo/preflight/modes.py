"""Training and evaluation mode: whether detection depends on the mode, whether batch statistics settle; thresholds."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from yolo.data.loader import Batch
from yolo.options.detection import EVALUATION, Filter
from yolo.preflight.line import Line, Row, judged
from yolo.preflight.subject import Subject
from yolo.preflight.trial import LATER, LOW, Trial, within

IMAGES, STEPS, PASSES = 16, 20, 20
"""At most so many images are learned in so many steps; then batch statistics have so many passes to settle."""

SHARE = 0.3
"""The share of the remaining time that the steps may take, and the passes after them."""

SETTLED = 3.0
"""A larger loss in evaluation mode, as a multiple of that in training mode: batch statistics have not settled."""


def modes(subject: Subject) -> Iterator[Line]:
    """Learn a few images; yield what differs between the two modes, and how many detections the thresholds leave."""
    trial, batch, rate = Trial(subject), subject.plain(subject.order[:IMAGES]), subject.peak
    steps = len([trial.step(batch, rate) for _ in within(subject.left * SHARE, range(STEPS))])
    losses = [trial.loss(batch) for _ in within(subject.left * SHARE, range(PASSES))]
    trial.detector.network.eval()
    own, settled = losses[-1], trial.loss(batch)
    fault = _mode_fault(trial, batch)
    remedy = "predict() must call network.eval(), and put the mode back after"
    well = "detection does not depend on the network's mode and leaves it alone"
    yield judged("evaluation mode", well, [(fault, "FAIL", fault, remedy)])
    found = {options.confidence: trial.detect(batch, options) for options in (Filter(), LOW)}
    numbers = ", ".join(f"{sum(map(len, each))} above {confidence:g}" for confidence, each in found.items())
    objects = sum(len(target["labels"]) for target in batch.targets)
    what = f"detections after {steps} steps on {len(batch.images)} images with {objects} objects: {numbers}"
    yield Line("PASS", "thresholds", what)
    what = f"the loss of a learned batch is {settled:.3g} in evaluation mode, {own:.3g} in training mode"
    advice = "a larger --batch-size, a larger momentum of the batch norm, or --freeze its layers"
    rows: list[Row] = [
        (len(losses) < PASSES, "SKIP", "not checked: no time", LATER),
        (settled > SETTLED * own, "WARN", f"{what}: batch statistics have not settled", advice),
    ]
    yield judged("batch statistics", what, rows)


def _mode_fault(trial: Trial, batch: Batch) -> str:
    """Return how detection depends on the mode of the network or changes it; empty if it does neither."""
    network, found = trial.detector.network, []
    for training in (False, True):
        network.train(training)
        before = [module.training for module in network.modules()]
        found.append(trial.detect(batch, EVALUATION))
        if before != [module.training for module in network.modules()]:
            return f"detection does not put the network back into {'training' if training else 'evaluation'} mode"
    same = all(
        len(one) == len(other)
        and torch.allclose(one.scores, other.scores, rtol=1e-3, atol=1e-5, equal_nan=True)
        and torch.allclose(one.boxes, other.boxes, rtol=1e-3, atol=1e-3, equal_nan=True)
        for one, other in zip(*found, strict=True)
    )
    return "" if same else "detections differ between a network in training mode and one in evaluation mode"
