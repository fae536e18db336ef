"""The modules of the sections of a cfg: plain `nn.Module`s, called with the outputs that they read.

Letters: `B` images, `c` channels, `h, w` height and width of a feature map. A module is made from a `LayerPlan`, whose
shapes are known to fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo.darknet import sections
from yolo.darknet.activations import activation
from yolo.darknet.heads import Head
from yolo.darknet.keys import Shape
from yolo.darknet.plan import LayerPlan
from yolo.darknet.weight_gradient import by_products, convolve

Init = Literal["darknet", "torch", "uniform"]

BN_EPSILON = 1e-5  # inside the root; AlexeyAB's darknet, and its GPU code and the original's


class UndrawnConv2d(nn.Conv2d):
    """A convolution with undefined weights: a file or `initialise` sets them, and drawing them twice takes seconds."""

    def reset_parameters(self) -> None:
        """Do nothing; nn.Conv2d draws weights here."""

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self, x) if by_products(self, x) else super().forward(x)


class ConvBlock(nn.Module):
    """Convolution, batch norm (or the convolution's bias), activation: `[B, c, h, w]` to `[B, filters, h', w']`."""

    init: Init = "darknet"
    """How initial weights are drawn."""

    def __init__(self, section: sections.Convolutional, channels: int) -> None:
        super().__init__()
        self.conv = UndrawnConv2d(
            channels,
            section.filters,
            section.size,
            stride=section.moves,
            padding=section.pixels_padded * section.kernel_dilation,
            dilation=section.kernel_dilation,
            groups=section.groups,
            bias=not section.batch_normalize,
        )
        self.bn = nn.BatchNorm2d(section.filters, eps=BN_EPSILON) if section.batch_normalize else None
        self.activation = blurred(activation(section.activation), section, section.filters)

    def initialise(self) -> None:
        """Draw initial weights and make batch norm the identity.

        `darknet`: normal weights of variance 2 / fan-in (He), biases 0. `torch`: as nn.Conv2d, uniform weights and
        biases of variance 1/3 / fan-in. `uniform`: as AlexeyAB's darknet, uniform weights up to the root of
        2 / fan-in, biases 0, running variances 0.
        """
        if self.init == "torch":
            nn.Conv2d.reset_parameters(self.conv)
        else:
            most = math.sqrt(2 / self.conv.weight[0].numel())
            if self.init == "uniform":
                nn.init.uniform_(self.conv.weight, -most, most)
            else:
                nn.init.normal_(self.conv.weight, std=most)
            if self.conv.bias is not None:
                nn.init.zeros_(self.conv.bias)
        if self.bn is not None:
            self.bn.reset_parameters()
            if self.init == "uniform":
                nn.init.zeros_(self.bn.running_var)  # type: ignore[arg-type]  # a Tensor, since statistics are tracked

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        return self.activation(x)


class Blur(nn.Module):
    """The blur of `antialiasing`, which carries the stride: a fixed 3x3 kernel (1 2 1), or a mean of 2x2."""

    kernel: Tensor

    def __init__(self, section: sections.Strided, channels: int) -> None:
        super().__init__()
        box = section.antialiasing == 2
        self.strides, self.padding, self.channels = section.strides, 0 if box else 1, channels
        side = torch.tensor([0.5, 0.5] if box else [0.25, 0.5, 0.25])
        self.register_buffer("kernel", side[:, None] * side, persistent=False)

    def extra_repr(self) -> str:
        return f"{len(self.kernel)}, strides={self.strides}, padding={self.padding}"

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel.to(x.dtype).expand(self.channels, 1, -1, -1)
        return F.conv2d(x, kernel, None, self.strides, self.padding, groups=self.channels)


def blurred(module: nn.Module, section: sections.Strided, channels: int) -> nn.Module:
    """Return the module, followed by a blur if the section has `antialiasing`."""
    return nn.Sequential(module, Blur(section, channels)) if section.antialiasing else module


class MaxPool(nn.Module):
    """Maximum over windows of `size` that begin at j·stride - padding // 2; cells outside the input never win.

    By default the output has ceil(n / stride) cells. `padding` counts both sides together. The right side gets the
    larger half, and as much more as the last window needs.
    """

    def __init__(self, section: sections.Maxpool) -> None:
        super().__init__()
        self.size, self.strides, self.padding = section.window, section.moves, section.pixels_padded

    def extra_repr(self) -> str:
        return f"{self.size}, strides={self.strides}, padding={self.padding}"

    def forward(self, x: Tensor) -> Tensor:
        half = self.padding // 2
        if self.padding % 2 == 0 and half <= self.size // 2:  # then PyTorch's own padding is the same
            return F.max_pool2d(x, self.size, self.strides, half)
        right, bottom = (self._pad_after(n, s) for n, s in zip(x.shape[:1:-1], self.strides[::-1], strict=True))
        if half or right > 0 or bottom > 0:  # minus infinity never wins
            x = F.pad(x, (half, right, half, bottom), value=-torch.inf)
        return F.max_pool2d(x, self.size, self.strides)

    def _pad_after(self, n: int, stride: int) -> int:
        """Return the cells by which the last window exceeds the input; negative (cut off) if it ends before."""
        last = (n + self.padding - self.size) // stride
        return last * stride + self.size - self.padding // 2 - n


class AvgPool(nn.Module):
    """The mean over height and width, `[B, c, h, w]` to `[B, c, 1, 1]`."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


class Nearest(nn.Module):
    """Upsampling by repetition, `[B, c, h, w]` to `[B, c, h·stride, w·stride]`, times `scale`."""

    def __init__(self, section: sections.Upsample) -> None:
        super().__init__()
        self.stride, self.scale = section.stride, section.scale

    def extra_repr(self) -> str:
        return f"stride={self.stride}, scale={self.scale}"

    def forward(self, x: Tensor) -> Tensor:
        if self.stride & (self.stride - 1) == 0:
            x = F.interpolate(x, scale_factor=self.stride, mode="nearest")
        else:  # interpolate divides in floating point: at 41, 47, ... some pixels would be copies of a neighbour
            x = x.repeat_interleave(self.stride, 2).repeat_interleave(self.stride, 3)
        return x if self.scale == 1 else x * self.scale


class Concatenate(nn.Module):
    """`[route]`: slice `group` of c / groups channels of every source `[B, c, h, w]`, concatenated along channels."""

    def __init__(self, section: sections.Route) -> None:
        super().__init__()
        self.groups, self.group = section.groups, section.group_id

    def extra_repr(self) -> str:
        return f"groups={self.groups}, group={self.group}"

    def forward(self, *sources: Tensor) -> Tensor:
        if self.groups > 1:
            sources = tuple(x.chunk(self.groups, dim=1)[self.group] for x in sources)
        return sources[0] if len(sources) == 1 else torch.cat(sources, dim=1)


class Add(nn.Module):
    """`[shortcut]`: the first input plus the others, on the channels that both have; then the activation.

    Channels of the first input that a source lacks are only weighted. Surplus channels of a source are ignored.
    `weights` `[inputs, 1 or channels]` are the raw ones of the file; `factors` are those that count.
    """

    init: Init = "darknet"
    """Without effect: initial weights are 1."""

    def __init__(self, section: sections.Shortcut, inputs: Sequence[Shape]) -> None:
        super().__init__()
        self.activation, self.normalization = activation(section.activation), section.weights_normalization
        floats = section.floats(inputs)
        self.weights = nn.Parameter(torch.ones(len(inputs), floats // len(inputs))) if floats else None

    def initialise(self) -> None:
        """Give all inputs the weight 1."""
        if self.weights is not None:
            nn.init.ones_(self.weights)

    def factors(self) -> Tensor:
        """Return the weights, normalised as darknet does it before detection: 1e-4 is added to their sum."""
        assert self.weights is not None
        if self.normalization == "none":
            return self.weights
        positive = (
            (self.weights - self.weights.amax(0)).exp()
            if self.normalization == "softmax"
            else self.weights.clamp(min=1e-3)
        )
        return positive / (positive.sum(0) + 1e-4)

    def forward(self, x: Tensor, *sources: Tensor) -> Tensor:
        if self.weights is not None:
            first, *others = self.factors().to(x.dtype)[..., None, None].unbind()
            x = x * first
        for k, source in enumerate(sources):
            common = min(x.shape[1], source.shape[1])
            part = source[:, :common]
            total = x[:, :common] + (part if self.weights is None else part * others[k][:common])
            x = total if common == x.shape[1] else torch.cat((total, x[:, common:]), dim=1)
        return self.activation(x)


class Multiply(nn.Module):
    """`[scale_channels]` and `[sam]`: the first input times the second, broadcast; then the activation."""

    def __init__(self, section: sections.ScaleChannels | sections.Sam) -> None:
        super().__init__()
        self.activation = activation(section.activation)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        return self.activation(x * source)


class Rearrange(nn.Module):
    """Moves values of the image plane into channels, `[B, c, h, w]` to `[B, c·s², h/s, w/s]`."""

    def __init__(self, section: sections.Rearranging) -> None:
        super().__init__()
        self.stride = section.stride

    def extra_repr(self) -> str:
        return f"stride={self.stride}"


class Passthrough(Rearrange):
    """`[reorg]`: `[B, c, h, w]` to `[B, c·s², h/s, w/s]` in darknet's order.

    Darknet reads the buffer as if it held c/s² channels of (h·s) x (w·s), and takes every s-th value of those.
    This is not a space-to-depth of the real image (`pixel_unshuffle`), and trained weights depend on it.
    """

    def forward(self, x: Tensor) -> Tensor:
        (batch, c, h, w), s = x.shape, self.stride
        x = x.reshape(batch, c // s**2, h, s, w, s)  # [B, c/s², h, sy, w, sx]
        x = x.permute(0, 3, 5, 1, 2, 4)  # [B, sy, sx, c/s², h, w]
        return x.reshape(batch, c * s**2, h // s, w // s)


class SpaceToDepth(Rearrange):
    """`[reorg3d]`: `[B, c, h, w]` to `[B, c·s², h/s, w/s]`, channel (dy·s + dx)·c + k.

    `pixel_unshuffle` has the same values in another order of channels.
    """

    def forward(self, x: Tensor) -> Tensor:
        (batch, c, h, w), s = x.shape, self.stride
        x = x.reshape(batch, c, h // s, s, w // s, s)  # [B, c, h/s, dy, w/s, dx]
        return x.permute(0, 3, 5, 1, 2, 4).reshape(batch, c * s**2, h // s, w // s)


BUILDERS: dict[type[sections.Layer], Callable[[Any, LayerPlan], nn.Module]] = {
    sections.Convolutional: lambda section, plan: ConvBlock(section, plan.inputs[0].c),
    sections.Maxpool: lambda section, plan: blurred(MaxPool(section), section, plan.output.c),
    sections.Avgpool: lambda section, plan: AvgPool(),
    sections.Upsample: lambda section, plan: Nearest(section),
    sections.Route: lambda section, plan: Concatenate(section),
    sections.Shortcut: lambda section, plan: Add(section, plan.inputs),
    sections.ScaleChannels: lambda section, plan: Multiply(section),
    sections.Sam: lambda section, plan: Multiply(section),
    sections.Reorg: lambda section, plan: Passthrough(section),
    sections.Reorg3d: lambda section, plan: SpaceToDepth(section),
    sections.Dropout: lambda section, plan: nn.Dropout(section.probability),
    sections.Yolo: lambda section, plan: Head(section, plan.stride),
    sections.Region: lambda section, plan: Head(section, plan.stride),
}
"""The module of every kind of section, made from the section and its plan."""


def build_layer(plan: LayerPlan) -> nn.Module:
    """Return the module of a planned layer. Its `forward` takes the outputs of `plan.sources`, in that order."""
    return BUILDERS[type(plan.section)](plan.section, plan)
