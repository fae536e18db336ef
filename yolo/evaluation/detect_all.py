"""The detections in all images of a data set, which evaluation compares with its objects."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor
from tqdm import tqdm

from yolo.data.datasets import ImageDataset
from yolo.images.placement import Placement
from yolo.metrics.collect import found_in
from yolo.metrics.records import Found, Truths
from yolo.models.detector import Detector
from yolo.names import class_index
from yolo.options.detection import Filter

log = logging.getLogger("yolo")


def detect_all(model: Detector, data: ImageDataset, batch_size: int, options: Filter) -> Found:
    """The detections in all images of a data set, with its class indices.

    Classes of the model that the data do not have are left out, which is said. ValueError if it is the other way round,
    or for an image that cannot be read: an evaluation that leaves images out is none.
    """
    label_of = _match_classes(model.names, data.names)
    parts = []
    with tqdm(total=len(data), unit="image", disable=None) as bar:
        for first, (images, placements) in _prepared(model, data, batch_size):
            found = found_in(model.detect_batch(images, placements, options))
            label = label_of.to(found.label.device)[found.label]
            known = (label >= 0).nonzero().squeeze(1)
            parts.append(Found(found.image[known] + first, label[known], found.boxes[known], found.scores[known]))
            bar.update(len(images))
    return Found(*map(torch.cat, zip(*parts, strict=True)))


def _prepared(
    model: Detector, data: ImageDataset, batch_size: int
) -> Iterator[tuple[int, tuple[Tensor, Sequence[Placement]]]]:
    """Batches, with the index of their first image; the next are read while one is looked at."""

    def prepare(first: int) -> tuple[Tensor, Sequence[Placement]]:
        images, placements = [], []
        for k in range(first, min(first + batch_size, len(data))):
            image, placement = model.prepare(data.path(k))
            if list(placement.image.wh) != data.index.sizes[k].tolist():
                raise ValueError(data.fault(k))  # its boxes would be those of another image
            images.append(image)
            placements.append(placement)
        return torch.stack(images), placements

    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting: deque[tuple[int, Future[tuple[Tensor, Sequence[Placement]]]]] = deque()
        for first in range(0, len(data), batch_size):
            waiting.append((first, pool.submit(prepare, first)))
            if len(waiting) > 2:
                number, batch = waiting.popleft()
                yield number, batch.result()
        for number, batch in waiting:
            yield number, batch.result()


def _match_classes(names: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """For each class of the model the class index in the data, int64, -1 for none: by name."""
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
    """All objects as they were read, for evaluation; nothing is clipped."""
    index = data.index
    return Truths(*map(torch.from_numpy, (index.image, index.labels, index.read, index.area, index.crowd)))
