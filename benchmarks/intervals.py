"""Coverage of the 95 % intervals of AP: how often they hold the known answer, on random data sets.

    python benchmarks/intervals.py [--images 60 150 600] [--sets 60]
    python benchmarks/intervals.py --what speed [--rounds 5] [--threads 2]

A population of 5,000 images is drawn, then many data sets of a few of its images. An interval of AP50 should hold the
mean AP50 of data sets of that size. The share of intervals that hold it should be 0.95. `plain` is the percentile
method of the textbooks, which does not move the resamples onto the value. The last column is AP50 of the whole
population: on few images AP itself is too high, which no interval corrects. Takes about a minute.

`--what speed` is another measurement: the seconds for the intervals of 1,000 resamples of 5,000 images with 500,000
detections (the set of metrics.py). `limit` is the time for adding up the weights of all detections between those that
match, without which no resample can know its precisions.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from measure import peak_memory, race, timed
from metrics import CLASSES, draw_set

from yolo.metrics.bootstrap import bootstrap
from yolo.metrics.coco import CocoMetrics, CocoResult
from yolo.metrics.records import Found, Truths
from yolo.metrics.weighted import Bags, Weighted

POPULATION, DETECTIONS, RESAMPLES = 5000, 60_000, 300


def part(data: dict[str, np.ndarray], images: np.ndarray) -> CocoResult:
    """Return the evaluation of some images of a population."""
    place = np.full(len(data["images"]), -1)
    place[images] = np.arange(len(images))
    objects, found = place[data["image"]] >= 0, place[data["found_image"]] >= 0
    metrics = CocoMetrics([f"class {k}" for k in range(CLASSES)])
    truths = (place[data["image"]], data["label"], data["box"], data["area"], data["crowd"])
    hits = (place[data["found_image"]], data["found_label"], data["found_box"], data["score"])
    metrics.add(
        torch.arange(len(images)),
        Truths(*(torch.from_numpy(field[objects]) for field in truths)),
        Found(
            *(
                torch.from_numpy(field[found]).to(torch.float64 if k > 1 else torch.int64)
                for k, field in enumerate(hits)
            )
        ),
    )
    return metrics.compute()


def plain_interval(result: CocoResult, seed: int) -> tuple[float, float]:
    """Return the interval of AP50 by the percentile method."""
    images = result.records.images
    drawn = torch.randint(images, (RESAMPLES, images), generator=torch.Generator().manual_seed(seed))
    weights = torch.zeros_like(drawn).scatter_add_(1, drawn, torch.ones_like(drawn))
    low, high = np.quantile(Weighted(result).ap(weights)[:, 0].numpy(), [0.025, 0.975])
    return float(low), float(high)


def speed(rounds: int, threads: int, resamples: int = 1000) -> None:
    """Print the seconds for the intervals of a set as large as val2017, beside the limit."""
    torch.set_num_threads(threads)
    images, detections = 5000, 500_000
    result = part(draw_set(images, detections), np.arange(images))
    before, weighted = peak_memory(), Weighted(result)
    weights = torch.randint(3, (images, weighted.portion)).float()
    every = Bags(result.records.found.image, weighted.between.ends * detections // len(weighted.between.rows))

    def limit() -> None:
        for _ in range(-(-resamples // weighted.portion)):
            every.sums(weights)

    figures = race({"limit": timed(limit), "bootstrap": timed(lambda: bootstrap(result, resamples))}, rounds, warmup=1)
    print(f"{images:,} images, {detections:,} detections, {resamples:,} resamples, {threads} threads: seconds")
    print("               min  median     max | x limit")
    for name, one in figures.items():
        print(f"{name:<12} {one.spread('7.3f')} | {one.median / figures['limit'].median:7.1f}")
    print(f"{peak_memory() - before:.0f} MB at most in addition")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", choices=("coverage", "speed"), default="coverage")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, nargs="+", default=[60, 150, 600])
    parser.add_argument("--sets", type=int, default=60)
    arguments = parser.parse_args()
    if arguments.what == "speed":
        speed(arguments.rounds, arguments.threads)
        return
    data = draw_set(POPULATION, DETECTIONS)
    whole = part(data, np.arange(POPULATION)).ap(0.5)
    rng = np.random.default_rng(0)
    print("images  mean AP50  width  holds  holds, plain  AP50 of the population")
    for images in arguments.images:
        sets = [part(data, rng.choice(POPULATION, images, replace=False)) for _ in range(4 * arguments.sets)]
        answer = float(np.mean([one.ap(0.5) for one in sets]))
        ends = [bootstrap(one, RESAMPLES, seed=k)["AP50"] for k, one in enumerate(sets[: arguments.sets])]
        plain = [plain_interval(one, k) for k, one in enumerate(sets[: arguments.sets])]
        holds, holds_plain = (np.mean([low <= answer <= high for low, high in both]) for both in (ends, plain))
        width = np.mean([high - low for low, high in ends])
        print(f"{images:8}{answer:11.4f}{width:7.3f}{holds:7.3f}{holds_plain:14.3f}{whole:24.4f}")


if __name__ == "__main__":
    main()
