"""The speeds of benchmarks/gpu.py: matrix product, inference, training; and the experiment of the blog post."""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import math
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_bench import Bench, Rows, apart, in_words, require
from inference import random_network
from measure import Turn, clock, race, timed
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from train import Repeated, epoch_of, options
from yolo.__main__ import main as command
from yolo.darknet.cfg import read_cfg, with_classes
from yolo.darknet.inference import inference_copy
from yolo.darknet.network import Darknet
from yolo.darknet.plan import make_plan
from yolo.darknet.replays import Replays
from yolo.data.cache import Cached
from yolo.data.datasets import open_data
from yolo.data.loader import Loader
from yolo.data.sample import DataSet, Sample
from yolo.data.sampler import Batches
from yolo.data.transforms import Augmented
from yolo.models.yolo import YoloDetector
from yolo.options.augment import Augment
from yolo.size import Size
from yolo.training.assemble import assemble, gather
from yolo.training.batches import loader_workers
from yolo.training.run_folder import read_metrics


def measured_peak(bench: Bench) -> Rows:
    """The rate of a large bfloat16 matrix product, the fastest of all calls, is the peak of the parts that follow."""
    n = bench.scale.matrix
    a, b = (torch.randn(n, n, device=bench.device).to(torch.bfloat16) for _ in range(2))
    turn = timed(lambda: [a @ b for _ in range(10)], 3, wait=bench.wait)
    seconds = min(race({"product": turn}, bench.scale.rounds, warmup=1)["product"].values)
    bench.peak = 10 * 2 * n**3 / seconds
    yield f"bf16 matrix product, {n} x {n} x {n}", f"{bench.peak / 1e12:,.{2 if bench.cuda else 6}f} TFLOP/s"


@torch.inference_mode()
def inference(bench: Bench, cfg: str, batch: int) -> Rows:
    """Forward passes, from images on the device to raw predictions: what each step of preparing a network gains."""
    network, images = network_and_images(bench, cfg, batch)
    last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    folded, half = inference_copy(network), inference_copy(network, torch.bfloat16)
    contiguous = images.contiguous()
    runs: dict[str, Callable[[], object]] = {
        "fp32, contiguous": lambda: network(contiguous),
        "fp32, channels_last": lambda: last(images),
        "fp32, channels_last, folded": partial(folded.compute, images),
        "bf16, channels_last, folded": partial(half.compute, images),
    }
    if bench.cuda:  # of any batch here; the program records small ones
        graphs = Replays(few=math.inf)
        runs["bf16, channels_last, folded, CUDA graph"] = partial(graphs, half.compute, images)
    yield from forwards(bench, runs, network, batch)


def detection(bench: Bench, batch: int) -> Rows:
    """The whole of `detect` but reading files: uint8 pixels of 640 x 480 in, boxes out, at confidence 0.25."""
    size = Size(bench.scale.size, bench.scale.size)
    cfg = bench.scale.cfgs[0]
    for precision in ("fp32", "bf16"):
        network = random_network(cfg, size.height).to(bench.device)
        names = [str(k) for k in range(network.heads[-1].classes)]
        model = YoloDetector(network, names, size=size, precision=precision).own()
        pixels = [np.random.default_rng(k).integers(0, 256, (480, 640, 3), dtype=np.uint8) for k in range(batch)]
        run = partial(model.detect, pixels, batch_size=batch)
        figures = race({"": timed(run, 3, unit=1e3, wait=bench.wait)}, bench.scale.rounds, warmup=1)[""]
        yield precision, f"{in_words(figures, 'ms')}, {1e3 * batch / figures.median:,.0f} images/s"


def kernels(bench: Bench, batch: int) -> Rows:
    """What the time of the device in training steps goes to, by kind of kernel, and how much of the time it is busy."""
    size = bench.scale.size
    data = bench.data or bench.shapes()
    setup = argparse.Namespace(data=data, cfg=bench.scale.cfgs[0], size=size, batch=batch)
    folder, steps = Path(tempfile.mkdtemp(dir=bench.folder)), min(5, bench.scale.steps)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = assemble(gather(options(setup, folder, workers=0, epochs=10**6), bench.device))
        seen = Augmented(Repeating(open_data(data, split="train"), batch), Augment())
        single = next(iter(Loader(seen, Batches(batch, batch, Size(size, size)), pin=bench.cuda)))
        epoch = epoch_of(trainer, Repeated(single, steps))
        activities = [ProfilerActivity.CUDA if bench.cuda else ProfilerActivity.CPU]
        with trainer.run:
            epoch()
            with profile(activities=activities, acc_events=True) as found:
                seconds = clock(epoch, bench.wait)
    spent: dict[str, float] = {}
    for event in found.key_averages():
        kind = kind_of(event.key)
        own = event.self_device_time_total if bench.cuda else event.self_cpu_time_total
        spent[kind] = spent.get(kind, 0.0) + own / 1e6
    busy = sum(spent.values())
    yield "device busy", f"{busy / seconds:.0%} of {1e3 * seconds / steps:.1f} ms a step"
    for kind, own in sorted(spent.items(), key=lambda pair: -pair[1]):
        yield kind, f"{1e3 * own / steps:.2f} ms a step, {own / busy:.1%}"


KINDS = {
    "convolution": ("conv", "gemm", "wgrad", "dgrad", "xmma", "cutlass", "cudnn_infer", "implicit", "nhwckrsc"),
    "batch norm": ("batch_norm", "bn_fw", "bn_bw", "batchnorm"),
    "copies and casts": ("copy", "memcpy", "memset", "nchw", "nhwc", "to_copy"),
    "optimizer and average": ("multi_tensor", "fused", "foreach", "lerp"),
    "reductions": ("reduce", "sum", "norm"),
    "elementwise": ("elementwise", "leaky", "add", "mul", "cat", "where", "index", "scatter", "gather"),
}
"""Kinds of kernels by words in their names, the first that fits."""


def kind_of(kernel: str) -> str:
    """Return the kind of a kernel, from its name."""
    name = kernel.lower()
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "others")


def network_and_images(bench: Bench, cfg: str, batch: int) -> tuple[Darknet, Tensor]:
    """Return a network with random weights, and images `[batch, 3, h, w]` in channels_last memory."""
    network = random_network(cfg, bench.scale.size).to(bench.device).eval()
    images = torch.rand(batch, 3, bench.scale.size, bench.scale.size, device=bench.device)
    return network, images.contiguous(memory_format=torch.channels_last)


def forwards(bench: Bench, runs: dict[str, Callable[[], object]], network: Darknet, batch: int) -> Rows:
    """Race forward passes: latency, images per second, share of the peak."""
    turns = {name: timed(run, 3, unit=1e3, wait=bench.wait) for name, run in runs.items()}
    for name, figures in race(turns, bench.scale.rounds, warmup=2).items():
        rate = 1e3 * batch / figures.median
        share = rate * network.plan.flops / bench.peak
        yield name, f"{in_words(figures, 'ms')}, {rate:,.0f} images/s, {share:.1%} of the peak"


def compiled(bench: Bench, cfg: str, batch: int) -> Rows:
    """The bfloat16 copy by torch.compile, with CUDA graphs if that works: a minute before the first pass."""
    network, images = network_and_images(bench, cfg, batch)
    half = inference_copy(network, torch.bfloat16)
    compute = half.compute  # without the program's own graphs
    failure: Exception | None = None
    with torch.no_grad():
        expected = compute(images)
        for mode in ("reduce-overhead", "default"):
            run = partial(torch.compile(compute, mode=mode, dynamic=False), images)
            try:
                seconds = clock(run, bench.wait)
                difference = apart(run(), expected)
            except Exception as problem:  # of any type: this machine may lack a C compiler or Triton
                failure = problem
                torch.compiler.reset()
                continue
            require(difference < 0.1, f"mode {mode}: the predictions differ by {difference:.1e}")
            yield f"seconds to compile, mode {mode}", f"{seconds:.0f}"
            yield from forwards(bench, {f"bf16, compiled, mode {mode}": run}, network, batch)
            return
    raise RuntimeError("torch.compile fails in both modes") from failure


class Repeating:
    """A data set several times over, so that an epoch of few images is long enough to be timed."""

    def __init__(self, data: DataSet, images: int) -> None:
        self.data, self.images, self.names = data, images, data.names

    def __len__(self) -> int:
        return self.images

    def sample(self, k: int) -> Sample:
        """Return image `k` and its target."""
        return self.data.sample(k % len(self.data))

    def path(self, k: int) -> Path:
        """Return the file of image `k`."""
        return self.data.path(k % len(self.data))


def training(bench: Bench, batch: int, **fast: bool) -> Rows:
    """Steps of `python -m yolo train`: on one batch again and again, and with data from memory, augmented by workers.

    An epoch with data begins with the start of the worker processes. The memory is that of the GPU, at its highest.
    """
    scale, size = bench.scale, Size(bench.scale.size, bench.scale.size)
    data = bench.data or bench.shapes()
    setup = argparse.Namespace(data=data, cfg=scale.cfgs[0], size=scale.size, batch=batch)
    folder, images = Path(tempfile.mkdtemp(dir=bench.folder)), scale.steps * batch
    workers = loader_workers(scale.workers)
    with contextlib.redirect_stdout(io.StringIO()):  # what training prints is for those who wait for its result
        trainer = assemble(gather(options(setup, folder, workers=0, epochs=10**6, **fast), bench.device))
        cached = Cached(open_data(data, split="train"), size, "ram", folder)
        seen = Augmented(Repeating(cached, images), Augment())
        loader = Loader(seen, Batches(images, batch, size), workers=workers, pin=bench.cuda)
        single = next(iter(Loader(seen, Batches(images, batch, size), pin=bench.cuda)))
        turns = {"without data": rate(bench, epoch_of(trainer, Repeated(single, scale.steps)), images)}
        if not fast:  # the data cost what they cost without it
            turns[f"data from memory, {workers} workers"] = rate(bench, epoch_of(trainer, loader), images)
        with trainer.run:
            rates = race(turns, min(2, scale.rounds), warmup=1)
    flops = 3 * make_plan(with_classes(read_cfg(scale.cfgs[0]), len(cached.names)), size).flops
    memory = f", {torch.cuda.max_memory_allocated(bench.device) / 1e9:.1f} GB" if bench.cuda else ""
    for name, figures in rates.items():
        share = flops * figures.median / bench.peak
        yield name, f"{in_words(figures, 'images/s', ',.1f')}, {share:.1%} of the peak{memory}"


def rate(bench: Bench, epoch: Callable[[], None], images: int) -> Turn:
    """Return the turn that measures the images per second of an epoch."""
    return lambda: [images / clock(epoch, bench.wait)]


def preset(bench: Bench, name: str) -> Rows:
    """Learn 100 images by heart with the recipe of a preset.

    When the time is up, less what is reserved for later parts but at most half of it, the run is stopped as Ctrl-C
    stops it, and its last evaluation counts.
    """
    run = bench.folder / name
    words = ["--preset", name, "--data", str(bench.data), "--split", "train", "--limit", "100", "--eval-on", "train"]
    # With the images in memory, starting worker processes for 25 small batches takes longer than what they do.
    words += ["--cfg", bench.scale.cfgs[0], "--size", str(bench.scale.size), "--cache", "ram", "--workers", "0"]
    words += ["--eval-every", "10", "--save-every", "1000", "--device", str(bench.device), "--out", str(run)]
    words += [*bench.scale.preset_words, *([] if name == "blog" else ["--plain"])]  # the blog's recipe is plain anyway
    left = bench.seconds_left()
    share = max(5.0, left - min(left / 2, bench.reserved) - 15)
    limit = threading.Timer(share, os.kill, (os.getpid(), signal.SIGINT))
    begin = time.monotonic()
    limit.start()
    try:
        with contextlib.redirect_stdout(Evaluations(sys.stdout)):
            status = command(["train", *words])
    finally:
        limit.cancel()
    seconds = time.monotonic() - begin
    require(status in (0, 130), f"the training ended with status {status}; its error is above")
    if bench.keep:
        (bench.keep / name).mkdir(parents=True, exist_ok=True)
        for file in ("options.yaml", "metrics.jsonl"):
            shutil.copy(run / file, bench.keep / name / file)
    epochs = read_metrics(run)
    evaluated = [row for row in epochs if "AP50" in row]
    require(bool(evaluated), f"stopped after {len(epochs)} epochs, before the first evaluation")
    last, stopped = evaluated[-1], "" if status == 0 else f", stopped for lack of time after {len(epochs)}"
    figure = f"AP50 {last['AP50']:.3f}, AP {last['AP']:.3f} after {last['epoch'] + 1} epochs{stopped}; {seconds:.0f} s"
    yield f"100 images by heart, {bench.scale.cfgs[0]}", figure


class Evaluations(io.StringIO):
    """Passes on those lines of a training that have an evaluation."""

    def __init__(self, out: Any) -> None:
        super().__init__()
        self.out = out

    def write(self, text: str) -> int:
        if ", AP50 " in text:
            print(f"         {text.strip()}", file=self.out, flush=True)
        return len(text)
