"""The evaluation between epochs: the metrics of `python -m yolo eval`, the loss, and a sheet of images.

Letters: `I` images of the data set, `h, w` height and width of the network input in pixels.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from yolo.boxes import Detections
from yolo.data.datasets import ImageDataset
from yolo.data.loader import Loader
from yolo.data.sampler import Batches
from yolo.data.sheet import spread, tile
from yolo.data.transforms import Augmented
from yolo.evaluation.detect_all import detect_all, truths_in
from yolo.images.draw import draw
from yolo.images.resize import place
from yolo.metrics.coco import evaluate
from yolo.metrics.collect import Collector
from yolo.metrics.precision import defined
from yolo.models.detector import Detector, Score, evaluating
from yolo.options.commands import Evaluate
from yolo.options.detection import EVALUATION, Filter
from yolo.process.distributed import rank, world_size
from yolo.training.batches import loader_threads
from yolo.training.precision import Arithmetic
from yolo.training.totals import Totals

BATCH = Evaluate.batch_size
"""Images per batch, as in `eval`: with another number sums could round differently."""

SHOWN = 6
"""Number of images whose detections are drawn."""

MOST = 20
"""Maximum number of detections drawn per image: an untrained network finds hundreds."""


class Validation:
    """Evaluates detectors on a data set. Every process of a run calls it and evaluates its share of the images.

    Args:
        data: the images, with annotations as they were read.
        detector: the detector that is trained; evaluated detectors have the same input.
        arithmetic: the arithmetic of the loss, as in training. Metrics are computed in float32.
        workers: number of processes that read images for the loss.
    """

    def __init__(self, data: ImageDataset, detector: Detector, *, arithmetic: Arithmetic, workers: int = 0) -> None:
        self.data, self.arithmetic = data, arithmetic
        self.score, self.totals = Score(), Totals(detector.device)  # of the latest evaluation
        batches = Batches(len(data), BATCH, detector.size, shuffle=False, rank=rank(), world=world_size())
        samples = detector.samples(Augmented(data, letterbox=detector.letterbox))
        self.loader = Loader(samples, batches, workers=workers, threads=loader_threads(samples, workers))

    def __call__(self, detector: Detector) -> dict[str, float | None]:
        """Return COCO's twelve metrics (`AP`, `AP50`, ...), the model's own metrics, `val/loss` and its terms.

        A metric is None where the data has no object of its kind.
        """
        self.score = detector.score(self.data, BATCH)
        return (
            coco_metrics(detector, self.data)
            | {name: None if math.isnan(value) else value for name, value in self.score.values.items()}
            | self._losses(detector)
        )

    def _losses(self, detector: Detector) -> dict[str, float]:
        """Return the mean of each loss term over the images, without augmentation, in evaluation mode."""
        self.totals = Totals(detector.device)
        with evaluating(detector.network), torch.no_grad():
            for images, targets in self.loader:
                with self.arithmetic():
                    losses = detector.losses(images.to(detector.device, non_blocking=True), targets)
                self.totals.add(losses, len(images))
        return self.totals.means("val")

    def sheet(self, detector: Detector) -> np.ndarray:
        """Return a sheet, uint8 `[height, width, 3]`: some images with their objects, below them the detections."""
        columns = []
        for k in spread(len(self.data), SHOWN):
            image, _ = sample = self.data.sample(k)
            truth = tile(sample, self.data.names, detector.size, letterbox=detector.letterbox)
            pixels = image.permute(1, 2, 0).numpy()
            _, placement = detector.prepare(pixels)
            found = detector.detect(pixels, Filter(max_detections=MOST)).to("cpu")
            # The sheet shows the network input; `detect` returned boxes in pixels of the original image.
            found = Detections(placement.to_input(found.boxes), found.scores, found.labels)
            columns.append(np.concatenate((truth, draw(place(pixels, placement), found, detector.names))))
        return np.concatenate(columns, axis=1)


def coco_metrics(detector: Detector, data: ImageDataset) -> dict[str, float | None]:
    """Return COCO's twelve metrics of a detector; None where the data has no object of the kind. A collective call."""
    share = ImageDataset(data.index.with_images(np.arange(rank(), len(data), world_size())))
    collector = Collector(data.names, next(detector.network.parameters()).device)
    if len(share):
        found = detect_all(detector, share, BATCH, EVALUATION)
        collector.add(torch.from_numpy(share.index.image_ids), truths_in(share), found)
    numbers = evaluate(collector.records(), data.names).numbers()
    return {name: defined(value) for name, value in numbers.items()}
