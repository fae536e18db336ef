"""The detections and the objects in all images of a data set, which evaluation compares.

Letters: `C` classes of the model.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from yolo.data.datasets import ImageDataset
from yolo.images.placement import Placement
from yolo.metrics.collect import found_in
from yolo.metrics.records import Found, Truths, select
from yolo.models.detector import Detector
from yolo.names import class_index
from yolo.options.detection import Filter
from yolo.process.distributed import silent

log = logging.getLogger("yolo")


class Prepared(NamedTuple):
    """A batch of images as the model takes them; `first` is the index of the first of them in the data set."""

    first: int
    images: Tensor
    placements: list[Placement]


def detect_all(model: Detector, data: ImageDataset, batch_size: int, options: Filter) -> Found:
    """Return the detections in all images of a data set, with the class indices of the data set.

    Detections of classes that the data set does not have are left out, and these classes are logged.

    Raises:
        ValueError: The model lacks a class of the data set, or an image cannot be read. An evaluation without it would
            give other numbers.
    """
    return detect_with_each(model, data, batch_size, [options])[0]


def detect_with_each(model: Detector, data: ImageDataset, batch_size: int, options: Sequence[Filter]) -> list[Found]:
    """Return what `detect_all` returns for each of the `options`. The network sees every image once."""
    label_of = _match_classes(model.names, data.names)
    parts: list[list[Found]] = [[] for _ in options]
    with tqdm(total=len(data), unit="image", disable=silent() or None) as bar:
        for batch in _prepared(model, data, batch_size):
            predictions = model.predict(batch.images)
            for own, thresholds in zip(parts, options, strict=True):
                found = found_in(model.select(predictions, batch.placements, thresholds))
                label = label_of.to(found.label.device)[found.label]
                found = found._replace(image=found.image + batch.first, label=label)
                own.append(select(found, (label >= 0).nonzero().squeeze(1)))
            bar.update(len(batch.images))
    return [Found(*map(torch.cat, zip(*own, strict=True))) for own in parts]


def _prepared(model: Detector, data: ImageDataset, batch_size: int) -> Iterator[Prepared]:
    """Yield the batches in order. The next two are read while the model works on one."""

    def prepare(first: int) -> Prepared:
        images, placements = [], []
        for k in range(first, min(first + batch_size, len(data))):
            image, placement = model.prepared(data, k)
            if placement.image != data.index.size(k):
                raise ValueError(data.fault(k))  # the boxes would be those of another image
            images.append(image)
            placements.append(placement)
        return Prepared(first, torch.stack(images), placements)

    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting: deque[Future[Prepared]] = deque()
        for first in range(0, len(data), batch_size):
            waiting.append(pool.submit(prepare, first))
            if len(waiting) > 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _match_classes(names: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """Return the data's class index of each class of the model, matched by name; int64 `[C]`, -1 for none."""
    found = [class_index(name, wanted) for name in names]
    absent = [own for k, own in enumerate(wanted) if k not in found]
    if absent:
        raise ValueError(
            f"the data have classes that the model does not: {', '.join(absent[:20])}; the model's {len(names)} are "
            f"{', '.join(list(names)[:20])}; if only its spelling differs, give --names"
        )
    surplus = [name for name, k in zip(names, found, strict=True) if k is None]
    if surplus:
        log.warning("left out, as the data have no such class: %s", ", ".join(surplus))
    return torch.tensor([-1 if k is None else k for k in found])


def truths_in(data: ImageDataset) -> Truths:
    """Return all objects as they were read, not clipped to the images."""
    index = data.index
    return Truths(*map(torch.from_numpy, (index.image, index.labels, index.read, index.area, index.crowd)))
