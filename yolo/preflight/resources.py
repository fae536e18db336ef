"""What a training needs: memory, time, and room on the disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from yolo.files.disk import free_bytes, in_words
from yolo.preflight.line import Line, judged
from yolo.preflight.subject import Subject
from yolo.preflight.trial import Trial, seconds_per_image
from yolo.training.assemble import Parts
from yolo.training.progress import clock, memory_mb, what_limits
from yolo.training.room import check_room, checkpoint_bytes

FULL = 0.9
"""Memory is short from this share of what there is on."""

FAILURES = ("out of memory", "can't allocate memory", "DefaultCPUAllocator")
"""Parts of the messages of PyTorch where memory ran out and the error has no type of its own."""


def resources(subject: Subject) -> Iterator[Line]:
    """Yield the lines "memory", "speed", "disk", from a step at the largest input of the run.

    Without memory for a step there is no speed. On a CPU both are estimated from two images.
    """
    parts, o = subject.parts, subject.parts.options
    what = f"a step of {_images(parts)} images of {parts.batches.largest}"
    smaller = f"--batch-size {o.batch_size // 2} with --accumulate {2 * o.accumulate}, or " if o.batch_size > 1 else ""
    remedy = f"{smaller}a smaller --size{', or --precision bf16' if parts.precision == torch.float32 else ''}"
    try:
        memory, making, taking = _try(subject)
    except (MemoryError, RuntimeError) as problem:
        if not isinstance(problem, MemoryError) and not any(words in str(problem) for words in FAILURES):
            raise
        yield Line("FAIL", "memory", f"{what} does not fit into the memory of {parts.device}", remedy)
    else:
        there = available_mb(parts.device)
        needs = f"{what} needs {memory:,.0f}{f' of {there:,.0f}' if there else ''} MB"
        yield judged("memory", needs, [(0 < FULL * there < memory, "WARN", needs, remedy)])
        yield _speed(parts, making, taking)
    yield _disk(parts)


def _try(subject: Subject) -> tuple[float, float, float]:
    """Take two steps, on a GPU with all images of a batch, else with two.

    Returns what a whole batch needs: peak memory in MB, seconds of making it in one process, and of a step with it.
    A system whose RAM is full ends the process without an error, so that is not tried.
    """
    parts, cuda = subject.parts, subject.parts.device.type == "cuda"
    # The peak counts from now on, where the system allows it.
    if cuda:
        torch.cuda.reset_peak_memory_stats(parts.device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    # The copy of the network, its gradients and the moments of Adam do not depend on the number of images.
    fixed, many = memory_mb() + 4 * _weights_mb(parts), _images(parts)
    trial = Trial(subject)
    trial.arithmetic = parts.arithmetic
    images = many if cuda else min(2, many)
    making, taking = seconds_per_image(trial, subject.batches(images, parts.batches.largest))
    memory = fixed + many / images * max(0.0, memory_mb() - fixed)
    return memory, many * making, many * taking


def available_mb(device: torch.device) -> float:
    """Return the memory in MB that this process has or could get, of the GPU or the machine; 0 where it is unknown."""
    if device.type == "cuda":
        return (torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)) / 1e6
    files = [Path(name) for name in ("/proc/meminfo", "/proc/self/status")]
    text = "".join(file.read_text() for file in files if file.is_file())
    found = re.findall(r"^(?:MemAvailable|VmRSS):\s+(\d+) kB", text, re.MULTILINE)
    return sum(map(int, found)) * 1024 / 1e6 if len(found) == len(files) else 0.0


def _speed(parts: Parts, making: float, taking: float) -> Line:
    """Return the line on the time of the training, and on what limits it.

    `making` and `taking` are the seconds of making a batch in one process, and of a step with it.
    """
    workers = parts.loader.workers
    # Workers make batches while the network computes; without them each waits for the other.
    waits = max(0.0, making / workers - taking) if workers else making
    epoch = len(parts.loader) * (taking + waits)
    limit = what_limits(waits / (taking + waits), workers, parts.options.precision)
    times = f"{clock(epoch)} for an epoch, {clock(parts.options.epochs * epoch)} in all without evaluations"
    return Line("PASS", "speed", f"{taking + waits:.2g} s for a batch of {_images(parts)}, {times}: {limit}")


def _disk(parts: Parts) -> Line:
    """Return the line on the room for checkpoints; it fails where the training would refuse to begin."""
    try:
        check_room(parts.detector, parts.options)
    except OSError as problem:
        sentence, _, remedy = str(problem).rpartition("; ")
        return Line("FAIL", "disk", sentence, remedy)
    free, place = free_bytes(parts.options.out or Path("runs"))
    last, _ = checkpoint_bytes(parts.detector, parts.options)
    return Line("PASS", "disk", f"{in_words(free)} are free in {place}, a checkpoint has about {in_words(last)}")


def _images(parts: Parts) -> int:
    """Return the number of images in a batch."""
    return len(parts.batches.epoch(0)[0])


def _weights_mb(parts: Parts) -> float:
    """Return the size of the weights in MB."""
    return sum(p.numel() * p.element_size() for p in parts.detector.network.parameters()) / 1e6
