"""The Darknet module of a cfg: from images to raw predictions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo.darknet.cfg import Cfg
from yolo.darknet.heads import Head
from yolo.darknet.layers import Add, ConvBlock, Init, build_layer
from yolo.darknet.plan import IMAGE, LayerPlan, make_plan
from yolo.pixels import check_pixels
from yolo.size import Size

MAX_BYTES = 2**31  # of parameters, unless a weights file has more


class Darknet(nn.Module):
    """The network of a cfg. Module `layers[k]` is section `k` after `[net]`, `heads[s]` is scale `s`.

    Args:
        cfg: the parsed cfg.
        file_bytes: size in bytes of the weights file that will be loaded. Without a file, a cfg of more than 2 GiB of
            parameters is refused before anything is allocated.
        init: how initial weights are drawn (`ConvBlock.initialise`). None leaves them undefined, for a file that
            fills them all.

    Raises CfgError (a ValueError) for a cfg that cannot be built, or is too large.
    """

    def __init__(self, cfg: Cfg, *, file_bytes: int = 0, init: Init | None = "darknet") -> None:
        super().__init__()
        self.cfg = cfg
        self.plan = make_plan(cfg)
        if 4 * self.plan.floats > max(file_bytes, MAX_BYTES):
            largest = max(self.plan.layers, key=lambda layer: layer.floats)
            raise cfg.error(
                largest.index,
                f"the network would have {4 * self.plan.floats:,} bytes of parameters ({4 * largest.floats:,} in this "
                f"layer); more than {MAX_BYTES:,} need a weights file of that size",
            )
        check_pixels(*self.plan.size.wh, f"{cfg.file}: the network input")
        self.layers = nn.ModuleList(build_layer(layer) for layer in self.plan.layers)
        self._fitting = {self.plan.size}
        for layer in self.layers:
            if isinstance(layer, ConvBlock | Add) and init:
                layer.init = init
                layer.initialise()

    @property
    def heads(self) -> list[Head]:
        """The `[yolo]` and `[region]` modules in the order of the cfg."""
        return [layer for layer in self.layers if isinstance(layer, Head)]

    @property
    def size(self) -> Size:
        """Height and width of the cfg's own input, in pixels."""
        return self.plan.size

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the raw predictions of every head, in training as in evaluation.

        Args:
            images: `[B, channels, h, w]` floating point in [0, 1], RGB; any h, w that the strides divide.

        Returns:
            For every head, in the order of the cfg, `[B, A, H, W, 5 + C]`: logits (with `new_coords` values in
            (0, 1)).

        Raises ValueError for images of another shape or type.
        """
        self._check(images)
        outputs: dict[int, Tensor] = {IMAGE: images}
        predictions = []
        for plan, layer in zip(self.plan.layers, self.layers, strict=True):
            output = self.output_of(plan, layer, [outputs[k] for k in plan.sources])
            if isinstance(layer, Head):
                predictions.append(output)
            else:
                outputs[plan.index] = output
            for k in {*plan.sources, plan.index}:  # free what no later layer reads
                if k != IMAGE and self.plan.last_use[k] <= plan.index:
                    outputs.pop(k, None)
        return predictions

    def output_of(self, plan: LayerPlan, layer: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
        """Return the output of a layer for the outputs of its sources."""
        output: Tensor = layer(*inputs)
        return output

    def _check(self, images: Tensor) -> None:
        """Raise ValueError for images of another shape or type."""
        channels = self.cfg.net.channels
        if images.ndim != 4 or images.shape[1] != channels or not images.is_floating_point():
            raise ValueError(
                f"expected images [B, {channels}, h, w] in floating point from 0 to 1, got {list(images.shape)} of "
                f"{images.dtype}; divide uint8 images by 255 and give a single image a batch dimension"
            )
        size = Size(images.shape[2], images.shape[3])
        if torch.compiler.is_compiling():  # a set that changes would have every size compiled twice
            return
        if size not in self._fitting:
            make_plan(self.cfg, size)  # raises CfgError with the layer at which this size does not fit
            self._fitting.add(size)
