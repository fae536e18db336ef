"""The plan of a network at a given input size: sources, shapes, stored floats and operations of every layer.

Everything is computed in integers before anything is allocated, so that a cfg that cannot be built, or is absurdly
large, is refused with file, line and layer. No torch.

Shapes are `(c, h, w)`: channels, height, width of one image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from yolo.darknet.cfg import Cfg, CfgError, with_head
from yolo.darknet.keys import MAX_ELEMENTS, Shape, ShapeError, SizeError
from yolo.darknet.sections import Dropout, HeadSection, Layer, Yolo
from yolo.size import Size

_Stride = tuple[Fraction, Fraction]

IMAGE = -1  # as a source: the image itself

FRACTIONS = 32  # pixels: up to this width of the input, darknet writes anchors with four digits after the point


@dataclass(frozen=True)
class LayerPlan:
    """Layer `index` of a network at one input size.

    `sources`: indices of the layers it reads, IMAGE for the image. `floats`: number of its float32 values in a
    `.weights` file. `flops`: multiplications and additions of a convolution for one image, else 0. `stride`: pixels
    of the network input per cell of the output, (y, x).
    """

    index: int
    section: Layer
    sources: tuple[int, ...]
    inputs: tuple[Shape, ...]
    output: Shape
    floats: int
    flops: int
    stride: _Stride


@dataclass(frozen=True)
class Plan:
    """All layers of a network at input `size` (height, width); `last_use[k]` is the last layer that reads k."""

    cfg: Cfg
    size: Size
    layers: tuple[LayerPlan, ...]
    last_use: tuple[int, ...]

    @property
    def floats(self) -> int:
        """Number of float32 values of the network: all that its `.weights` file holds after the header."""
        return sum(layer.floats for layer in self.layers)

    @property
    def flops(self) -> int:
        """Multiplications and additions of the convolutions for one image."""
        return sum(layer.flops for layer in self.layers)


def make_plan(cfg: Cfg, size: tuple[int, int] | None = None) -> Plan:
    """Return the plan of `cfg` at input `size` (height, width), by default the cfg's own.

    Raises CfgError where a layer does not fit its inputs: a source that does not exist, unequal sizes, filters before
    a head that do not match it, an output of more than 2^31 - 1 elements.
    """
    if not cfg.layers:
        raise cfg.error(-1, "no layer follows it; was the file cut short?")
    size = Size(*(size or (cfg.net.height, cfg.net.width)))
    image = Shape(cfg.net.channels, *size)
    _check_size(cfg, -1, image)
    layers: list[LayerPlan] = []
    strides: list[_Stride] = []
    last_use = list(range(len(cfg.layers)))
    for index, section in enumerate(cfg.layers):
        sources = _sources(cfg, index, section)
        inputs = tuple(image if k == IMAGE else layers[k].output for k in sources)
        # The section knows whether its inputs fit; the cfg knows the line.
        try:
            output = section.output(inputs)
        except ShapeError as problem:
            remedy = f"; {_other_size(cfg, size) or problem.remedy}" if isinstance(problem, SizeError) else ""
            raise cfg.error(index, f"{problem}{remedy}", problem.key) from None
        _check_size(cfg, index, output)
        for k in sources:
            if k != IMAGE:
                last_use[k] = index
        strides.append(stride := _stride(section, sources, strides))
        _check_stride(cfg, index, stride)
        floats, operations = section.floats(inputs), section.operations(inputs)
        layers.append(LayerPlan(index, section, sources, inputs, output, floats, operations, stride))
    _check_heads(cfg)
    return Plan(cfg, size, tuple(layers), tuple(last_use))


def _stride(section: Layer, sources: tuple[int, ...], before: Sequence[_Stride]) -> _Stride:
    """Return the stride of a layer from those `before` it. It follows from the layers alone, at any input size."""
    shaped_by = sources[section.SHAPED_BY]
    y, x = (Fraction(1), Fraction(1)) if shaped_by == IMAGE else before[shaped_by]
    return y * section.strides[0], x * section.strides[1]


def _other_size(cfg: Cfg, size: Size) -> str:
    """Return what to do about a size that does not fit: the multiple that does; empty if no multiple fits."""
    strides: list[_Stride] = []
    try:
        for index, section in enumerate(cfg.layers):
            strides.append(_stride(section, _sources(cfg, index, section), strides))
        y, x = (math.lcm(*(stride[axis].numerator for stride in strides)) for axis in (0, 1))
        larger = Size(-(-size.height // y) * y, -(-size.width // x) * x)
        if larger == size:
            return ""  # the strides divide it
        make_plan(cfg, larger)
    except CfgError:  # another fault, or sizes that no stride explains
        return ""
    multiple = f"a multiple of {y}" if y == x else f"multiples of {x} and {y}"
    return f"use an input size that the strides divide ({multiple}, such as {larger})"


def _check_size(cfg: Cfg, index: int, shape: Shape) -> None:
    """Require an output that is not empty, and not too large."""
    if min(shape) < 1:
        raise cfg.error(index, f"nothing is left: the output would be {shape}; use a larger input")
    if math.prod(shape) > MAX_ELEMENTS:
        raise cfg.error(index, f"the output would be {shape}, more than {MAX_ELEMENTS} elements per image")


def _check_stride(cfg: Cfg, index: int, stride: _Stride) -> None:
    """Require strides of 32 bits; those of many layers multiply."""
    if max(max(n.numerator, n.denominator) for n in stride) > MAX_ELEMENTS:
        y, x = map(float, stride)
        raise cfg.error(index, f"a cell of its output would be {y:g} x {x:g} pixels of the input", "stride")


def _check_heads(cfg: Cfg) -> None:
    """Require the same number of classes of all heads."""
    heads = [(k, layer) for k, layer in enumerate(cfg.layers) if isinstance(layer, HeadSection)]
    for k, layer in heads[1:]:
        if layer.classes != heads[0][1].classes:
            first = f"the head at layer {heads[0][0]} has {heads[0][1].classes}"
            raise cfg.error(k, f"classes={layer.classes}, but {first}; all heads need the same", "classes")


def _sources(cfg: Cfg, index: int, section: Layer) -> tuple[int, ...]:
    """Return the absolute indices of the layers that layer `index` reads."""
    key = section.SOURCE_KEY
    sources = [index - 1] if section.READS_PREVIOUS else []
    for given in section.named:
        k = index + given if given < 0 else given
        if not 0 <= k < index:
            expected = f"expected a layer from 0 to {index - 1}" if index else "there is no layer before this one"
            raise cfg.error(index, f"{key}={given} means layer {k}; {expected}", key)
        # Dropout works in place: a reader of the layer before it gets the output of dropout.
        while k + 1 < index and isinstance(cfg.layers[k + 1], Dropout):
            k += 1
        sources.append(k)
    # A head's output is the network's; no layer reads it.
    for position, k in enumerate(sources):
        if k != IMAGE and isinstance(cfg.layers[k], HeadSection):
            implied = position == 0 and section.READS_PREVIOUS
            remedy = "start a new branch with [route] before it" if implied else "name another layer"
            raise cfg.error(index, f"reads layer {k}, a [{cfg.layers[k].name}] head; {remedy}", "" if implied else key)
    return tuple(sources)


def anchors(plan: Plan, heads: Sequence[int] | None = None) -> list[np.ndarray]:
    """Return the anchors of every head: `S` arrays `[A, 2]` of width and height in pixels of the network input.

    `heads`: the layers of the heads, by default all in the order of the cfg.
    """
    found = []
    for layer in (plan.layers[k] for k in (plan.cfg.heads if heads is None else heads)):
        section, (y, x) = layer.section, layer.stride
        assert isinstance(section, HeadSection)
        unit = (float(x), float(y)) if section.IN_CELLS else (1.0, 1.0)
        found.append(np.array(section.pairs, dtype=np.float64) * unit)
    return found


def with_anchors(plan: Plan, shapes: np.ndarray) -> Cfg:
    """Return the cfg with other anchors, divided over the heads: the smallest ones to the head of the smallest stride.

    A head keeps its number of anchors if their sum stays the same. Otherwise all heads get equally many, those of the
    largest strides one more where that does not work out. Then `num` changes, and `filters` of the convolution before
    each head. Every `[yolo]` section lists all anchors, in whole pixels as in darknet's cfgs, and `mask` says which are
    its own; a `[region]` section lists its own in cells. The net has the size of the plan.

    Args:
        plan: the cfg and its input size.
        shapes: width and height of the anchors in pixels of the network input, `[anchors, 2]`, in any order.

    Raises:
        ValueError: a cfg without heads, or fewer anchors than heads.
        CfgError: a head whose layer before is not a convolution, with file and line.
    """
    cfg, count = plan.cfg, len(shapes)
    heads = sorted(cfg.heads, key=lambda k: math.prod(plan.layers[k].stride))
    if not 0 < len(heads) <= count:
        raise ValueError(f"{cfg.file}: {count} anchors for {len(heads)} heads; each head needs at least one")
    shares = [len(head) for head in anchors(plan, heads)]
    if sum(shares) != count:
        shares = [(count + rank) // len(heads) for rank in range(len(heads))]
    shapes = shapes[shapes.prod(axis=1).argsort(kind="stable")]
    # Below 33 pixels darknet writes fractions.
    pixels = np.maximum(shapes.round(), 1).astype(int) if plan.size.width > FRACTIONS else shapes.round(4)
    first = 0
    for k, share in zip(heads, shares, strict=True):
        own, section, (y, x) = slice(first, first + share), cfg.layers[k], plan.layers[k].stride
        first += share
        if isinstance(section, Yolo):
            listed = tuple(pixels.ravel().tolist())
            section = replace(section, anchors=listed, num=count, mask=tuple(range(count))[own])
        else:
            assert isinstance(section, HeadSection)
            cells = (shapes[own] / (float(x), float(y))).round(4)
            section = replace(section, anchors=tuple(cells.ravel().tolist()), num=share)
        cfg = with_head(cfg, k, section)
    return replace(cfg, net=replace(cfg.net, height=plan.size.height, width=plan.size.width))
