"""Which stages of a backbone are trained, and batch norm whose statistics stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn
from torchvision.ops import FrozenBatchNorm2d


def stages_of(body: nn.Module) -> list[list[nn.Module]]:
    """Return the stages of a backbone, the first one first, as torchvision counts them.

    Args:
        body: the backbone, whose children are those of torchvision's ResNet (conv1, layer1, ...) or MobileNet.
    """
    layers = list(body.named_children())
    resnet = any(name == "layer1" for name, _ in layers)
    later = [k for k, (name, layer) in enumerate(layers) if name.startswith("layer") or getattr(layer, "_is_cn", False)]
    starts = [0, *later] if resnet else [0, *later, len(layers) - 1]  # the last layer of a MobileNet is a stage
    return [[layer for _, layer in layers[first:end]] for first, end in pairwise([*starts, len(layers)])]


def freeze_stages(stages: Sequence[Sequence[nn.Module]], trained: int) -> None:
    """Freeze all but the last `trained` stages. Raises ValueError for more stages than there are."""
    if trained > len(stages):
        raise ValueError(f"trainable_layers={trained}: expected at most {len(stages)}, the stages of this backbone")
    for stage in stages[: len(stages) - trained]:
        for layer in stage:
            layer.requires_grad_(False)


def fix_norms(module: nn.Module, eps: float) -> None:
    """Replace every batch norm of a module by one with fixed statistics and factors, which have its values."""
    for name, layer in module.named_children():
        if not isinstance(layer, nn.BatchNorm2d):
            fix_norms(layer, eps)
            continue
        fixed = FrozenBatchNorm2d(layer.num_features, eps=eps)
        fixed.load_state_dict(layer.state_dict())
        setattr(module, name, fixed)
