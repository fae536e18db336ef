"""The images of an ablation study under each variant: detections of the best weights, AP resampled over images."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw

from yolo.ablation.statistics import LEVEL
from yolo.boxes import Detections
from yolo.data.datasets import ImageDataset
from yolo.data.sheet import CAPTION, GAP, INK, PAPER, tile
from yolo.evaluation.detect_all import detect_all, truths_in
from yolo.files.atomic import replacing
from yolo.images.draw import draw, drawable, lettering
from yolo.images.placement import Placement
from yolo.images.resize import place
from yolo.metrics.bootstrap import Interval, resampled
from yolo.metrics.coco import CocoMetrics
from yolo.metrics.records import Found
from yolo.models.load import load
from yolo.options.commands import Evaluate
from yolo.options.detection import EVALUATION, Filter
from yolo.options.presets import read_options
from yolo.options.training import Training
from yolo.size import Size
from yolo.training.run_folder import BEST, OPTIONS
from yolo.training.sets import open_sets

CACHE = "detections.npz"
"""In the folder of a run: the detections of its best weights and their metrics."""

RESAMPLES = 1000

METRICS = ("AP50", "AP")

SHOWN, SIDE, MOST = 4, 256, 12
"""The images on a sheet, the sides of a tile in pixels, and the most boxes in it."""

CONFIDENCE = Filter().confidence


class Detected(NamedTuple):
    """What the best weights of a run find in its evaluation images.

    `image_ids` is int64 `[images]`. The metrics `value`, float64 `[2]`, and their `resamples`, float64
    `[2, resamples]`, are AP50 and AP; NaN in a resample without objects.
    """

    image_ids: np.ndarray
    found: Found
    value: np.ndarray
    resamples: np.ndarray


class Albums:
    """The evaluation images of runs. Runs with the same images share them."""

    def __init__(self) -> None:
        self._open = cache(lambda options: open_sets(options)[1])

    def of(self, run: Path) -> ImageDataset:
        """Return the images on which a run was evaluated. Raises ValueError or OSError if they are missing."""
        options = read_options(run / OPTIONS)
        names = ("data", "split", "val_split", "val", "holdout", "limit", "eval_on", "bad", "allow_empty")
        return self._open(replace(Training(), **{name: getattr(options, name) for name in names}))


def detected(run: Path, albums: Albums) -> Detected:
    """Return the detections of a run's best weights, under the conditions of `eval`.

    They are kept in the folder of the run, in detections.npz, and computed again only if the weights are newer.
    """
    kept = _read(run)
    if kept is None:
        kept = _detect(run, albums.of(run))
        write_detected(run / CACHE, kept)
    return kept


def judged(data: ImageDataset, found: Found) -> Detected:
    """Return the detections `found` in a data set, with their metrics and the resamples of these."""
    metrics = CocoMetrics(data.names, found.boxes.device)
    metrics.add(torch.from_numpy(data.index.image_ids), truths_in(data), found)
    result = metrics.compute()
    by_threshold = resampled(result, RESAMPLES).cpu()
    half = result.rules.thresholds.index(0.5)
    resamples = torch.stack((by_threshold[:, half], by_threshold.mean(1)))
    value = np.array([result.ap(0.5), result.ap()])
    return Detected(data.index.image_ids, Found(*(field.cpu() for field in found)), value, resamples.numpy())


def paired_bootstrap(first: Sequence[Detected], second: Sequence[Detected]) -> dict[str, tuple[float, Interval]]:
    """Return first minus second in AP50 and AP, each with its 95 % interval over resampled images.

    A resample has the same images for all runs. The interval is the central part of the resamples, moved so that
    their mean is the difference.

    Args:
        first: The runs of one variant, one per seed.
        second: Those of the other variant with the same seeds.

    Returns:
        Metric -> mean difference over the seeds and its interval; empty without seeds or without objects.

    Raises:
        ValueError: The runs were evaluated on different images.
    """
    assert len(first) == len(second)
    if any(not np.array_equal(one.image_ids, first[0].image_ids) for one in (*first, *second)):
        raise ValueError("the variants were evaluated on different images, so there is no interval over images")
    result = {}
    for m, metric in enumerate(METRICS if first else ()):
        pairs = list(zip(first, second, strict=True))
        value = float(np.mean([a.value[m] - b.value[m] for a, b in pairs]))
        drawn = np.mean([a.resamples[m] - b.resamples[m] for a, b in pairs], axis=0)
        drawn = drawn[~np.isnan(drawn)]
        if len(drawn):
            low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - drawn.mean() + value
            result[metric] = value, Interval(float(low), float(high))
    return result


def sheet(data: ImageDataset, variants: Mapping[str, Detected]) -> np.ndarray:
    """Return the first images, a row for the objects and one for each variant's detections; uint8 RGB `[h, w, 3]`."""
    chosen = range(min(SHOWN, len(data)))
    size, height = Size(SIDE, SIDE), CAPTION + SIDE + CAPTION + GAP
    page = Image.new("RGB", (GAP + len(chosen) * (SIDE + GAP), (1 + len(variants)) * height), PAPER)
    pen = ImageDraw.Draw(page)
    for column, k in enumerate(chosen):
        sample, x = data.sample(k), GAP + column * (SIDE + GAP)
        page.paste(Image.fromarray(tile(sample, data.names, size)), (x, CAPTION))
        # Below the objects: the same image with the detections of each variant.
        pixels = sample[0].permute(1, 2, 0).numpy()
        for row, one in enumerate(variants.values(), start=1):
            drawn, caption = _drawn(pixels, one.found, k, data.names)
            y = row * height + CAPTION
            page.paste(Image.fromarray(drawn), (x, y))
            pen.text((x, y + SIDE + CAPTION // 2), drawable(caption), fill=INK, font=lettering(12), anchor="lm")
    for row, title in enumerate(("the objects", *variants)):
        pen.text((GAP, row * height + CAPTION // 2), drawable(title), fill=INK, font=lettering(15), anchor="lm")
    return np.asarray(page)


def _drawn(pixels: np.ndarray, found: Found, k: int, names: Sequence[str]) -> tuple[np.ndarray, str]:
    """Return image `k` with its best detections above the confidence of `detect`, and a line on their number."""
    # The detections of this image, the best first.
    of_it = (found.image == k).nonzero().squeeze(1)
    of_it = of_it[found.scores[of_it].argsort(descending=True, stable=True)]
    sure = of_it[found.scores[of_it] > CONFIDENCE]
    # Boxes are x, y, w, h in pixels of the image; the tile shows the image letterboxed.
    placement = Placement.letterbox(Size.of(pixels), Size(SIDE, SIDE))
    best = sure[:MOST]
    corners = torch.cat((found.boxes[best, :2], found.boxes[best, :2] + found.boxes[best, 2:]), dim=1)
    shown = Detections(placement.to_input(corners), found.scores[best], found.label[best])
    caption = f"{len(sure)} above {CONFIDENCE:g}"
    if not len(sure):
        caption = f"none above {CONFIDENCE:g}" + (f", best {found.scores[of_it[0]]:.3f}" if len(of_it) else "")
    return draw(place(pixels, placement), shown, names), caption


def _detect(run: Path, data: ImageDataset) -> Detected:
    """Detect with the best weights of a run."""
    model = load(run / BEST)
    return judged(data, detect_all(model, data, Evaluate.batch_size, EVALUATION))


def write_detected(path: Path, one: Detected) -> None:
    """Write detections for the next report."""
    found = {name: field.numpy() for name, field in one.found._asdict().items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, image_ids=one.image_ids, value=one.value, resamples=one.resamples, **found)


def _read(run: Path) -> Detected | None:
    """Return the detections in the folder of a run; None if they are missing, older than the weights, or damaged."""
    try:
        if (run / CACHE).stat().st_mtime_ns < (run / BEST).stat().st_mtime_ns:
            return None
        with np.load(run / CACHE) as kept:
            found = Found(*(torch.from_numpy(kept[name]) for name in Found._fields))
            one = Detected(kept["image_ids"], found, kept["value"], kept["resamples"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    # Another version may have had other resamples.
    return one if one.resamples.shape == (len(METRICS), RESAMPLES) else None
