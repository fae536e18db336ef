"""The sections that join the outputs of several layers, and `[dropout]`. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yolo.darknet.keys import (
    ACTIVATIONS,
    Layer,
    SectionError,
    Shape,
    ShapeError,
    SizeError,
    integer,
    integers,
    real,
    training,
    word,
)

NOWHERE = -(2**31 - 1)  # the source of a section whose `from` is absent: no cfg has that many layers


@dataclass(frozen=True, kw_only=True)
class Route(Layer):
    """`[route]`: outputs of other layers, concatenated; `groups` takes slice `group_id` of every source."""

    NAMES = ("route",)
    SOURCE_KEY = "layers"
    READS_PREVIOUS = False
    layers: tuple[int, ...] = integers()
    groups: int = integer(1, 1)
    group_id: int = integer(0, 0)
    stream: int = training(integer(-1))
    wait_stream: int = training(integer(-1))

    @property
    def named(self) -> tuple[int, ...]:
        """The layers to concatenate."""
        return self.layers

    def check(self) -> None:
        """Require sources, and a slice that exists."""
        if not self.layers:
            raise SectionError("layers", "", "expected the layers to route, such as layers=-1,61")
        if self.group_id >= self.groups:
            raise SectionError("group_id", self.group_id, f"expected 0 to {self.groups - 1}, as groups={self.groups}")

    def output(self, inputs: Sequence[Shape]) -> Shape:
        """Return the channels of all slices together; all sources have the same height and width."""
        _same_size(inputs, "layers")
        for shape in inputs:
            if shape.c % self.groups:
                raise ShapeError(f"groups={self.groups} does not divide the {shape.c} channels of a source", "groups")
        return inputs[0]._replace(c=sum(shape.c for shape in inputs) // self.groups)


@dataclass(frozen=True, kw_only=True)
class Shortcut(Layer):
    """`[shortcut]`: the input plus the outputs of `from_`, on the channels that both have.

    With `weights_type` each of them has a trained weight: one (per_feature, also called per_layer), or one for every
    channel of the input (per_channel).
    """

    NAMES = ("shortcut",)
    SOURCE_KEY = "from"
    from_: tuple[int, ...] = integers()
    activation: str = word("linear", ACTIVATIONS)
    weights_type: str = word("none", ["none", "per_feature", "per_layer", "per_channel"])
    weights_normalization: str = word("none", ["none", "relu", "avg_relu", "softmax"])
    alpha: float = real(1.0, refuse="versions of darknet disagree on it, one ignores it")
    beta: float = real(1.0, refuse="versions of darknet disagree on it, one ignores it")

    @property
    def named(self) -> tuple[int, ...]:
        """The layers to add."""
        return self.from_

    def check(self) -> None:
        """Require sources."""
        if not self.from_:
            raise SectionError("from", "", "expected the layer to add, such as from=-3")

    def output(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape of the first input. Other sources may differ in channels, not in height or width."""
        _same_size(inputs, "from")
        return inputs[0]

    def floats(self, inputs: Sequence[Shape]) -> int:
        """Return the number of weights: one, or one for every channel of the first input, for each input."""
        return len(inputs) * {"none": 0, "per_channel": inputs[0].c}.get(self.weights_type, 1)


@dataclass(frozen=True, kw_only=True)
class Product(Layer):
    """The keys of sections that multiply two layers."""

    SOURCE_KEY = "from"
    from_: int = integer(NOWHERE)
    activation: str = word("linear", ACTIVATIONS)

    @property
    def named(self) -> tuple[int, ...]:
        """The second factor."""
        return (self.from_,)

    def check(self) -> None:
        """Require the source."""
        if self.from_ == NOWHERE:
            raise SectionError("from", "", "expected the layer to multiply with, such as from=-4")


@dataclass(frozen=True, kw_only=True)
class ScaleChannels(Product):
    """`[scale_channels]`: the output of `from_` times the input, which is 1x1 (or one channel: `scale_wh`)."""

    NAMES = ("scale_channels",)
    SHAPED_BY = 1
    scale_wh: int = integer(0)

    def output(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape of `from_`."""
        factors, source = inputs
        if self.scale_wh and factors != (1, source.h, source.w):
            raise ShapeError(f"scale_wh=1 needs one channel of {source.h}x{source.w}, got {factors}", "scale_wh")
        if not self.scale_wh and factors != (source.c, 1, 1):
            raise ShapeError(f"expected an input of {source.c}x1x1 (one factor per channel), got {factors}", "from")
        return source


@dataclass(frozen=True, kw_only=True)
class Sam(Product):
    """`[sam]`: the input times the output of `from_`, element by element."""

    NAMES = ("sam",)

    def output(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape of both inputs."""
        if inputs[0] != inputs[1]:
            raise ShapeError(f"multiplies {inputs[0]} by {inputs[1]}; expected equal shapes", "from")
        return inputs[0]


@dataclass(frozen=True, kw_only=True)
class Dropout(Layer):
    """`[dropout]`: does nothing at inference. It works in place: layers that name the one before it get its output."""

    NAMES = ("dropout",)
    probability: float = training(real(0.2, 0.0, 1.0))
    dropblock: int = training(integer(0))
    dropblock_size_rel: float = training(real(0.0))
    dropblock_size_abs: int = training(integer(0))

    def remarks(self) -> list[tuple[str, str]]:
        """Remark on dropblock."""
        return [("dropblock", "training drops single values here, not blocks")] if self.dropblock else []


def _same_size(shapes: Sequence[Shape], key: str) -> None:
    """Require one height and width."""
    if any(shape[1:] != shapes[0][1:] for shape in shapes):
        got = ", ".join(map(str, shapes[:8]))
        raise SizeError(f"joins outputs of unequal height and width: {got}", key, "name other layers")
