"""What a cfg becomes at a given input size: sources, shapes, stored floats and operations of every layer.

Everything is computed in integers before anything is allocated, so that a cfg that cannot be built, or is
absurdly large, is refused by file, line and layer. No torch.

Shapes are `(c, h, w)`: channels, height, width of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import singledispatch

import numpy as np

from yolo.darknet.cfg import Cfg
from yolo.darknet.sections import (
    Avgpool,
    Convolutional,
    Dropout,
    Layer,
    Maxpool,
    Region,
    Reorg,
    Reorg3d,
    Route,
    Sam,
    ScaleChannels,
    Shortcut,
    Upsample,
    Yolo,
)
from yolo.size import Size


def anchors(plan: Plan) -> list[np.ndarray]:
    """The anchors of every head, `S` arrays `[A, 2]` of width and height in pixels of the network input."""
    found = []
    for layer in (plan.layers[k] for k in plan.cfg.heads):
        section, (y, x) = layer.section, layer.stride
        assert isinstance(section, (Yolo, Region))
        unit = (float(x), float(y)) if isinstance(section, Region) else (1.0, 1.0)
        found.append(np.array(section.pairs, dtype=np.float64) * unit)
    return found


Shape = tuple[int, int, int]

MAX_ELEMENTS = 2**31 - 1  # of one layer's output for one image, 8 GiB

IMAGE = -1  # the source "the image itself"


class PlanError(ValueError):
    """A layer that does not fit its inputs; `make_plan` adds the place. `key` is the cfg key to blame."""

    def __init__(self, problem: str, key: str = "") -> None:
        super().__init__(problem)
        self.key = key


@dataclass(frozen=True)
class LayerPlan:
    """Layer `index` of a network at one input size.

    `sources`: indices of the layers it reads, IMAGE for the image. `floats`: float32 values it has in a
    `.weights` file. `flops`: multiplications and additions of a convolution, 0 elsewhere. `stride`: input
    pixels per cell of the output, (y, x).
    """

    index: int
    section: Layer
    sources: tuple[int, ...]
    inputs: tuple[Shape, ...]
    output: Shape
    floats: int
    flops: int
    stride: tuple[Fraction, Fraction]


@dataclass(frozen=True)
class Plan:
    """All layers of a network at input `size` (height, width); `last_use[k]` is the last layer that reads k."""

    cfg: Cfg
    size: Size
    layers: tuple[LayerPlan, ...]
    last_use: tuple[int, ...]

    @property
    def floats(self) -> int:
        """float32 values of the network, which is what its `.weights` file holds behind the header."""
        return sum(layer.floats for layer in self.layers)

    @property
    def flops(self) -> int:
        """Multiplications and additions of the convolutions for one image."""
        return sum(layer.flops for layer in self.layers)


def make_plan(cfg: Cfg, size: tuple[int, int] | None = None) -> Plan:
    """The plan of `cfg` at input `size` (height, width), by default the cfg's own.

    Raises CfgError where a layer does not fit its inputs: a source that does not exist, sizes that do not
    agree, filters before a head that do not match it, an output of more than 2^31 - 1 elements.
    """
    if not cfg.layers:
        raise cfg.error(-1, "no layer follows it; was the file cut short?")
    h, w = size or (cfg.net.height, cfg.net.width)
    image: Shape = (cfg.net.channels, h, w)
    _check_size(cfg, -1, image)
    layers: list[LayerPlan] = []
    last_use = list(range(len(cfg.layers)))
    for index, section in enumerate(cfg.layers):
        sources = _sources(cfg, index, section)
        inputs = tuple(image if k == IMAGE else layers[k].output for k in sources)
        try:
            output = output_shape(section, inputs)
        except PlanError as problem:
            raise cfg.error(index, str(problem), problem.key) from None
        _check_size(cfg, index, output)
        for k in sources:
            if k != IMAGE:
                last_use[k] = index
        shaped_by = sources[-1] if isinstance(section, ScaleChannels) else sources[0]
        stride = _stride(section, (Fraction(1), Fraction(1)) if shaped_by == IMAGE else layers[shaped_by].stride)
        _check_stride(cfg, index, stride)
        layers.append(LayerPlan(index, section, sources, inputs, output, *_work(section, inputs, output), stride))
    _check_heads(cfg)
    return Plan(cfg, Size(h, w), tuple(layers), tuple(last_use))


def _check_size(cfg: Cfg, index: int, shape: Shape) -> None:
    c, h, w = shape
    if min(shape) < 1:
        raise cfg.error(index, f"nothing is left: the output would be {c}x{h}x{w}; use a larger input")
    if c * h * w > MAX_ELEMENTS:
        raise cfg.error(index, f"the output would be {c}x{h}x{w}, more than {MAX_ELEMENTS} elements per image")


def _check_stride(cfg: Cfg, index: int, stride: tuple[Fraction, Fraction]) -> None:
    """Strides stay numbers of 32 bits, however many layers multiply theirs."""
    if max(max(n.numerator, n.denominator) for n in stride) > MAX_ELEMENTS:
        y, x = stride
        raise cfg.error(
            index, f"a cell of its output would be {float(y):g} x {float(x):g} pixels of the input", "stride"
        )


def _check_heads(cfg: Cfg) -> None:
    """All heads speak of the same classes."""
    heads = [(k, layer) for k, layer in enumerate(cfg.layers) if isinstance(layer, (Yolo, Region))]
    for k, layer in heads[1:]:
        if layer.classes != heads[0][1].classes:
            first = f"the head at layer {heads[0][0]} has {heads[0][1].classes}"
            raise cfg.error(k, f"classes={layer.classes}, but {first}; all heads need the same", "classes")


def _sources(cfg: Cfg, index: int, section: Layer) -> tuple[int, ...]:
    """Absolute indices of the layers that layer `index` reads."""
    before = index - 1
    named: tuple[int, ...] = ()
    key = ""
    if isinstance(section, Route):
        named, key = section.layers, "layers"
    elif isinstance(section, Shortcut):
        named, key = section.from_, "from"
    elif isinstance(section, (ScaleChannels, Sam)):
        named, key = (section.from_,), "from"
    sources = [] if isinstance(section, Route) else [before]
    for given in named:
        k = index + given if given < 0 else given
        if not 0 <= k < index:
            expected = f"expected a layer from 0 to {before}" if index else "there is no layer before this one"
            raise cfg.error(index, f"{key}={given} means layer {k}; {expected}", key)
        # Dropout works in place: a reader of the layer before it finds what dropout left.
        while k + 1 < index and isinstance(cfg.layers[k + 1], Dropout):
            k += 1
        sources.append(k)
    for position, k in enumerate(sources):
        if k >= 0 and isinstance(cfg.layers[k], (Yolo, Region)):
            implied = position == 0 and not isinstance(section, Route)
            remedy = "start a new branch with [route] before it" if implied else "name another layer"
            raise cfg.error(index, f"reads layer {k}, a [{cfg.layers[k].name}] head; {remedy}", "" if implied else key)
    return tuple(sources)


@singledispatch
def output_shape(section: Layer, inputs: Sequence[Shape]) -> Shape:
    """Shape of a section's output from the shapes of its inputs. Raises PlanError where they do not fit."""
    raise AssertionError(f"no shape rule for [{section.name}]")


@output_shape.register
def _(section: Convolutional, inputs: Sequence[Shape]) -> Shape:
    """floor((in + 2 padding - size) / stride) + 1; darknet's formula does not know the dilation."""
    c, h, w = inputs[0]
    for key, channels in (("groups", c), ("filters", section.filters)):
        if channels % section.groups:
            what = "input channels" if key == "groups" else "filters"
            raise PlanError(f"groups={section.groups} does not divide the {channels} {what}", key)
    pad, dilation = section.pixels_padded, section.kernel_dilation
    if dilation > 1 and 2 * pad != section.size - 1:
        raise PlanError(
            f"dilation={dilation} with size={section.size} needs a padding of (size - 1) / 2 with an odd size, "
            f"got {pad}: darknet's output size is wrong otherwise",
            "dilation",
        )
    y, x = ((n + 2 * pad - section.size) // stride + 1 for n, stride in zip((h, w), section.strides, strict=True))
    return section.filters, y, x


@output_shape.register
def _(section: Maxpool, inputs: Sequence[Shape]) -> Shape:
    """floor((in + padding - size) / stride) + 1, which is ceil(in / stride) with the default padding."""
    c, h, w = inputs[0]
    size, pad = section.window, section.pixels_padded
    if c * (h + pad) * (w + pad) > MAX_ELEMENTS:
        raise PlanError(f"pads its input to {c}x{h + pad}x{w + pad}, more than {MAX_ELEMENTS} elements", "size")
    y, x = ((n + pad - size) // stride + 1 for n, stride in zip((h, w), section.strides, strict=True))
    for n, out, stride in ((h, y, section.strides[0]), (w, x, section.strides[1])):
        if pad // 2 >= size or (out - 1) * stride - pad // 2 >= n:
            raise PlanError(f"padding={pad} leaves windows of size {size} without a cell of the input", "padding")
    return c, y, x


@output_shape.register
def _(section: Avgpool, inputs: Sequence[Shape]) -> Shape:
    return inputs[0][0], 1, 1


@output_shape.register
def _(section: Upsample, inputs: Sequence[Shape]) -> Shape:
    c, h, w = inputs[0]
    return c, h * section.stride, w * section.stride


@output_shape.register
def _(section: Route, inputs: Sequence[Shape]) -> Shape:
    """Concatenated slices of c / groups channels; all sources have one height and width."""
    _same_size(inputs, "layers")
    for c, _, _ in inputs:
        if c % section.groups:
            raise PlanError(f"groups={section.groups} does not divide the {c} channels of a source", "groups")
    return sum(c for c, _, _ in inputs) // section.groups, *inputs[0][1:]


@output_shape.register
def _(section: Shortcut, inputs: Sequence[Shape]) -> Shape:
    """The shape of the input; sources may have other channel counts, not other sizes."""
    _same_size(inputs, "from")
    return inputs[0]


@output_shape.register
def _(section: ScaleChannels, inputs: Sequence[Shape]) -> Shape:
    (c, h, w), source = inputs
    if section.scale_wh and (c, h, w) != (1, *source[1:]):
        raise PlanError(f"scale_wh=1 needs one channel of {source[1]}x{source[2]}, got {c}x{h}x{w}", "scale_wh")
    if not section.scale_wh and (c, h, w) != (source[0], 1, 1):
        raise PlanError(f"expected an input of {source[0]}x1x1 (one factor per channel), got {c}x{h}x{w}", "from")
    return source


@output_shape.register
def _(section: Sam, inputs: Sequence[Shape]) -> Shape:
    if inputs[0] != inputs[1]:
        raise PlanError(f"multiplies {_text(inputs[0])} by {_text(inputs[1])}; expected equal shapes", "from")
    return inputs[0]


@output_shape.register(Reorg)
@output_shape.register(Reorg3d)
def _(section: Reorg | Reorg3d, inputs: Sequence[Shape]) -> Shape:
    c, h, w = inputs[0]
    s = section.stride
    if h % s or w % s or (isinstance(section, Reorg) and c % s**2):
        channels = f" and its channels by {s**2}" if isinstance(section, Reorg) else ""
        raise PlanError(
            f"stride={s} needs height and width divisible by it{channels}, got {_text(inputs[0])}", "stride"
        )
    return c * s**2, h // s, w // s


@output_shape.register
def _(section: Dropout, inputs: Sequence[Shape]) -> Shape:
    return inputs[0]


@output_shape.register(Yolo)
@output_shape.register(Region)
def _(section: Yolo | Region, inputs: Sequence[Shape]) -> Shape:
    """A head reads len(mask)·(5 + classes) channels."""
    anchors, values = len(section.pairs), 5 + section.classes
    if inputs[0][0] != anchors * values:
        raise PlanError(
            f"reads {inputs[0][0]} channels; expected {anchors * values} = {anchors} anchors x (5 + {section.classes} "
            f"classes): set filters={anchors * values} in the [convolutional] section before it, or its classes",
            "classes",
        )
    return inputs[0]


def _same_size(shapes: Sequence[Shape], key: str) -> None:
    if any(shape[1:] != shapes[0][1:] for shape in shapes):
        got = ", ".join(map(_text, shapes[:8]))
        raise PlanError(
            f"joins outputs of unequal height and width: {got}. Name other layers, or use an input size that the "
            f"strides divide (a multiple of 32 for YOLOv3)",
            key,
        )


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _work(section: Layer, inputs: Sequence[Shape], output: Shape) -> tuple[int, int]:
    """Stored floats and operations of a layer: n·(c/groups)·size² weights, and n (4n with batch norm) others."""
    if not isinstance(section, Convolutional):
        return 0, 0
    weights = section.filters * (inputs[0][0] // section.groups) * section.size**2
    floats = weights + section.filters * (4 if section.batch_normalize else 1)
    return floats, 2 * weights * output[1] * output[2]


def _stride(section: Layer, stride: tuple[Fraction, Fraction]) -> tuple[Fraction, Fraction]:
    """Input pixels per output cell. Taken from the layers, so it does not depend on the input size."""
    y, x = stride
    if isinstance(section, (Convolutional, Maxpool)):
        return y * section.strides[0], x * section.strides[1]
    if isinstance(section, (Reorg, Reorg3d)):
        return y * section.stride, x * section.stride
    if isinstance(section, Upsample):
        return y / section.stride, x / section.stride
    return stride
