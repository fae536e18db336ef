"""The model `largest` as a Detector: class and box of the largest object, by a new head on a trained backbone."""

from __future__ import annotations

from torch import nn

from yolo.localize.heads import LargestHead
from yolo.localize.network import SingleNetwork
from yolo.models.single import SIDE, SingleObjectDetector, backbone_of, size_of
from yolo.options.single import Largest


class LargestDetector(SingleObjectDetector):
    """Class and box of the largest object: a new head on a backbone that is trained after it."""

    model = "largest"
    options: Largest

    def begin_epoch(self, epoch: int) -> None:
        """Train the halves of the backbone whose epoch has come; the others keep their batch statistics as well."""
        assert self.network.backbone is not None
        starts = (*self.options.unfreeze, *(self.options.epochs,) * 2)
        for half, start in zip(reversed(self.network.backbone.groups), starts, strict=False):
            half.requires_grad_(epoch >= start)
            half.train(epoch >= start)

    def rate(self, parameter: str) -> float:
        """Return 1 for the head, 0.1 and 0.01 for the upper and lower half of the backbone."""
        assert self.network.backbone is not None
        module = self.network.get_parameter(parameter)
        lower, upper = self.network.backbone.groups
        return 0.1 if _holds(upper, module) else 0.01 if _holds(lower, module) else 1.0


def _holds(module: nn.Module, parameter: nn.Parameter) -> bool:
    """Return whether the module has this parameter."""
    return any(own is parameter for own in module.parameters())


def build_largest(options: Largest, names: list[str], cfg_text: str | None = None) -> LargestDetector:
    """Return a backbone with a new head, or with the weights of `options.weights`."""
    backbone, size = backbone_of(options, cfg_text), size_of(options, SIDE)
    cells = -(-size.height // backbone.stride) * -(-size.width // backbone.stride)
    head = LargestHead(backbone.channels * cells, len(names))
    return LargestDetector(SingleNetwork(head, backbone), names, size, options)
