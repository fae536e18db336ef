"""Runs that are killed and resumed until they are complete, compared with one that was not disturbed.

    python benchmarks/resume.py [--runs 20] [--seed 0] [--folder FOLDER]

Each run is `python -m yolo train` on the embedded set with toy.cfg: augmentation, averaged weights, two batches a step,
an evaluation after every second epoch. Every second run has two worker processes. A run gets SIGKILL one to three
times, at a drawn epoch and batch or in what follows the epoch (evaluation, saving), up to 50 ms later. Each time it is
resumed with --resume.

At the end everything in last.pt (network, average, optimizer, random numbers, position in the data) and in
metrics.jsonl, except times and memory, must equal the undisturbed run, bit for bit. If a run differs, the exit status
is 1.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from measure import ROOT

from yolo.data.shapes.scenes import make_shapes
from yolo.training.run_folder import read_metrics

EPOCHS, BATCHES = 4, 12
TIMES = ("seconds", "eval_seconds", "memory_mb")

CHILD = """
import os, sys
from yolo.__main__ import main
from yolo.training.engine import Trainer

note = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
batch, finish = Trainer._batch, Trainer._finish

def noted_batch(self, *arguments, **options):
    os.pwrite(note, b"%4d %4d" % (self.loader.epoch + 1, self.loader.position), 0)
    batch(self, *arguments, **options)

def noted_finish(self, epoch):
    os.pwrite(note, b"%4d %4d" % (epoch + 1, len(self.loader) + 1), 0)
    finish(self, epoch)

Trainer._batch, Trainer._finish = noted_batch, noted_finish
sys.exit(main(["train", *sys.argv[2:]]))
"""
"""`python -m yolo train` that writes its position to a file: epoch and batch from 1; after the last batch one more."""


def start(note: Path, *words: object) -> subprocess.Popen[bytes]:
    """Start a process that trains, with one thread; `words` are its options."""
    note.unlink(missing_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(note), *map(str, words)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "OMP_NUM_THREADS": "1",
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS asks for it with --deterministic
        },
        stdout=subprocess.DEVNULL,
    )


def where(note: Path) -> tuple[int, int]:
    """Return epoch and batch that a process is in; (0, 0) before its first."""
    text = note.read_text() if note.exists() else ""
    epoch, batch = map(int, text.split()) if len(text) == 9 else (0, 0)
    return epoch, batch


def kill_at(
    process: subprocess.Popen[bytes], note: Path, place: tuple[int, int], delay: float
) -> tuple[float, int, int] | None:
    """Kill a process `delay` seconds after it has reached a place, an epoch and a batch.

    Returns its age in seconds and where it was, or None if it had ended by itself.
    """
    began = time.monotonic()
    while where(note) < place and process.poll() is None:
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    age, status = time.monotonic() - began, process.wait()
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"the run failed with status {status}")
    return None if status == 0 else (age, *where(note))


def disturbed(folder: Path, words: list[object], draw: random.Random) -> tuple[list[tuple[float, int, int]], int]:
    """Run in `folder`, killed one to three times and resumed; return the kills and the number of resumes."""
    note, kills, resumed = folder.with_suffix(".note"), [], 0
    for _ in range(draw.randint(1, 3)):
        there = (folder / "last.pt").exists()
        resumed += there
        process = start(note, *(["--resume", folder] if there else words))
        place, delay = (draw.randint(1, EPOCHS), draw.randint(1, BATCHES + 1)), draw.uniform(0, 0.05)
        if found := kill_at(process, note, place, delay):
            kills.append(found)
    there = (folder / "last.pt").exists()
    resumed += there
    if start(note, *(["--resume", folder] if there else words)).wait() != 0:
        raise SystemExit(f"{folder}: the last resume failed")
    return kills, resumed


def leaves(value: Any) -> Iterator[bytes]:
    """Yield every tensor and number in nested values, bit for bit, in their order."""
    if isinstance(value, torch.Tensor):
        yield f"{value.dtype} {list(value.shape)}".encode()
        yield value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
    elif isinstance(value, dict):
        for name, part in value.items():
            yield repr(name).encode()
            yield from leaves(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from leaves(part)
    else:
        yield repr(value).encode()


def outcome(folder: Path) -> list[bytes]:
    """Return everything that must be equal."""
    metrics = [{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(folder)]
    return list(leaves([torch.load(folder / "last.pt", map_location="cpu", weights_only=True), metrics]))


def recipe(data: Path, device: str, precision: str) -> list[object]:
    """Return the options of a run: augmentation, averaged weights, two batches a step, an evaluation every 2 epochs."""
    words: list[object] = ["--data", data, "--size", 64, "--batch-size", 4, "--accumulate", 2, "--epochs", EPOCHS]
    words += ["--ema", 0.9, "--eval-every", 2, "--warmup-steps", 5]
    return [*words, "--device", device, "--precision", precision]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    data, draw = make_shapes(folder / "shapes", train=4 * BATCHES, val=8), random.Random(arguments.seed)
    words = recipe(data, "cpu", "fp32")
    expected = {}
    for workers in (0, 2):
        whole = folder / f"undisturbed-{workers}"
        if start(folder / "note", *words, "--workers", workers, "--out", whole).wait() != 0:
            raise SystemExit(f"{whole}: failed")
        expected[workers] = outcome(whole)
    print("run  workers  equal  resumed  killed at second: epoch, batch", flush=True)
    equal, kills, inside = 0, 0, 0
    for k in range(arguments.runs):
        run, workers = folder / f"run-{k + 1}", 2 * (k % 2)
        killed, resumed = disturbed(run, [*words, "--workers", workers, "--out", run], draw)
        same = outcome(run) == expected[workers]
        equal, kills, inside = equal + same, kills + len(killed), inside + sum(0 < b <= BATCHES for _, _, b in killed)
        places = "  ".join(
            f"{age:.1f}: {epoch}, {batch if batch <= BATCHES else 'end'}" if epoch else f"{age:.1f}: before the first"
            for age, epoch, batch in killed
        )
        print(f"{k + 1:>3}  {workers:>7}  {'yes' if same else 'NO':>5}  {resumed:>7}  {places}", flush=True)
    print(f"{equal} of {arguments.runs} equal to the bit; {kills} kills, {inside} of them within an epoch")
    return 0 if equal == arguments.runs else 1


if __name__ == "__main__":
    sys.exit(main())
