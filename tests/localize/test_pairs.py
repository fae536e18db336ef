"""Pairs of images and answers, in a plain training loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.support.single_problems import singles
from tests.support.train_problems import shapes
from yolo.data.datasets import ImageDataset, open_data
from yolo.localize.heads import SimpleDetector
from yolo.localize.loss import LocalizationLoss
from yolo.localize.pairs import Pairs
from yolo.localize.sampler import BalancedSampler
from yolo.localize.step import train_step
from yolo.localize.view import presence
from yolo.options.single import Localizer
from yolo.size import Size


def test_a_loop_of_ones_own(tmp_path: Path) -> None:
    """Dataset, DataLoader, network, loss and step fit together, and two epochs lower the loss."""
    data = open_data(singles(tmp_path), split="train")
    pairs = Pairs(data, Size(32, 32))
    image, (label, box) = pairs[3]
    assert image.shape == (3, 32, 32)
    assert 0 <= image.min() < image.max() <= 1
    assert label == data.index.labels[3]
    w, h = data.index.sizes[3]
    assert box.tolist() == pytest.approx((data.index.boxes[3] / [w, h, w, h]).tolist(), abs=1e-6)
    torch.manual_seed(0)
    network = SimpleDetector(len(data.names), (32, 32))
    optimizer, loss = torch.optim.Adam(network.parameters(), 1e-3), LocalizationLoss(box_gain=5)
    epochs = [
        sum(train_step(network, batch, loss, optimizer, torch.device("cpu")) for batch in DataLoader(pairs, 8))
        for _ in range(5)
    ]
    assert epochs[-1] < epochs[0]


def test_several_objects(tmp_path: Path) -> None:
    """An image with several objects is an error that names it."""
    data = open_data(shapes(tmp_path), split="train")
    k = int(np.diff(data.index.offsets).argmax())
    with pytest.raises(ValueError, match=rf"{data.path(k).name}: \d objects; expected at most one"):
        Pairs(data, Size(32, 32))[k]


def test_presence(tmp_path: Path) -> None:
    """Labels are 1 and 0, images without the object have a box of zeros, and a balanced sampler takes the labels."""
    data = open_data(singles(tmp_path), split="train")
    frequent = data.names[int(np.bincount(data.index.labels).argmax())]
    pairs = Pairs(ImageDataset(presence(data.index, Localizer(target=frequent))), Size(32, 32), presence=True)
    answers = [pairs[k][1] for k in range(len(pairs))]
    labels = [int(label) for label, _ in answers]
    assert set(labels) == {0, 1}
    assert all((box == 0).all() == (label == 0) for label, box in answers)
    chosen = [labels[k] for k in BalancedSampler(labels)]
    assert sum(chosen) == len(chosen) - sum(chosen) == sum(labels)
