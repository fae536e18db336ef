"""Images per second in one process: ours against bare JPEG decoding of the same files, in one run.

    python benchmarks/data.py FOLDER [--size 416] [--rounds 7]
    python benchmarks/data.py [FILE.json ...] --what open [--rounds 3]

`--what open` is another measurement: the opening of annotation files, and of a made-up one of COCO's size (118,000
images, 860,000 boxes with polygons), against `pycocotools.COCO(file)` (`opening.py`).

FOLDER holds JPEG files at any depth. They have no boxes, which would cost microseconds. There is one process, with one
thread each for OpenCV and torch. A round reads all files once with each contender. `decode` is `cv2.imread`, without
which no loader works; the others make the uint8 sample of the network input, `kept` of images that stay decoded, as
`train` keeps those of small data sets. `of decode` is the median of the ratios to
`decode` in the same round.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import opening
import torch
from measure import Turn, clock, race

from yolo.data.datasets import ImageDataset
from yolo.data.index import Index
from yolo.data.order import Draw
from yolo.data.sampler import Batches
from yolo.data.transforms import Augmented
from yolo.data.turned import image_size
from yolo.options.augment import Augment


def data_set(folder: Path) -> ImageDataset:
    """Return all JPEG files below a folder, in the order of their names, as images without objects."""
    paths = [str(path) for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")]
    if not paths:
        raise SystemExit(f"{folder}: no JPEG files in it; give a folder with .jpg or .jpeg files")
    nothing = np.zeros(0)
    return ImageDataset(
        Index(
            names=["object"],
            paths=np.array([path.encode() for path in paths]),
            image_ids=np.arange(len(paths)),
            sizes=np.array([image_size(path) for path in paths]),
            offsets=np.zeros(len(paths) + 1, dtype=np.int64),
            labels=nothing.astype(np.int64),
            boxes=nothing.reshape(0, 4),
            read=nothing.reshape(0, 4),
            area=nothing,
            crowd=nothing.astype(bool),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", type=Path, nargs="*", metavar="PATH")
    parser.add_argument("--what", choices=("samples", "open"), default="samples")
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--rounds", type=int, help="7 by default, 3 for --what open")
    arguments = parser.parse_args()
    if arguments.what == "open":
        opening.measure(arguments.paths, arguments.rounds or 3)
    elif len(arguments.paths) == 1:
        measure_samples(arguments.paths[0], arguments.size, arguments.rounds or 7)
    else:
        parser.error("expected one folder of JPEG files")


def measure_samples(folder: Path, side: int, rounds: int) -> None:
    """Print the images per second of each contender."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    data, size = data_set(folder), (side, side)
    files = [str(data.path(k)) for k in range(len(data))]
    batches = Batches(len(data), 16, size)

    def rate(run: Callable[[], object]) -> Turn:
        return lambda: [len(files) / clock(run)]

    def decode() -> None:
        for file in files:
            cv2.imread(file)

    def through(augmented: Augmented) -> Callable[[], None]:
        epochs = count()

        def run() -> None:
            for batch in batches.epoch(next(epochs)):
                for draw in batch:
                    augmented[Draw(*draw)]

        return run

    contenders = {
        "decode": decode,
        "letterbox": through(Augmented(data)),
        "augmented": through(Augmented(data, Augment())),
        "kept": through(Augmented(data, Augment(), keep=1 << 40)),
        "mosaic": through(Augmented(data, Augment(mosaic=1))),
    }
    rates = race({name: rate(run) for name, run in contenders.items()}, rounds, warmup=1)
    print(f"{len(files)} images, input {side}, OpenCV {cv2.__version__}, torch {torch.__version__}")
    print("                 min  median     max images/s | of decode")
    for name, figures in rates.items():
        share = statistics.median(figures.over(rates["decode"]))
        print(f"{name:<12} {figures.spread('7.1f')}            | {share:8.1%}")


if __name__ == "__main__":
    main()
