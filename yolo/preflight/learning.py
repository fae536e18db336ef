"""Whether the network can learn: its gradients, its loss at the start, the learning rate, one batch by heart.

All of it takes about half of the time of the subject: the number of images and steps follows from the first step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from statistics import fmean, median

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from yolo.boxes import iou, xyxy_to_cxcywh
from yolo.data.loader import Batch
from yolo.preflight.line import Line, Row, Verdict, judged
from yolo.preflight.subject import Subject
from yolo.preflight.trial import LATER, LOW, Trial, fitting, seconds_per_image, within
from yolo.training.optimizer import freeze, make_optimizer

IMAGES, RATE_STEPS, BATCH_STEPS = 8, 20, 150
"""Images with objects in a batch; the most steps of "learning rate", after its warm-up, and of "one batch"."""

LEAST, JUDGED = 5, 40
"""Steps of "learning rate" and of "one batch" that a verdict needs."""

RISEN = 2.0
"""A learning rate is too high if the loss rises by more than this factor."""

MOVED = 1e-7
"""Weights that change by a smaller share of their norm in a step are at rest: float32 can hardly hold the change."""

START, FLOOR, TOP, GROWTH = 1e-3, 1e-4, 1e-2, 1.2
"""The learning rate on one batch: the first, lowest and highest, and its growth in a step that lowers the loss."""


def learning(subject: Subject) -> Iterator[Line]:
    """Yield the lines "gradients", "start loss", "learning rate", "one batch"; only the second if it is not finite."""
    each = sum(seconds_per_image(Trial(subject), subject.batches(2)))
    trial, order, images = Trial(subject), subject.order, fitting(IMAGES, subject.left / 10, each)
    terms = trial.backward(subject.plain(order[:images]))
    start = sum(terms.values())
    if math.isfinite(start):
        trial.backward(subject.plain(order[images : 3 * images] or order[:images]))
        yield _gradients(subject, trial)
    yield _start_loss(subject, terms)
    if math.isfinite(start):
        yield _learning_rate(subject, start, each)
        yield _one_batch(subject, each)


def _gradients(subject: Subject, trial: Trial) -> Line:
    """Return the line on what trains; `trial` has the gradients of two batches."""
    network, spec = trial.detector.network, subject.parts.options.freeze
    weights = dict(network.named_parameters())
    named = freeze(deepcopy(subject.parts.detector.network), spec) if spec else []
    trained = {name for name, p in weights.items() if p.requires_grad}.difference(named)
    held = {id(p) for group in trial.optimizer.param_groups if group["factor"] for p in group["params"]}
    largest = {name: float(p.grad.abs().max()) for name, p in weights.items() if p.grad is not None}
    norms = [(f"{name}.", m) for name, m in network.named_modules() if isinstance(m, _BatchNorm) and m.training]
    counting = tuple(name for name, norm in norms if not any(p.requires_grad for p in norm.parameters()))
    awake = {name for name in weights if name in largest or name.startswith(counting)} - trained
    faults: list[tuple[Verdict, set[str], str, str]] = [
        ("FAIL", {name for name, size in largest.items() if not math.isfinite(size)},
         "get a gradient that is not finite", "try --precision fp32"),
        ("FAIL", trained - largest.keys(), "get no gradient", "is their branch detached, or its output not used?"),
        ("FAIL", awake, "are frozen and train all the same, or their statistics do",
         "does begin_epoch undo --freeze, or leave a frozen layer in training mode?"),
        ("FAIL", {name for name in trained if id(weights[name]) not in held},
         "get a gradient and do not move", "does the optimizer have them?"),
        ("WARN", {name for name in trained if largest.get(name) == 0},
         "get a gradient of 0 on two batches", "is the gain of a loss term 0, or are all their units dead?"),
    ]  # fmt: skip
    rows: list[Row] = [
        (names, verdict, f"{len(names)} parameters {what}: {', '.join(sorted(names)[:3])}{', ...' * (len(names) > 3)}",
         remedy) for verdict, names, what, remedy in faults
    ]  # fmt: skip
    well = f"reach all {len(trained)} parameters that train, and none of {len(weights) - len(trained)} others"
    return judged("gradients", well, rows)


def _start_loss(subject: Subject, terms: Mapping[str, float]) -> Line:
    """Return the line on the loss of a batch at the start."""
    fresh = subject.parts.options.weights is None and subject.parts.state is None
    promised = subject.parts.detector.start_loss() if fresh else {}
    words = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
    odd = [(name, *ends) for name, ends in promised.items() if not ends[0] <= terms[name] <= ends[1]]
    due = ", ".join(f"{name} from {low:.3g} to {high:.3g}" for name, low, high in odd)
    rows: list[Row] = [
        (not math.isfinite(sum(terms.values())), "FAIL", f"the loss of the first batch is not finite: {words}",
         "look for boxes without area (python -m yolo doctor), or weights that are not finite"),
        (odd, "WARN", f"{words}; initial weights promise {due}",
         "look at the gains of the loss, how it is averaged, and the biases of the last layers"),
    ]  # fmt: skip
    return judged("start loss", f"{words}{', as initial weights promise' if promised else ''}", rows)


def _learning_rate(subject: Subject, start: float, each: float) -> Line:
    """Return the line on the highest learning rate of the schedule, after a warm-up of three steps if there is one.

    Args:
        subject: the run.
        start: the loss of a batch with objects before the first step.
        each: seconds of a step per image.
    """
    options, schedule, peak = subject.parts.options, subject.parts.options.schedule, subject.peak
    warm = [peak * share for share in (0.1, 0.4, 0.7) if schedule.rise > 1]
    rates, seconds = [*warm, *[peak] * RATE_STEPS], subject.left / 5
    images = fitting(options.batch_size, seconds / len(rates), each)
    trial, losses = Trial(subject), list[float]()
    trained = [p for p in trial.detector.network.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in trained]
    for rate, batch in within(seconds, zip(rates, subject.batches(images), strict=False)):
        losses.append(trial.step(batch, rate))
        if not math.isfinite(losses[-1]):
            break
    norm = torch.nn.utils.get_total_norm
    shift = norm([p.detach() - old for p, old in zip(trained, before, strict=True)])
    share = float(shift / norm(before)) / len(losses)
    first, last = max(start, losses[0]), median(losses[-LEAST:])
    option = "--peak-lr" if "peak_lr" in schedule.read else "--lr"
    lower = f"{option} {peak / 10:.3g}, a tenth"
    steps = f"in {len(losses)} steps on {images} images at up to {rates[len(losses) - 1]:.3g}"
    goes = f"{steps} the loss goes from {first:.4g} to {last:.4g}"
    rows: list[Row] = [
        (not math.isfinite(losses[-1]), "FAIL", f"too high: {steps} the loss or its gradient is not finite", lower),
        (len(losses) < len(warm) + LEAST, "SKIP", f"not judged: there was time for {len(losses)} steps", LATER),
        (share < MOVED, "WARN", f"too low: {steps} the weights change by {share:.1g} a step",
         f"a higher {option}; 1e-3 is usual for adam, 1e-2 for sgd"),
        (last > RISEN * first, "WARN", f"too high: {goes}", lower),
    ]  # fmt: skip
    return judged("learning rate", goes, rows)


def _one_batch(subject: Subject, each: float) -> Line:
    """Return the line on learning one batch by heart, as soon as its loss has halved and an object is found.

    AdamW without weight decay takes steps of the same length in all models, whatever their gradients. Its rate begins
    at 1e-3, grows while the loss falls and is halved where it rises: small networks from random weights need 1e-2,
    large fully connected layers and trained backbones 1e-4. Dropout is off, since it is there to prevent this.
    """
    seconds = subject.left / 3
    trial, batch = Trial(subject), subject.plain(subject.order[: fitting(IMAGES, seconds / JUDGED, each)])
    network = trial.detector.network
    trial.optimizer = make_optimizer(network, "adamw", START, rate=trial.detector.rate)
    for module in network.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        if isinstance(module, _BatchNorm):  # after a few steps the usual statistics lie far behind the weights
            module.momentum = 1.0
    objects = sum(len(target["labels"]) for target in batch.targets)
    known, found, halved, rate, losses = _found(trial, batch), 0, False, START, list[float]()
    for step in within(seconds, range(1, BATCH_STEPS + 1)):
        losses.append(trial.step(batch, rate))
        last, present = losses[-2:][0], losses[-1]
        rate = min(TOP, rate * GROWTH) if present < last else max(FLOOR, rate / 2) if present > 1.1 * last else rate
        halved = fmean(losses[-3:]) <= losses[0] / 2
        if step % 5 == 0 or step == BATCH_STEPS:
            found = _found(trial, batch)
        if (halved and found) or not math.isfinite(present):
            break
    falls = f"in {len(losses)} steps the loss goes from {losses[0]:.4g} to {losses[-1]:.4g}"
    what = f"{falls}, {found} of {objects} objects in {len(batch.images)} images are found at IoU 0.5"
    good = (halved and found) or (known > objects / 2 and losses[-1] <= RISEN * losses[0])
    causes = "are all labels of one kind, or wrong, or other ones in each call? Are too many layers frozen?"
    few = len(losses) < JUDGED and math.isfinite(losses[-1])
    rows: list[Row] = [
        (few, "SKIP", f"not judged, for want of time: {what}", LATER),
        (halved, "WARN", what, "are there positives? Is the gain of the box loss too low?"),
        (True, "WARN" if found else "FAIL", what, causes),
    ]
    return judged("one batch", what, [] if good else rows)


def _found(trial: Trial, batch: Batch) -> int:
    """Return the number of objects of a batch that are found at IoU 0.5 with their class.

    Only as many detections of an image count as it has objects, the best ones: thousands of random boxes find anything.
    """
    trial.loss(batch)  # for the statistics of batch norm
    found = 0
    for one, target in zip(trial.detect(batch, LOW), batch.targets, strict=True):
        best, truths = one.to("cpu"), target["boxes"]
        table = iou(xyxy_to_cxcywh(best.boxes)[:, None], xyxy_to_cxcywh(truths))
        hits = (table >= 0.5) & (best.labels[:, None] == target["labels"])
        found += int(hits[: len(truths)].any(dim=0).sum())
    return found
