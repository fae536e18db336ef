"""Seconds and memory at COCO's size: the order of an epoch, a loader with workers over time, the parts of `eval`.

    python benchmarks/scale.py [order] [loader] [eval] [--images 118000] [--batches 2000] [--workers 2]

`order`: `Batches.epoch` for all images. `loader`: an index of all images, which are hard links to one small JPEG, with
860,000 objects; memory is that of the process and its workers, shared pages divided among them (PSS). `eval`: each part
of the report of 5,000 images with 500,000 detections (the set of metrics.py), without the network.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from intervals import part
from measure import clock
from metrics import draw_set

from yolo.data.datasets import ImageDataset
from yolo.data.decoded import checked
from yolo.data.index import Index
from yolo.data.loader import Loader
from yolo.data.sampler import Batches
from yolo.data.transforms import Augmented
from yolo.evaluation import report

OBJECTS = 860_000


def order(images: int) -> None:
    """Print the seconds for the batches of an epoch, and their number."""
    batches = Batches(images, 64, (416, 416))
    seconds = clock(lambda: batches.epoch(1))
    print(f"order of an epoch: {images:,} images, {len(batches):,} batches: {seconds:.2f} s")


def proportional() -> float:
    """Return the memory of this process and its children in MB, shared pages divided among those that share them."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in (str(os.getpid()), *children))
    return sum(int(text.partition("\nPss:")[2].split()[0]) for text in rollups) * 1024 / 1e6


def linked(folder: Path, images: int) -> Index:
    """Return an index of hard links to one JPEG of 64 x 64 pixels, with objects."""
    first, rng = folder / "0.jpg", np.random.default_rng(0)
    cv2.imwrite(str(first), np.full((64, 64, 3), 99, dtype=np.uint8))
    paths, file = [first], first
    for k in range(1, images):
        if k % 30_000 == 0:  # a file has a limited number of names
            file = folder / f"{k}.jpg"
            file.write_bytes(first.read_bytes())
        else:
            os.link(file, folder / f"{k}.jpg")
        paths.append(folder / f"{k}.jpg")
    corner, side = rng.uniform(0, 40, (OBJECTS, 2)), rng.uniform(4, 20, (OBJECTS, 2))
    counts = np.bincount(rng.integers(images, size=OBJECTS), minlength=images)
    return Index(
        names=[f"class {k}" for k in range(80)],
        paths=np.array([os.fsencode(path) for path in paths]),
        image_ids=np.arange(images),
        sizes=np.full((images, 2), 64),
        offsets=np.concatenate(([0], np.cumsum(counts))),
        labels=rng.integers(80, size=OBJECTS),
        boxes=np.concatenate((corner, corner + side), axis=1),
        read=np.concatenate((corner, side), axis=1),
        area=side.prod(1),
        crowd=np.zeros(OBJECTS, dtype=bool),
    )


def loader(images: int, number: int, workers: int) -> None:
    """Print the memory of a loader with workers as batches go by, and the seconds for checking the files."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_CACHE_HOME"] = str(Path(name) / "cache")
        index = linked(Path(name), images)
        paths = [os.fsdecode(path) for path in index.paths.tolist()]
        for what in ("every file decoded", "remembered"):
            print(f"check of {images:,} files, {what}: {clock(lambda: checked(paths)):.2f} s")
        before = proportional()
        made = Loader(Augmented(ImageDataset(index)), Batches(images, 16, (64, 64)), workers=workers)
        for k, _ in enumerate(made):
            if k % (number // 4) == number // 8 or k == 50:
                print(f"loader, {workers} workers, batch {k:,}: {proportional() - before:.0f} MB more than before")
            if k == number:
                break


def tables(made: report.Report) -> None:
    """Make the text that `eval` prints."""
    report.table(made)
    report.class_table(made)


def evaluation(images: int = 5000, detections: int = 500_000) -> None:
    """Print the seconds of each part of a report."""
    result = part(draw_set(images, detections), np.arange(images))
    records, names = result.records, result.names
    seconds: dict[str, float] = {}

    def timing(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def timed(*arguments: object, **more: object) -> object:
            value: list[object] = []
            took = clock(lambda: value.append(function(*arguments, **more)))
            seconds[name] = seconds.get(name, 0) + took
            return value[0]

        return timed

    for name in ("evaluate", "bootstrap", "voc_ap", "darknet_map", "confidence_curves", "confusion_matrix",
                 "error_breakdown", "plot_confusion", "plot_errors", "plot_f1", "plot_precision_recall"):  # fmt: skip
        setattr(report, name, timing(name, getattr(report, name)))
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):  # the second: everything is imported and allocated
            seconds.clear()
            made = report.make_report(records, names, {}, confidence=0.25, resamples=1000)
            seconds["tables"] = clock(partial(tables, made))
            seconds["files"] = clock(partial(report.write_report, made, Path(folder), report.summary_dict(made)))
            print(", ".join(f"{name} {value:.2f} s" for name, value in seconds.items()), "(files include plots)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["order", "loader", "eval"])
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--batches", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    if "order" in arguments.what:
        order(arguments.images)
    if "loader" in arguments.what:
        loader(arguments.images, arguments.batches, arguments.workers)
    if "eval" in arguments.what:
        evaluation()


if __name__ == "__main__":
    main()
