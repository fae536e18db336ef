"""The model `localizer` as a Detector: presence and box of one class, from features that are computed once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from yolo.data.datasets import ImageDataset
from yolo.images.placement import Placement
from yolo.localize.checks import ONE_KIND, check_network, check_targets
from yolo.localize.features import FeatureSamples, FeatureStore, features_of
from yolo.localize.heads import LocalizationNet
from yolo.localize.metrics import PRESENCE
from yolo.localize.network import SingleNetwork
from yolo.localize.sampler import BalancedOrder
from yolo.models.single import MEASURED, SIDE, SingleObjectDetector, answers_due, backbone_of, size_of
from yolo.options.single import Localizer
from yolo.size import Size

if TYPE_CHECKING:
    from yolo.data.loader import Batch, Drawn
    from yolo.data.order import Order
    from yolo.data.transforms import Augmented

log = logging.getLogger("yolo")

GRID = 3
"""Rows and columns of the features `grid`."""


class LocalizerDetector(SingleObjectDetector):
    """Says whether an object of one class is in the image, and where: a head on features of a frozen backbone."""

    model, metrics = "localizer", PRESENCE
    options: Localizer
    cells: int

    def __init__(self, network: SingleNetwork, names: list[str], size: Size, options: Localizer) -> None:
        super().__init__(network, names, size, options)
        assert network.backbone is not None
        self.cells = GRID if options.features == "grid" else 1
        self.store = FeatureStore(network.backbone, self.cells, size, letterbox=self.letterbox)

    def inputs_of(self, images: Tensor) -> Tensor:
        """Return the features of images, or features as they are."""
        if images.is_floating_point():
            return images
        assert self.network.backbone is not None
        return features_of(self.network.backbone, images, self.cells)

    def order(self, data: ImageDataset, options: Localizer) -> Order | None:  # type: ignore[override]
        """Return an order with `negative_ratio` images without object for each one with it."""
        there = (data.index.offsets[1:] > data.index.offsets[:-1]).astype(int)
        if options.negative_ratio is None or there.all():
            return None
        order = BalancedOrder(there, options.negative_ratio, options.seed)
        if order.note:
            log.warning("%s", order.note)
        return order

    def fit_to(self, data: ImageDataset, batches: Iterable[Batch]) -> None:
        """Also look for common faults in the first batches. Raises ValueError that names each with its remedy."""
        first = list(islice(batches, MEASURED))
        labels, boxes = answers_due([target for batch in first for target in batch.targets])
        faults = check_targets(labels + 1, boxes)
        faults += check_network(self.network.head, torch.cat([batch.images for batch in first]).to(self.device))
        # A few batches may have one kind only by chance; that all images have the object is possible, but odd.
        if real := [fault for fault in faults if ONE_KIND not in fault]:
            raise ValueError("\n".join(real))
        if faults and len(data.index.labels) == len(data):
            log.warning("%s", *faults)
        super().fit_to(data, first)

    def samples(self, seen: Augmented) -> Drawn:
        """Return the features of the images, which are computed once. Raises ValueError for a user's transform."""
        if seen.transform is not None:
            raise ValueError("transform: a localizer learns from features that were computed once; leave it out")
        assert isinstance(seen.data, ImageDataset), "`Localizer` makes sure of it"
        return FeatureSamples(seen, seen.data, self.store)

    def prepared(self, data: ImageDataset, k: int) -> tuple[Tensor, Placement]:
        """Return the features of image `k` if they are known, else the image."""
        features = self.store[data.path(k)]
        if features is None:
            return super().prepared(data, k)
        return features[0], Placement.of(data.index.size(k), self.size, letterbox=self.letterbox)


def build_localizer(options: Localizer, names: list[str], cfg_text: str | None = None) -> LocalizerDetector:
    """Return a localizer with initial weights, or those of `options.weights`."""
    backbone = backbone_of(options, cfg_text)
    cells = GRID if options.features == "grid" else 1
    head = LocalizationNet(
        backbone.channels * cells**2, options.hidden, norm=options.head_norm, dropout=options.dropout
    )
    return LocalizerDetector(SingleNetwork(head, backbone, features=True), names, size_of(options, SIDE), options)
