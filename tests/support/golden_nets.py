"""The golden networks: tiny cfgs and weights with the numbers that darknet itself computed, in `tests/golden/nets`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tests.support.paths import GOLDEN
from yolo.darknet.cfg import read_cfg
from yolo.darknet.heads import Head
from yolo.darknet.network import Darknet
from yolo.darknet.weights import load_weights

CASES = sorted((GOLDEN / "nets").iterdir())  # a missing folder is an error, not a skipped test


def golden_network(case: Path) -> Darknet:
    """Return the network of a golden case with darknet's weights, in evaluation mode."""
    network = Darknet(read_cfg(case / f"{case.name}.cfg"), init=None)
    assert load_weights(network, case / f"{case.name}.weights").complete
    return network.eval()


def in_darknets_memory(head: Head, raw: Tensor) -> Tensor:
    """Return raw predictions `[B, A, H, W, 5+C]` as darknet keeps them in memory after a head, the same shape.

    Place within the cell, objectness and classes come from `Head.decode`; width and height stay raw. Region keeps x and
    y raw, too.
    """
    rows, columns = raw.shape[2:4]
    boxes, objectness, classes = head.decode(raw, (rows, columns))
    place = boxes[..., :2] * torch.tensor([columns, rows]) - head.cells(rows, columns)
    xy = raw[..., :2] if head.region else place
    return torch.cat((xy, raw[..., 2:4], objectness.unsqueeze(-1), classes), dim=-1)
