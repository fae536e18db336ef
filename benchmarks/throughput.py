"""Images per second of `detect` over a folder and a video, beside decoding alone and the network alone.

    python benchmarks/throughput.py [FOLDER] [--images 1000] [--cfg yolov3-tiny.cfg] [--size 416] [--threads 2]

FOLDER holds JPEG files at any depth. They are copied, again and again, into a temporary folder until there are
`--images` of them; without FOLDER some of 640 x 480 are drawn. `--frames` of them become a video. Weights are random,
with heads that find a few objects in an image.

`decoding` reads and letterboxes the files, or reads the frames, in the threads of the pipeline. `network` predicts
images that are in memory, in the same threads, each with an image for itself; `network, one at a time` by all threads
together. `detect` is `python -m yolo detect SOURCE --json --no-draw`: decoding, letterbox, network, NMS, results file;
its rate is that of the line that it prints, without loading and warm-up.

`of slower` is the share of the slower one of decoding and network, each with all cores for itself. That can be reached
where they do not compete: a GPU, or more cores than the network can use. On a CPU both need the same cores, and what
the two have together in one second is 1 / (1/decoding + 1/network): `of the sum`. More than 100 % of that means that
cores were idle in one of the two contenders.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shutil
import statistics
import tempfile
from collections.abc import Callable, Generator, Iterable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from inference import random_network
from measure import Turn, clock, race

import yolo
from yolo.__main__ import main as command
from yolo.images.sources import find_sources, shots
from yolo.models.in_order import in_order
from yolo.models.yolo import YoloDetector

KEPT = 64
"""Images in memory for the network alone."""

OBJECTS = 10
"""Candidates in an image, in the mean."""


def write_images(source: Path | None, number: int, folder: Path) -> list[Path]:
    """Write JPEG files `000001.jpg`, ... into a folder: copies of those below `source`, or drawn ones."""
    folder.mkdir()
    if source is None:
        source, noise = folder.parent / "drawn", np.random.default_rng(0)
        source.mkdir()
        for k in range(KEPT):
            small = noise.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            cv2.imwrite(str(source / f"{k}.jpg"), cv2.resize(small, (640, 480), interpolation=cv2.INTER_CUBIC))
    files = [path for path in sorted(source.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")]
    if not files:
        raise SystemExit(f"{source}: no JPEG files in it; give a folder with .jpg or .jpeg files")
    return [Path(shutil.copyfile(file, folder / f"{k:06}.jpg")) for k, file in enumerate(islice(cycle(files), number))]


def write_video(files: Iterable[Path], path: Path) -> None:
    """Write images as the frames of a video of 640 x 480."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (640, 480))
    for file in files:
        image = cv2.imread(str(file))
        assert image is not None
        video.write(cv2.resize(image, (640, 480)))
    video.release()


def write_weights(cfg: str, size: int, files: list[Path], path: Path) -> None:
    """Write random weights that find a few objects in images like these."""
    network = random_network(cfg, size)
    model = YoloDetector(network, [f"class {k}" for k in range(network.heads[-1].classes)])
    raw = model.predict(torch.stack([model.prepare(file)[0] for file in files[:KEPT]]))
    layers: Any = network.layers
    with torch.no_grad():
        for k, predictions in zip(network.cfg.heads, raw, strict=True):
            conv, logits = layers[k - 1].conv, predictions[..., 4].flatten()
            share = OBJECTS * len(predictions) / len(raw) / len(logits)
            highest = logits.topk(max(1, round(share * len(logits)))).values[-1]
            bias = conv.bias.view(-1, 5 + len(model.names))
            weight = conv.weight.view(*bias.shape, -1)
            # Random logits are nearly equal. Moved apart, only the highest exceed the confidence, in the first class.
            apart = 5 / logits.std()
            weight[:, 4] *= apart
            bias[:, 4] = (bias[:, 4] - highest) * apart - 1.1
            bias[:, 5:] -= 4
            bias[:, 5] += 8
    model.save(path)


def rate_of(words: list[str]) -> float:
    """Return the images per second that `detect` prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = command(["detect", *words])
    found = re.search(r"([\d.]+) images/s", out.getvalue().splitlines()[-1])
    if status or not found:
        raise SystemExit(f"detect {' '.join(words)}: status {status}, {out.getvalue()[-200:]}")
    return float(found[1])


def contenders(model: YoloDetector, files: list[Path], video: Path | None, words: list[str]) -> dict[str, Turn]:
    """Return what takes turns; each turn measures images per second."""
    batches = [model.prepare(file)[0][None] for file in files[:KEPT]]

    def rate(number: int, run: Callable[[], object]) -> Turn:
        return lambda: [number / clock(run)]

    def through(items: Iterable[Any], work: Callable[[Any], object]) -> None:
        def each() -> Generator[Any, None, None]:
            yield from items

        for _ in in_order(each(), work, model.workers):
            pass

    folder = str(files[0].parent)
    turns = {
        "decoding": rate(len(files), lambda: through(files, model.prepare)),
        "network": rate(len(batches), lambda: through(batches, model.predict)),
        "network, one at a time": rate(len(batches), lambda: [model.predict(batch) for batch in batches]),
        "detect FOLDER": lambda: [rate_of([folder, *words])],
    }
    if video is not None:
        (source,) = find_sources([str(video)])
        number = sum(1 for _ in shots(source))
        turns["decoding video"] = rate(number, lambda: sum(1 for _ in shots(source)))
        turns["detect VIDEO"] = lambda: [rate_of([str(video), *words])]
    return turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=0)
    parser.add_argument("--cfg", default="yolov3-tiny.cfg")
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", default="1", help="of detect")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        files = write_images(arguments.folder, arguments.images, place / "images")
        video = place / "clip.mp4" if arguments.frames else None
        if video is not None:
            write_video(islice(cycle(files), arguments.frames), video)
        weights = place / "random.safetensors"
        write_weights(arguments.cfg, arguments.size, files, weights)
        words = ["--weights", str(weights), "--json", "--no-draw", "--out", str(place / "out")]
        words += ["--device", arguments.device, "--batch-size", arguments.batch_size]
        model = yolo.load(weights, device=arguments.device)
        assert isinstance(model, YoloDetector)
        found = [len(model.detect(file)) for file in files[:KEPT]]
        rates = race(contenders(model, files, video, words), arguments.rounds)
    print(f"{arguments.cfg} at {arguments.size}, {len(files)} JPEGs, {statistics.mean(found):.0f} objects in an image")
    print(f"{arguments.threads} threads, {model.workers} images at once; torch {torch.__version__}")
    print(f"{'images/s':<24}     min  median     max | of slower | of the sum")
    for name, figures in rates.items():
        shares = ""
        if name.startswith("detect"):
            decoding = rates["decoding video" if "VIDEO" in name else "decoding"].median
            network = max(rates["network"].median, rates["network, one at a time"].median)
            both = 1 / (1 / decoding + 1 / network)
            shares = f"{figures.median / min(decoding, network):9.1%} | {figures.median / both:10.1%}"
        print(f"{name:<24} {figures.spread('7.2f')} | {shares}")


if __name__ == "__main__":
    main()
