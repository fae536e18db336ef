"""One step of a plain loop: the loss before the update is returned, and the update lowers the loss of the batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from yolo.localize.heads import LargestHead, LocalizationNet, SimpleDetector
from yolo.localize.loss import BOX_LOSSES, LocalizationLoss
from yolo.localize.step import train_step


@pytest.mark.parametrize("kind", BOX_LOSSES)
@pytest.mark.parametrize("name", ["presence", "simple", "largest"])
def test_one_step_lowers_the_loss_of_its_batch(name: str, kind: str) -> None:
    """For every head and box loss; gradients that were there before do not count."""
    torch.manual_seed(0)
    images = torch.rand(6, 3, 8, 8)
    model: nn.Module = {
        "presence": lambda: LocalizationNet(192),
        "simple": lambda: SimpleDetector(3, (8, 8)),
        "largest": lambda: LargestHead(192, 3).eval(),  # its dropout would make another loss of the same batch
    }[name]()
    labels = torch.tensor([0, 1, 1, 0, 1, 0]) if name == "presence" else torch.tensor([0, 2, 1, -1, 0, -1])
    batch = images, (labels, torch.tensor([[0.2, 0.1, 0.7, 0.6]]).expand(6, 4))
    criterion = LocalizationLoss(5, kind)
    expected = criterion(model(images), batch[1]).item()
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, 1e6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss = train_step(model, batch, criterion, optimizer, "cpu")
    assert isinstance(loss, float)
    assert loss == pytest.approx(expected)
    assert criterion(model(images), batch[1]).item() < loss
