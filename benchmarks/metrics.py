"""Time and memory for COCO's twelve numbers on a set as large as val2017: ours, pycocotools and two fast rewrites.

    python benchmarks/metrics.py [--images 5000] [--detections 500000] [--rounds 5] [--peers PYTHON]

PYTHON is the interpreter of an environment with numpy, faster-coco-eval and hotcoco; without it only pycocotools is
compared. Every turn is a process of its own, the contenders take turns, and all get the same random set (seeded, 80
classes, 36,221 objects, 1 % of them crowds).

The time goes from the contender's own input to the twelve numbers. Our input is one `Detections` and one target per
image in batches of 16, that of pycocotools a dict of objects and an array of detections, that of faster-coco-eval a
dict and a list of dicts, that of hotcoco a json file and a list of dicts. Building the input is not timed. Its memory
is part of `peak MB`, the peak of the whole process; `before` is the peak when the clock started.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from measure import Figures, clock, peak_memory, race

if TYPE_CHECKING:  # competitors have no torch
    import torch

    from yolo.boxes import Detections

Arrays = dict[str, np.ndarray]
CLASSES, OBJECTS = 80, 36_221


def draw_set(images: int, detections: int, seed: int = 0) -> Arrays:
    """Return a data set and the detections of a plausible detector: a third near an object, the rest anywhere."""
    rng = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        size = np.exp(rng.normal(4, 0.9, (count, 2))).clip(4, 400)
        return np.round(np.concatenate((rng.uniform(0, 1, (count, 2)) * (640 - size).clip(1), size), axis=1), 2)

    popularity = 1 / np.arange(1, CLASSES + 1)
    image = np.sort(rng.integers(images, size=OBJECTS))
    label = rng.choice(CLASSES, size=OBJECTS, p=popularity / popularity.sum())
    truth = boxes(OBJECTS)
    near = rng.random(detections) < 0.3
    whose = rng.integers(OBJECTS, size=detections)
    found = boxes(detections)
    spread = rng.exponential(0.12, (detections, 1))
    jitter = truth[whose] * (1 + rng.normal(0, 1, (detections, 4)) * spread * [0.2, 0.2, 1, 1])
    found[near] = jitter[near].clip(0.5, 640)
    found_image = np.where(near, image[whose], rng.integers(images, size=detections))
    mistaken = rng.random(detections) < 0.15
    found_label = np.where(near & ~mistaken, label[whose], rng.integers(CLASSES, size=detections))
    score = np.where(near, rng.beta(2, 3, detections) * np.exp(-2 * spread[:, 0]), rng.beta(0.6, 8, detections))
    order = np.lexsort((-score, found_image))
    return {
        "images": np.arange(1, images + 1),
        "image": image,
        "label": label,
        "box": truth,
        "area": truth[:, 2] * truth[:, 3] * rng.uniform(0.4, 1, OBJECTS),
        "crowd": rng.random(OBJECTS) < 0.01,
        "found_image": found_image[order],
        "found_label": found_label[order],
        "found_box": found[order].astype(np.float32),
        "score": score[order].astype(np.float32),
    }


def objects(data: Arrays) -> dict[str, Any]:
    """Return the objects as an annotation file holds them."""
    columns = (data[key].tolist() for key in ("image", "label", "box", "area", "crowd"))
    return {
        "images": [{"id": k, "width": 640, "height": 640} for k in data["images"].tolist()],
        "categories": [{"id": k + 1, "name": f"class {k}"} for k in range(CLASSES)],
        "annotations": [
            {"id": n + 1, "image_id": i + 1, "category_id": c + 1, "bbox": b, "area": a, "iscrowd": int(crowd)}
            for n, (i, c, b, a, crowd) in enumerate(zip(*columns, strict=True))
        ],
    }


def results(data: Arrays) -> list[dict[str, Any]]:
    """Return the detections as a results file holds them."""
    boxes = data["found_box"].astype(np.float64).tolist()
    columns = (data["found_image"].tolist(), data["found_label"].tolist(), boxes, data["score"].tolist())
    return [
        {"image_id": i + 1, "category_id": c + 1, "bbox": b, "score": s} for i, c, b, s in zip(*columns, strict=True)
    ]


def per_image(data: Arrays) -> tuple[list[Detections], list[dict[str, Any]]]:
    """Return one `Detections` and one target per image, as training and evaluation have them."""
    import torch

    from yolo.boxes import Detections

    def split(key: str, by: str) -> list[torch.Tensor]:
        ends = np.searchsorted(data[by], np.arange(1, len(data["images"])))
        return [torch.from_numpy(part.copy()) for part in np.split(data[key], ends)]

    def corners(boxes: list[torch.Tensor]) -> list[torch.Tensor]:
        return [torch.cat((b[:, :2].double(), b[:, :2].double() + b[:, 2:].double()), 1) for b in boxes]

    targets = [
        {"image_id": k, "labels": label, "boxes": box, "area": area, "iscrowd": crowd}
        for k, label, box, area, crowd in zip(
            data["images"].tolist(),
            split("label", "image"),
            corners(split("box", "image")),
            split("area", "image"),
            split("crowd", "image"),
            strict=True,
        )
    ]
    detections = [
        Detections(box, score, label)
        for box, score, label in zip(
            corners(split("found_box", "found_image")),
            split("score", "found_image"),
            split("found_label", "found_image"),
            strict=True,
        )
    ]

    return detections, targets


def twelve_of_ours(found: list[Detections], targets: list[dict[str, Any]], device: str = "cpu") -> list[float]:
    """Return COCO's twelve numbers from batches of 16 images."""
    from yolo.metrics.coco import CocoMetrics

    metrics = CocoMetrics([f"class {k}" for k in range(CLASSES)], device)
    for k in range(0, len(targets), 16):
        metrics.update(found[k : k + 16], targets[k : k + 16])
    return list(metrics.compute().numbers().values())


def ours(data: Arrays, folder: Path) -> Callable[[], list[float]]:
    """Prepare a list of `Detections` and one of targets, as training and evaluation have them."""
    return partial(twelve_of_ours, *per_image(data))


def pycocotools(data: Arrays, folder: Path) -> Callable[[], list[float]]:
    """Prepare a dict of objects and an array of detections."""
    truth = objects(data)
    rows = np.column_stack((data["found_image"] + 1, data["found_box"], data["score"], data["found_label"] + 1))

    def run() -> list[float]:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        own = COCO()
        own.dataset = truth
        own.createIndex()
        return twelve(COCOeval(own, own.loadRes(rows), "bbox"))

    return run


def faster_coco_eval(data: Arrays, folder: Path) -> Callable[[], list[float]]:
    """Prepare a dict of objects and a list of dicts."""
    module = importlib.import_module("faster_coco_eval")
    truth, rows = objects(data), results(data)

    def run() -> list[float]:
        own = module.COCO(truth)
        return twelve(module.COCOeval_faster(own, own.loadRes(rows), "bbox"))

    return run


def hotcoco(data: Arrays, folder: Path) -> Callable[[], list[float]]:
    """Prepare a json file of objects and a list of dicts."""
    module = importlib.import_module("hotcoco")
    (folder / "truth.json").write_text(json.dumps(objects(data)))
    rows = results(data)

    def run() -> list[float]:
        own = module.COCO(str(folder / "truth.json"))
        return twelve(module.COCOeval(own, own.load_res(rows), "bbox"))

    return run


def twelve(evaluation: Any) -> list[float]:
    """Return the twelve numbers, by the three steps that pycocotools and its rewrites have."""
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [float(value) for value in evaluation.stats][:12]


CONTENDERS = {"ours": ours, "pycocotools": pycocotools, "faster-coco-eval": faster_coco_eval, "hotcoco": hotcoco}

OWN = ("ours", "pycocotools")
"""The contenders of this environment."""


def work(name: str, folder: Path) -> None:
    """Run one turn: build the input, then time the rest. Prints the answer as the last line on stdout."""
    data = dict(np.load(folder / "set.npz"))
    run = CONTENDERS[name](data, folder)
    del data
    before = peak_memory()
    with contextlib.redirect_stdout(io.StringIO()):
        numbers: list[float] = []
        seconds = clock(lambda: numbers.extend(run()))
    print(json.dumps({"seconds": seconds, "before": before, "peak": peak_memory(), "numbers": numbers}), flush=True)


def turn(name: str, python: str, folder: Path, threads: int) -> dict[str, Any]:
    """Return the answer of one process of a contender. RuntimeError with the last line of its stderr if it fails."""
    command = [python, __file__, "--worker", name, "--folder", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{name}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, default=1, help="turns of pycocotools, which takes half a minute")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter with faster-coco-eval and hotcoco")
    parser.add_argument("--worker", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.folder)
        return
    answers: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "set.npz", **draw_set(arguments.images, arguments.detections))  # type: ignore[arg-type]

        def take(contender: str) -> list[float]:
            python = sys.executable if contender in OWN else arguments.peers
            answers.setdefault(contender, []).append(turn(contender, python, folder, arguments.threads))
            return [answers[contender][-1]["seconds"]]

        turns = {name: partial(take, name) for name in CONTENDERS if name in OWN or arguments.peers}
        seconds = race(turns, arguments.rounds, at_most={"pycocotools": arguments.slow_rounds})
    report(answers, seconds, arguments)


def report(
    answers: dict[str, list[dict[str, Any]]], seconds: dict[str, Figures], arguments: argparse.Namespace
) -> None:
    """Print seconds, ratios of the medians, memory, and the largest difference from pycocotools' twelve numbers."""
    print(
        f"{arguments.images:,} images, {CLASSES} classes, {OBJECTS:,} objects, {arguments.detections:,} detections, "
        f"{arguments.threads} threads"
    )
    print("contender           min  median     max s | x ours | peak MB (before) | difference to pycocotools")
    for name, turns in answers.items():
        different = np.abs(np.subtract(turns[0]["numbers"], answers["pycocotools"][0]["numbers"])).max()
        ratio = seconds[name].median / seconds["ours"].median
        memory = f"{max(answer['peak'] for answer in turns):8.0f} ({turns[0]['before']:.0f})"
        print(f"{name:<16} {seconds[name].spread('7.3f')}   | {ratio:6.2f} | {memory:<16} | {different:.1e}")
    print("AP, AP50:", answers["ours"][0]["numbers"][:2])


if __name__ == "__main__":
    main()
