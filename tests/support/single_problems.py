"""Small data sets and a small backbone for the models of one object in an image."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.support.drawn import drawn
from tests.support.train_problems import tiny_cfg
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.weights import save_weights
from yolo.data.shapes.singles import make_singles


def tiny_backbone(folder: Path, seed: int = 0, gain: float = 1.0) -> str:
    """Write a cfg and random weights with settled batch norm; return the spec of its four convolutions.

    Its map has 16 channels and a stride of 16. Its values are normalised, times `gain`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cfg, weights = tiny_cfg(folder), folder / "tiny.weights"
    torch.manual_seed(seed)
    network = Darknet(read_cfg(cfg))
    network(torch.rand(4, 3, 64, 64))
    with torch.no_grad():
        network.get_parameter("layers.3.bn.weight").mul_(gain)
    save_weights(network, weights)
    return f"darknet:{cfg},{weights}@3"


def singles(folder: Path, train: int = 30, val: int = 10) -> Path:
    """Return a drawn set with one object of ten classes in each image of 64 x 64 pixels."""
    return drawn(folder / "singles", make_singles, train=train, val=val, size=64)
