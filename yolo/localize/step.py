"""One step of a plain training loop, for a notebook. `yolo/training/engine.py` is the loop of the program."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Outputs = tuple[Tensor, Tensor]
Targets = tuple[Tensor, Tensor]


def train_step(
    model: nn.Module,
    batch: tuple[Tensor, Targets],
    loss_fn: Callable[[Outputs, Targets], Tensor],
    optimizer: torch.optim.Optimizer,
    device: torch.device | str,
) -> float:
    """Update the weights once and return the loss before the update.

    Args:
        model: gives `(logits, boxes)` of the features. Its mode, training or evaluation, is the caller's choice.
        batch: `(features, (labels, boxes))`, on any device.
        loss_fn: `LocalizationLoss`, or another function of outputs and targets that returns a scalar.
        optimizer: has the parameters of the model.
        device: where the model is.
    """
    features, (labels, boxes) = batch
    loss = loss_fn(model(features.to(device)), (labels.to(device), boxes.to(device)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
