"""Hours in minutes: memory, open files and threads of one process over many images, epochs and threads.

    python benchmarks/load.py [detect] [train] [threads] [--images 5000] [--epochs 300] [--calls 1200]

`detect`: images through `python -m yolo detect --json --txt --no-draw`, with a tiny network. `train`: epochs of
`yolo.train` with two batches each, evaluated and saved after every tenth. `threads`: six threads share a model and call
`detect` on images of changing sizes. Each part runs in a process of its own, which is looked at twenty times; the first
five are warm-up. A row has resident memory (RSS), open files and threads after the warm-up and at the end, the largest
growth of memory, and the slope of a line through the looks, in kB for each image, epoch or call.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from itertools import count
from pathlib import Path
from typing import NamedTuple

import measure  # noqa: F401, it makes the clone importable
import numpy as np

LOOKS, WARM = 20, 5

CFG = """[net]
width=64
height=64
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=4
pad=1
activation=leaky

[convolutional]
filters=33
size=1
stride=1
pad=1
activation=linear

[yolo]
mask=0,1,2
anchors=8,8, 16,16, 32,32
classes=6
num=3
"""


class Look(NamedTuple):
    """What a process has: resident memory in kB, open files, threads."""

    kb: int
    files: int
    threads: int


def look() -> Look:
    """Return what this process has now."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return Look(int(status["VmRSS"].split()[0]), len(os.listdir("/proc/self/fd")), int(status["Threads"]))


def network(folder: Path) -> Path:
    """Write a tiny network with random weights as a safetensors file; return its path."""
    import torch

    from yolo.darknet.cfg import parse_cfg
    from yolo.darknet.network import Darknet
    from yolo.darknet.safetensors_file import save_safetensors

    torch.manual_seed(0)
    net = Darknet(parse_cfg(CFG, "load.cfg"))
    save_safetensors(net, folder / "tiny.safetensors", [f"class {k}" for k in range(6)])
    return folder / "tiny.safetensors"


def images(folder: Path, number: int) -> Path:
    """Write small JPEGs of five sizes; the files are names of five."""
    from yolo.images.files import write_image

    rng, place = np.random.default_rng(0), folder / "images"
    for k in range(number):
        path = place / f"{k:05}.jpg"
        if k < 5:
            write_image(path, rng.integers(0, 256, (48 + 16 * k, 96 - 8 * k, 3), dtype=np.uint8))
        else:
            os.link(place / f"{k % 5:05}.jpg", path)
    return place


def detect(folder: Path, number: int, at: Callable[[int], None]) -> None:
    """Detect in `number` images by one call of the command."""
    from yolo.__main__ import main
    from yolo.commands.result_files import ResultFiles

    done, add = count(1), ResultFiles.add

    def counted(*arguments: object, **words: object) -> None:
        add(*arguments, **words)  # type: ignore[arg-type]
        at(next(done))

    ResultFiles.add = counted  # type: ignore[method-assign, assignment]
    words = [str(images(folder, number)), "--weights", str(network(folder)), "--out", str(folder / "out"), "--no-draw"]
    main(["detect", *words, "--json", "--txt", "--confidence", "0.5", "--device", "cpu"])


def train(folder: Path, number: int, at: Callable[[int], None]) -> None:
    """Train `number` epochs of two batches."""
    import yolo
    from yolo.data.shapes.scenes import make_shapes

    (folder / "tiny.cfg").write_text(CFG)
    data = make_shapes(folder / "shapes", train=8, val=4)
    options = {
        "cfg": str(folder / "tiny.cfg"),
        "size": 64,
        "batch_size": 4,
        "workers": 0,
        "device": "cpu",
        "check": False,
    }
    options |= {"eval_every": 10, "save_every": 10, "quiet": True, "out": str(folder / "run"), "precision": "fp32"}
    yolo.train(str(data), epochs=number, on_epoch_end=lambda epoch, _: at(epoch + 1), **options)


def threads(folder: Path, number: int, at: Callable[[int], None]) -> None:
    """Call `detect` of one model `number` times from six threads, with images of changing sizes."""
    import yolo

    model, rng = yolo.load(network(folder), device="cpu"), np.random.default_rng(0)
    given = [rng.integers(0, 256, (40 + 8 * k, 120 - 8 * k, 3), dtype=np.uint8) for k in range(10)]
    done, lock = count(1), threading.Lock()

    def call(k: int) -> None:
        model.detect(given[k % len(given)], confidence=0.5)
        with lock:
            at(next(done))

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(call, k) for k in range(number)]:
            future.result()


def part(name: str, number: int, pipe: object) -> None:
    """Run a part in this process; send its looks as pairs of (done, look)."""
    looks: list[tuple[int, Look]] = []
    every = max(1, number // LOOKS)

    def at(done: int) -> None:
        if done % every == 0:
            gc.collect()
            looks.append((done, look()))

    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as null:
        os.environ["EXACT_YOLOV3_CACHE"] = folder
        with redirect_stdout(null), redirect_stderr(null):
            PARTS[name][0](Path(folder), number, at)
    pipe.send(looks)  # type: ignore[attr-defined]


PARTS = {"detect": (detect, "image"), "train": (train, "epoch"), "threads": (threads, "call")}


def rows(numbers: dict[str, int]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{'part':<8} {'number':>7}  {'RSS MB':>15} {'most':>6} {'kB each':>8}  {'files':>9}  {'threads':>9}"
    for name, number in numbers.items():
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(target=part, args=(name, number, theirs))
        process.start()
        theirs.close()
        looks = ours.recv()[WARM:]
        process.join()
        done, found = [one for one, _ in looks], [one for _, one in looks]
        first, last = found[0], found[-1]
        slope = np.polyfit(done, [one.kb for one in found], 1)[0]
        most = (max(one.kb for one in found) - first.kb) / 1e3
        memory = f"{first.kb / 1e3:.1f} to {last.kb / 1e3:.1f}"
        ends = [f"{one} to {other}" for one, other in zip(first[1:], last[1:], strict=True)]
        yield f"{name:<8} {number:>7,}  {memory:>15} {most:>6.1f} {slope:>8.2f}  {ends[0]:>9}  {ends[1]:>9}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=[*PARTS], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--calls", type=int, default=1200)
    given = parser.parse_args()
    numbers = dict(zip(PARTS, (given.images, given.epochs, given.calls), strict=True))
    for line in rows({name: numbers[name] for name in given.parts}):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
