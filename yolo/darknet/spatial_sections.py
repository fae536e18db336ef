"""The sections that change height and width: convolutions, pooling, upsampling, space to depth. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from yolo.darknet.keys import (
    ACTIVATIONS,
    MAX_ELEMENTS,
    Layer,
    Shape,
    ShapeError,
    SizeError,
    integer,
    real,
    training,
    word,
)

_BITS = "bit networks (xnor) are out of scope"


@dataclass(frozen=True, kw_only=True)
class Strided(Layer):
    """The keys of a section whose window moves by a stride, which may differ in y and x."""

    stride: int = integer(1, 1)
    stride_x: int = integer(0)  # below 1: as `stride`
    stride_y: int = integer(0)
    antialiasing: int = integer(0)  # the window moves by 1, and a blur by the stride: 3x3, or 2x2 for the value 2

    @property
    def strides(self) -> tuple[int, int]:
        """Stride in y and x."""
        y, x = self.stride_y, self.stride_x
        return (y if y > 0 else self.stride, x if x > 0 else self.stride)

    @property
    def moves(self) -> tuple[int, int]:
        """Stride of the window in y and x."""
        return (1, 1) if self.antialiasing else self.strides

    def windows(self, shape: Shape, size: int, padding: int) -> tuple[int, int]:
        """Return the rows and columns of windows: floor((in + padding - size) / stride) + 1, padding of both sides."""
        y, x = self.moves
        return (shape.h + padding - size) // y + 1, (shape.w + padding - size) // x + 1

    def blurred(self, windows: tuple[int, int]) -> tuple[int, int]:
        """Return the rows and columns after the blur, if there is one; 3x3 pads by 1, 2x2 does not."""
        if not self.antialiasing:
            return windows
        lost = 2 if self.antialiasing == 2 else 1
        y, x = ((n - lost) // stride + 1 for n, stride in zip(windows, self.strides, strict=True))
        return y, x


@dataclass(frozen=True, kw_only=True)
class Convolutional(Strided):
    """`[convolutional]`. `pad` is a flag (padding = size // 2) and overrides the number `padding`."""

    NAMES = ("convolutional", "conv")
    batch_normalize: int = integer(0)
    filters: int = integer(1, 1)
    size: int = integer(1, 1)
    pad: int = integer(0)
    padding: int = integer(0, 0)
    dilation: int = integer(1, 1)
    groups: int = integer(1, 1)
    activation: str = word("logistic", ACTIVATIONS)
    binary: int = integer(0, refuse=_BITS)
    xnor: int = integer(0, refuse=_BITS)
    bin_output: int = integer(0, refuse=_BITS)
    flipped: int = integer(0, refuse="transposed weights")
    dot: int = integer(0, refuse="the effect of this key is unknown")
    share_index: int = integer(-1000000000, refuse="weights that layers share")
    cbn: int = integer(0, refuse="cross-iteration batch norm")
    assisted_excitation: float = training(real(0.0))
    sway: int = integer(0, refuse="rotated kernels")
    rotate: int = integer(0, refuse="rotated kernels")
    stretch: int = integer(0, refuse="stretched kernels")
    stretch_sway: int = integer(0, refuse="stretched kernels")
    angle: float = training(real(15.0))
    coordconv: int = integer(0, refuse="coordinates as channels")
    grad_centr: int = training(integer(0))
    reverse: float = training(real(0.0))
    stream: int = training(integer(-1))
    wait_stream: int = training(integer(-1))

    @property
    def pixels_padded(self) -> int:
        """Zero pixels added on every side, before dilation."""
        return self.size // 2 if self.pad else self.padding

    @property
    def kernel_dilation(self) -> int:
        """Dilation in effect: a 1x1 kernel has none."""
        return 1 if self.size == 1 else self.dilation

    def output(self, inputs: Sequence[Shape]) -> Shape:
        """Return `(filters, h', w')`. Darknet's formula for the size ignores the dilation."""
        # Every group takes the same number of channels and filters.
        for key, channels, what in (("groups", inputs[0].c, "input channels"), ("filters", self.filters, "filters")):
            if channels % self.groups:
                raise ShapeError(f"groups={self.groups} does not divide the {channels} {what}", key)
        # With any other padding the formula would not give the size of a dilated convolution.
        pad = self.pixels_padded
        if self.kernel_dilation > 1 and 2 * pad != self.size - 1:
            raise ShapeError(
                f"dilation={self.dilation} with size={self.size} needs an odd size and a padding of (size - 1) / 2, "
                f"got {pad}: otherwise darknet's output size is wrong",
                "dilation",
            )
        return Shape(self.filters, *self.blurred(self.windows(inputs[0], self.size, 2 * pad)))

    def floats(self, inputs: Sequence[Shape]) -> int:
        """Return n·(c/groups)·size² weights plus n biases, or 4n values of batch norm; n filters, c channels."""
        return self.filters * (self._fan_in(inputs) + (4 if self.batch_normalize else 1))

    def operations(self, inputs: Sequence[Shape]) -> int:
        """Return two operations for every weight and place of the window."""
        h, w = self.windows(inputs[0], self.size, 2 * self.pixels_padded)
        return 2 * self.filters * self._fan_in(inputs) * h * w

    def _fan_in(self, inputs: Sequence[Shape]) -> int:
        """Return the weights of one filter."""
        return inputs[0].c // self.groups * self.size**2


@dataclass(frozen=True, kw_only=True)
class Maxpool(Strided):
    """`[maxpool]`. `padding` is the total over both sides, by default size - 1; `size` defaults to the stride."""

    NAMES = ("maxpool", "max")
    size: int = integer(0, 0)  # 0: as `stride`
    padding: int = integer(-1, 0)  # -1: size - 1
    maxpool_depth: int = integer(0, refuse="pooling over channels")
    out_channels: int = integer(1)
    maxpool_zero_nonmax: int = integer(0, refuse="zeros in place of what is not a maximum")

    @property
    def window(self) -> int:
        """Side of the window in effect."""
        return self.size or self.stride

    @property
    def pixels_padded(self) -> int:
        """Cells of minus infinity added over both sides together; the left side gets the smaller half."""
        return self.padding if self.padding >= 0 else self.window - 1

    def output(self, inputs: Sequence[Shape]) -> Shape:
        """Return `(c, h', w')`; with the default padding h' is ceil(h / stride)."""
        c, h, w = inputs[0]
        size, pad = self.window, self.pixels_padded
        padded = Shape(c, h + pad, w + pad)
        if math.prod(padded) > MAX_ELEMENTS:
            raise ShapeError(f"pads its input to {padded}, more than {MAX_ELEMENTS} elements", "size")
        y, x = self.windows(inputs[0], size, pad)
        # The first window begins at -(pad // 2). The first and the last one must reach the input.
        for n, count, stride in zip((h, w), (y, x), self.moves, strict=True):
            if pad // 2 >= size or (count - 1) * stride - pad // 2 >= n:
                raise ShapeError(f"padding={pad} leaves windows of size {size} without a cell of the input", "padding")
        return Shape(c, *self.blurred((y, x)))


@dataclass(frozen=True, kw_only=True)
class Avgpool(Layer):
    """`[avgpool]`: the mean over height and width."""

    NAMES = ("avgpool", "avg")

    def output(self, inputs: Sequence[Shape]) -> Shape:
        """Return `(c, 1, 1)`."""
        return Shape(inputs[0].c, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Upsample(Layer):
    """`[upsample]`: nearest neighbour times `scale`."""

    NAMES = ("upsample",)
    stride: int = integer(2, 1)
    scale: float = real(1.0)

    @property
    def strides(self) -> tuple[Fraction, Fraction]:
        """A part of a cell in y and x."""
        return Fraction(1, self.stride), Fraction(1, self.stride)

    def output(self, inputs: Sequence[Shape]) -> Shape:
        """Return `(c, h·stride, w·stride)`."""
        c, h, w = inputs[0]
        return Shape(c, h * self.stride, w * self.stride)


@dataclass(frozen=True, kw_only=True)
class Rearranging(Layer):
    """The keys of sections that move values of the image plane into channels; `stride` is s."""

    stride: int = integer(1, 1)
    reverse: int = integer(0, refuse="only the forward direction is computed")

    @property
    def strides(self) -> tuple[int, int]:
        """Stride in y and x."""
        return self.stride, self.stride

    def output(self, inputs: Sequence[Shape]) -> Shape:
        """Return `(c·s², h/s, w/s)`."""
        (c, h, w), s = inputs[0], self.stride
        if h % s or w % s:
            raise SizeError(f"stride={s} does not divide the height and width of its input {inputs[0]}", "stride")
        return Shape(c * s**2, h // s, w // s)


@dataclass(frozen=True, kw_only=True)
class Reorg(Rearranging):
    """`[reorg]`: YOLOv2's passthrough, which is not a space-to-depth."""

    NAMES = ("reorg",)
    flatten: int = integer(0, refuse="only the ordinary order is computed")
    extra: int = integer(0, refuse="only the ordinary order is computed")

    def output(self, inputs: Sequence[Shape]) -> Shape:
        """Return `(c·s², h/s, w/s)`; s² divides c."""
        if inputs[0].c % self.stride**2:
            needs = f"stride={self.stride} needs a multiple of {self.stride**2} channels"
            raise ShapeError(f"{needs}, got the input {inputs[0]}", "stride")
        return super().output(inputs)


@dataclass(frozen=True, kw_only=True)
class Reorg3d(Rearranging):
    """`[reorg3d]`: space to depth."""

    NAMES = ("reorg3d",)
