"""The checks of benchmarks/gpu.py: what the project computes on a GPU is what it computes on the CPU."""

from __future__ import annotations

import contextlib
import copy
import itertools
import subprocess
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gpu_bench import Bench, Rows, apart, in_words, require
from inference import random_network
from loss import problem
from measure import race, timed
from metrics import draw_set, per_image, twelve_of_ours
from nms import CONFIDENCE, IOU, KEEP, SIZE, heads, ours, predictions
from resume import BATCHES, kill_at, outcome, recipe, start

from yolo.boxes import Detections
from yolo.darknet.inference import inference_copy
from yolo.detection.loss import compute_loss
from yolo.detection.postprocess import candidates, postprocess
from yolo.images.placement import Placement
from yolo.options.detection import Filter
from yolo.size import Size
from yolo.training.full_batches import recorded

CPU = torch.device("cpu")


@torch.inference_mode()
def same_nms(bench: Bench) -> Rows:
    """NMS keeps the boxes that it keeps on the CPU, in the same order. Then the times from predictions to detections.

    The candidates are those of the CPU, because a GPU rounds scores differently, which is not the fault of NMS.
    """
    yolo_heads = heads()
    raws = predictions(yolo_heads, bench.scale.candidates)
    found = candidates(raws, yolo_heads, SIZE, CONFIDENCE)
    fields = (found.boxes, found.scores, found.labels)
    moved = [field.to(bench.device) for field in fields]
    for (kind, agnostic), limit in itertools.product((("iou", False), ("diou", False), ("iou", True)), (KEEP, None)):
        expected, kept = (ours(part, kind, agnostic, limit).cpu() for part in (fields, moved))
        variant = f"{kind}, {'across' if agnostic else 'within'} classes, limit {limit}"
        require(kept.equal(expected), f"{variant}: not the {len(expected)} boxes that the CPU keeps")
    yield "boxes that the CPU keeps", f"yes, 6 variants, {len(found.scores):,} candidates"

    placed, limits = (
        [Placement.letterbox(Size(480, 640), SIZE)],
        Filter(confidence=CONFIDENCE, nms=IOU, max_detections=KEEP),
    )
    turns = {}
    for device in dict.fromkeys((bench.device, CPU)):
        batch = [raw[None].to(device) for raw in raws]
        there = [copy.deepcopy(head).to(device) for head in yolo_heads]
        run = partial(postprocess, batch, there, SIZE, placed, limits)
        turns[str(device)] = timed(run, 3, unit=1e3, wait=bench.wait)
    for name, figures in race(turns, bench.scale.rounds, warmup=1).items():
        yield f"from predictions to detections, one image, {name}", in_words(figures, "ms")


def same_loss(bench: Bench) -> Rows:
    """Every variant of the loss has the CPU's value and gradients, and nothing in it waits for the device."""
    yolo_heads, raws, labels = problem(bench.scale.loss_batch, 10 * bench.scale.loss_batch)
    places = (CPU, bench.device)
    models = [SimpleNamespace(heads=[copy.deepcopy(head).to(place) for head in yolo_heads]) for place in places]
    leaves = [[raw.detach().to(place).requires_grad_() for raw in raws] for place in places]
    truths = [labels.to(place) for place in places]
    boxes, targets, rules = ("mse", "iou", "giou", "diou", "ciou"), ("1", "iou"), ("ratio", "prediction", "prior")
    extras: list[dict[str, Any]] = [{}, {"ignore_thresh": 0.5}, {"obj_reduction": "sum", "focal_gamma": 2.0}]
    worst, variants = 0.0, 0
    for box, target, rule, extra in itertools.product(boxes, targets, rules, extras):
        chosen = {"bbox_loss": box, "obj_label": target, "assign": rule, **extra}
        results = []
        for k, place in enumerate(places):
            with never_waiting(place):
                terms = compute_loss(leaves[k], truths[k], models[k], **chosen)
                results.append([*terms, *torch.autograd.grad(terms.total, leaves[k])])
        difference = apart(results[1], results[0])
        require(difference < 1e-3, f"{chosen}: differs from the CPU's by {difference:.1e}")
        worst, variants = max(worst, difference), variants + 1
    waits = "without waiting for the device, " if bench.cuda else ""
    yield "values and gradients of the CPU", f"yes, {waits}{variants} variants, largest difference {worst:.1e}"


@contextlib.contextmanager
def never_waiting(device: torch.device) -> Iterator[None]:
    """Within the block it is an error to wait for a GPU."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.synchronize(device)
    try:
        with warnings.catch_warnings():  # the mode warns that it is a prototype
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def same_metrics(bench: Bench) -> Rows:
    """COCO's twelve numbers of drawn detections are those of the CPU. Then how long they take."""
    count = bench.scale.detections
    found, targets = per_image(draw_set(max(10, count // 100), count))
    numbers: dict[str, list[float]] = {}

    def run(name: str, detections: list[Detections]) -> None:
        numbers[name] = twelve_of_ours(detections, targets, name)

    places = dict.fromkeys((str(bench.device), "cpu"))
    detections = {
        name: [Detections(one.boxes.to(name), one.scores.to(name), one.labels.to(name)) for one in found]
        for name in places
    }
    turns = {name: timed(partial(run, name, detections[name]), wait=bench.wait) for name in places}
    times = race(turns, min(5, bench.scale.rounds), warmup=1)
    difference = float(np.abs(np.subtract(numbers[str(bench.device)], numbers["cpu"])).max())
    require(difference < 1e-12, f"the twelve numbers differ from the CPU's by {difference:.1e}")
    yield "the twelve numbers of the CPU", f"yes, largest difference {difference:.1e}"
    for name, figures in times.items():
        yield f"metrics of {count:,} detections, {name}", in_words(figures, "s")


@torch.inference_mode()
def same_folded(bench: Bench) -> Rows:
    """The inference copy predicts what the network predicts, up to the rounding of its arithmetic."""
    network = random_network(bench.scale.cfgs[0], bench.scale.size).to(bench.device).eval()
    images = torch.rand(2, 3, bench.scale.size, bench.scale.size, device=bench.device)
    folded = inference_copy(network)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected = network(images)
        fp32 = apart(folded(images), expected)
    tf32 = apart(folded(images), expected)  # PyTorch's default for convolutions in float32
    bf16 = apart(inference_copy(network, torch.bfloat16)(images), expected)
    require(fp32 < 1e-4, f"the folded copy differs by {fp32:.1e}")
    require(max(tf32, bf16) < 0.1, f"tf32 differs by {tf32:.1e}, bf16 by {bf16:.1e}")
    figure = f"up to {fp32:.1e} in fp32, {tf32:.1e} by default (tf32 on a GPU), {bf16:.1e} in bf16"
    yield "predictions of the network", figure


def same_graphs(bench: Bench) -> Rows:
    """A replayed pass has the numbers of the pass, and replayed training steps have gradients of the same size."""
    network = random_network(bench.scale.cfgs[0], bench.scale.size).to(bench.device)
    images = torch.rand(2, 3, bench.scale.size, bench.scale.size, device=bench.device)
    folded = inference_copy(network, torch.bfloat16)
    passes = [folded(images) for _ in range(3)]
    require(any(made is not None for made in folded.replays._made.values()), "no pass was recorded")
    difference = apart(passes[2], folded.compute(images))
    require(difference < 1e-5, f"a replayed pass differs by {difference:.1e}")
    yield "predictions of the pass", f"yes, largest difference {difference:.1e}"
    other = copy.deepcopy(network)
    fast, gradients = recorded(network), []
    for run, own in ((fast, network), (other, other)):
        own.train()
        for scale in (1.0, 0.5):  # two batches of one step
            with torch.autocast(bench.device.type, torch.bfloat16):
                raw = run(images * scale)
            torch.stack([part.float().square().mean() for part in raw]).sum().backward()
        gradients.append([parameter.grad for parameter in own.parameters() if parameter.grad is not None])
    difference = apart(*gradients)
    require(difference < 0.05, f"the gradients of a replayed step differ by {difference:.1e}")
    yield "gradients of two batches", f"yes, largest difference {difference:.1e}"


def same_resumed(bench: Bench) -> Rows:
    """A run with --deterministic that is killed and resumed ends as the undisturbed one, bit for bit."""
    words = [*recipe(bench.shapes(), str(bench.device), "auto"), "--workers", 0, "--deterministic"]
    whole, killed, note = bench.folder / "whole", bench.folder / "killed", bench.folder / "killed.note"
    # Two processes at once, because each takes seconds to start.
    undisturbed = limited(start(bench.folder / "whole.note", *words, "--out", whole))
    place = kill_at(limited(start(note, *words, "--out", killed)), note, (3, BATCHES // 2), 0.0)
    require(undisturbed.wait() == 0, "the undisturbed run failed; its error is above")
    require(place is not None and place[1] == 3, f"killed at {place}, not in epoch 3")
    require(limited(start(note, "--resume", killed)).wait() == 0, "the resumed run failed; its error is above")
    require(outcome(whole) == outcome(killed), "the resumed run differs from the undisturbed one")
    yield "the undisturbed run, bit for bit", "yes, after a SIGKILL in the third of four epochs"


def limited(process: subprocess.Popen[bytes], seconds: float = 100) -> subprocess.Popen[bytes]:
    """Return a process that is killed if it takes longer, so that a hanging one does not end the benchmark."""
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    return process
