"""The geometry of a head, against numbers that can be checked by eye."""

from __future__ import annotations

import math

import torch
from torch.testing import assert_close

from tests.support.loss_problems import real_head
from tests.support.oracles import YoloHead
from yolo.detection.grid import SMALLEST, make_grids
from yolo.detection.near_misses import near_labels

RAW = torch.zeros(1, 2, 2, 3, 6, dtype=torch.float64)  # an input of 96 x 64 pixels (w x h)
[GRID] = make_grids([RAW], [real_head(YoloHead([(16, 32), (64, 8)], stride=32, classes=1, k=1.2))], torch.float64)


def test_anchors_are_in_grid_units() -> None:
    """Pixels over the stride; rows before columns."""
    assert (GRID.rows, GRID.columns, GRID.scale_x_y) == (2, 3, 1.2)
    assert GRID.anchors.tolist() == [[0.5, 1.0], [2.0, 0.25]]


def test_cells_and_truths() -> None:
    """A centre on a border belongs to the next cell, one outside the grid to the nearest."""
    centres = [(0.5, 0.25), (1 / 3, 0.5), (1.0, 1.0), (-0.1, 1.7)]
    labels = torch.tensor([[0, x, y, 0.5, 0.5, 0] for x, y in centres], dtype=torch.float64)
    i, j = GRID.cells(labels)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 1), (1, 1), (1, 2), (1, 0)]
    assert GRID.truths(labels)[:2].tolist() == [[1.5, 0.5, 1.5, 1.0], [1.0, 1.0, 1.5, 1.0]]


def test_predicted_boxes() -> None:
    """Zeros are the anchor in the middle of its cell; k = 1.2 reaches 0.1 beyond the cell; sizes have limits."""
    values = torch.tensor([[0, 0, 0, 0], [50, -50, 1, -1], [0, 0, 99, -99]], dtype=torch.float64).requires_grad_()
    boxes = GRID.boxes(values, torch.tensor([1, 0, 0]), torch.tensor([1, 0, 0]), torch.tensor([2, 1, 0]))
    expected = [[2.5, 1.5, 2, 0.25], [2.1, -0.1, math.e / 2, 1 / math.e], [0.5, 0.5, 3, SMALLEST]]
    assert_close(boxes, torch.tensor(expected, dtype=torch.float64))
    boxes[:, 2:].sum().backward()
    assert values.grad is not None
    assert_close(values.grad[:, 2:], boxes.detach()[:, 2:])  # d exp(t) = exp(t); beyond a limit that of the limit


def test_all_boxes() -> None:
    """Every prediction has the box that its own indices give."""
    raw = torch.randn(2, 2, 2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    boxes = GRID.all_boxes(raw)
    b, a, i, j = torch.ones(2, 2, 2, 3).nonzero().unbind(1)
    assert boxes[b, a, i, j].equal(GRID.boxes(raw[b, a, i, j], a, i, j))


def test_near_labels() -> None:
    """A label that is the second anchor in cell (1, 2): that prediction alone, and only in the label's image."""
    labels = torch.tensor([[1, 2.5 / 3, 1.5 / 2, 2 / 3, 0.25 / 2, 0]], dtype=torch.float64)
    near = near_labels(RAW.expand(2, -1, -1, -1, -1).clone().requires_grad_(), labels, GRID, 0.9)
    assert near.nonzero().tolist() == [[1, 1, 1, 2]]
    assert not near_labels(RAW, labels[:0], GRID, 0.9).any()


def test_values_are_the_inverse_of_boxes() -> None:
    """Any box that a prediction can have gives its values back; at and beyond the edge of its reach, the centre lies
    on the edge and the values are finite."""
    values = torch.tensor([[0.5, -2, 0.3, -0.7], [3, 4, -1, 0.2]], dtype=torch.float64)
    a, i, j = torch.tensor([1, 0]), torch.tensor([1, 0]), torch.tensor([2, 1])
    assert_close(GRID.values(GRID.boxes(values, a, i, j), a, i, j), values)
    beyond = torch.tensor([[3.1, 0.9, 1, 1], [-5, 9, 1, 1]], dtype=torch.float64)  # k = 1.2 reaches from 1.9 to 3.1
    found = GRID.values(beyond, a, i, j)
    assert bool(found.isfinite().all())
    expected = torch.tensor([[3.1, 0.9, 1, 1], [0.9, 1.1, 1, 1]], dtype=torch.float64)
    assert_close(GRID.boxes(found, a, i, j), expected, atol=1e-6, rtol=0)
