"""Copies from the host to a device."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device; one that is there already is returned itself.

    A copy to a GPU goes through page-locked memory, so the host does not wait for it, nor for what the GPU has still
    to do before it. A tensor that is page-locked already may be overwritten only when the copy is complete.
    """
    if device.type == "cuda" and tensor.device.type == "cpu" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
