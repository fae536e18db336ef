"""A made-up ablation study: runs with numbers from a formula, tiny weights, detections that are moved objects.

`python -m tests.support.study_problems FOLDER` writes one with three variants, five seeds and its report.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.support.drawn import drawn
from tests.support.train_problems import tiny_cfg
from tests.support.warm import Warm
from yolo.ablation import launch_local
from yolo.ablation.detections import CACHE, judged, write_detected
from yolo.ablation.study import Study, StudyRun, write_study
from yolo.ablation.study_report import write_report
from yolo.boxes import Detections, cxcywh_to_xyxy, xyxy_to_cxcywh
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import save_safetensors
from yolo.data.datasets import ImageDataset, open_data
from yolo.data.shapes.scenes import make_shapes
from yolo.metrics.collect import found_in
from yolo.metrics.records import Found
from yolo.options.train import LossOptions, Train
from yolo.options.yaml_file import write_yaml

VARIANTS: dict[str, LossOptions] = {
    "mse": LossOptions(bbox_loss="mse"),
    "1-iou": LossOptions(bbox_loss="iou"),
    "giou+ignore_0.5": LossOptions(bbox_loss="giou", ignore_thresh=0.5),
}
LEVELS = (0.35, 0.5, 0.52)
"""The final AP50 of the variants."""


def start_warm(run: StudyRun, *_: object) -> Warm:
    """Start or resume a run of a study, in place of `launch_local.start`, which other tests are about."""
    run.folder.mkdir(parents=True, exist_ok=True)
    return Warm(*launch_local.command(run)[1:])


def lines(level: float, seed: int, epochs: int, every: int = 1) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl of a run. The seed shifts all variants alike, with a little noise for each."""
    rng, shared = np.random.default_rng([seed, round(1000 * level)]), np.random.default_rng(seed).normal(0, 0.04)
    rows = []
    for epoch in range(epochs):
        part = 1 - math.exp(-4 * (epoch + 1) / epochs)
        ap50 = max(0.0, part * (level + shared + rng.normal(0, 0.008)))
        row: dict[str, Any] = {"epoch": epoch, "step": 3 * (epoch + 1)}
        for name, top in (("box", 2.0), ("obj", 9.0), ("cls", 0.7)):
            row[f"train/{name}"] = top * (1.02 - part) + abs(rng.normal(0, 0.01))
        row["train/loss"] = row["train/box"] + row["train/obj"] + row["train/cls"]
        row |= {
            "train/labels": 40,
            "train/positives": 60 + int(rng.integers(9)),
            "train/unmatched": int(rng.integers(4)),
        }
        row |= {
            "lr": 1e-3 * (1 - part),
            "probe/gradient": 10 * (1.05 - part) + level,
            "probe/moved_anchors": 0.5 - level * part,
        }
        if (epoch + 1) % every == 0:
            row |= {"AP": 0.5 * ap50, "AP50": ap50, "AP75": 0.4 * ap50, "APs": -1.0, "AR100": 0.7 * ap50}
            row |= {f"val/{name}": 1.2 * row[f"train/{name}"] for name in ("loss", "box", "obj", "cls")}
            row["eval_seconds"] = 2.5
        rows.append({**row, "seconds": 5.0 + 0.1 * seed, "memory_mb": 700.0})
    return rows


def weights(folder: Path, names: Sequence[str], seed: int = 0) -> bytes:
    """Return the bytes of best.safetensors of a tiny network with random weights."""
    torch.manual_seed(seed)
    save_safetensors(
        Darknet(read_cfg(tiny_cfg(folder))), folder / "tiny.safetensors", list(names), size=(64, 64), letterbox=True
    )
    return (folder / "tiny.safetensors").read_bytes()


def write_run(folder: Path, rows: Sequence[dict[str, Any]], best: bytes, options: Train) -> None:
    """Write a run folder as training leaves it, without last.pt and events."""
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(folder / "options.yaml", options)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "best.safetensors").write_bytes(best)


def moved(data: ImageDataset, noise: float, seed: int) -> Found:
    """Return the objects as detections, moved and scaled by a share `noise` of their sides; the less, the surer."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for k in range(len(data)):
        target = data.target(k)
        boxes = xyxy_to_cxcywh(target["boxes"].as_subclass(torch.Tensor))
        shift = noise * torch.randn(boxes.shape, generator=generator)
        boxes = torch.cat((boxes[:, :2] + shift[:, :2] * boxes[:, 2:], boxes[:, 2:] * shift[:, 2:].exp()), dim=1)
        scores = (0.95 - shift.abs().amax(1)).clamp(min=0.01)
        order = scores.argsort(descending=True)
        found.append(Detections(cxcywh_to_xyxy(boxes)[order], scores[order], target["labels"][order]))
    return found_in(found)


def write_made_up(root: Path, *, seeds: int = 5, epochs: int = 20, every: int = 1, images: int = 12) -> Path:
    """Write a study of the three variants with all runs finished and moved objects as detections; return its folder."""
    data_folder, study = drawn(root / "shapes", make_shapes, train=4, val=images), root / "study"
    data = open_data(data_folder, split="val")
    best = weights(root, data.names)
    for (name, loss), level in zip(VARIANTS.items(), LEVELS, strict=True):
        for seed in range(seeds):
            folder = study / name / f"seed-{seed}"
            options = Train(data=str(data_folder), epochs=epochs, eval_every=every, seed=seed, loss=loss, out=folder)
            write_run(folder, lines(level, seed, epochs, every), best, options)
            write_detected(folder / CACHE, judged(data, moved(data, 0.6 - level, seed)))
    write_study(
        Study(
            folder=study,
            seeds=seeds,
            variants={name: {"loss": {"bbox_loss": loss.bbox_loss}} for name, loss in VARIANTS.items()},
            figures={"Boxes": tuple(VARIANTS), "Only <two> & $": tuple(VARIANTS)[:2]},
            question={"Boxes": "Does 1 - IoU beat the squares, and does GIoU beat 1 - IoU?"},
        )
    )
    return study


if __name__ == "__main__":
    write_report(write_made_up(Path(sys.argv[1])))
