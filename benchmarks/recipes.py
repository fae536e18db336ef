"""One network, one data set, one number of images: trained as its cfg says, and with this program's own recipe.

    python benchmarks/recipes.py BCCD [--seeds 2] [--images 24000] [--size 256] [--out runs/recipes]

The cfg is yolov3-tiny.cfg with half the filters and anchors of the training images, which `OUT/tiny.cfg` keeps.
`cfg` is `train --recipe cfg`: batches of 16, its loss, its augmentation, `max_batches` for the number of images, and
rates that fall after 80 and 90 % of them. `ours` is `train` without a preset of its own, for as many whole epochs. All
start from random weights, are evaluated by COCO's metrics on the validation images after equal numbers of images, and
run in one process after the other.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import yolo
from yolo.darknet.cfg import Cfg, read_cfg
from yolo.darknet.sections import Convolutional, Yolo
from yolo.data.anchors import fitted_anchors
from yolo.data.datasets import open_data

BATCH, EVALUATIONS = 16, 5


def tiny(side: int, images: int, sizes: np.ndarray) -> Cfg:
    """Return yolov3-tiny with half the filters, an input of `side`, and anchors for boxes `[G, 2]` in its pixels."""
    cfg, steps = read_cfg("yolov3-tiny.cfg"), images // BATCH
    anchors = tuple(float(round(side)) for side in fitted_anchors(sizes, 6).flatten())
    net = replace(
        cfg.net, width=side, height=side, batch=BATCH,
        subdivisions=1, burn_in=steps // 10, max_batches=steps, steps=(steps * 8 // 10, steps * 9 // 10),
    )  # fmt: skip
    layers = [
        replace(layer, filters=layer.filters // 2)
        if isinstance(layer, Convolutional) and layer.batch_normalize
        else replace(layer, anchors=anchors, random=0.0)
        if isinstance(layer, Yolo)
        else layer
        for layer in cfg.layers
    ]
    return replace(cfg, net=net, layers=tuple(layers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--images", type=int, default=24_000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--out", type=Path, default=Path("runs/recipes"))
    arguments = parser.parse_args()
    data = open_data(arguments.data, split="train", quiet=True)
    whole = data.index.sizes[data.index.image].astype(float)
    sizes = (data.index.boxes[:, 2:] - data.index.boxes[:, :2]) / whole * arguments.size
    arguments.out.mkdir(parents=True, exist_ok=True)
    cfg = arguments.out / "tiny.cfg"
    cfg.write_text(tiny(arguments.size, arguments.images, sizes).to_text())
    epochs = arguments.images // len(data)
    recipes = {
        "cfg": {"recipe": "cfg", "eval_every": arguments.images // BATCH // 100 // EVALUATIONS},
        "ours": {"epochs": epochs, "eval_every": epochs // EVALUATIONS},
    }
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in recipes}
    for seed in range(arguments.seeds):
        for name, words in recipes.items():
            start, out = time.perf_counter(), arguments.out / f"{name}-{seed}"
            run = yolo.train(arguments.data, cfg=cfg, seed=seed, out=out, split="train", quiet=True, **words)
            seconds = sum(row["seconds"] for row in run.history)
            curve = ", ".join(f"{row['AP50']:.3f}" for row in run.history if "AP50" in row)
            rows[name].append((run.metrics["AP"], run.metrics["AP50"]))
            print(
                f"seed {seed} {name:<5} AP {run.metrics['AP']:.4f}  AP50 {run.metrics['AP50']:.4f}  (AP50 on the way "
                f"{curve}), {seconds:,.0f} s of training, {time.perf_counter() - start:,.0f} s in all",
                flush=True,
            )
    for name, found in rows.items():
        ap, half = (f"{statistics.mean(column):.4f}" for column in zip(*found, strict=True))
        print(f"{name:<5} mean AP {ap}, AP50 {half}, {arguments.seeds} seeds")


if __name__ == "__main__":
    main()
