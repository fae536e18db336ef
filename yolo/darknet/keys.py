"""What the sections of a cfg are made of: typed keys with bounds, defaults and refused values; the base classes.

A section is a frozen dataclass. Field names are darknet's keys, defaults are those of AlexeyAB's darknet. A key that
would change the result in a way that this program does not compute is not ignored: its field has a `refuse` sentence,
and any value except the default is an error. Keys that only affect darknet's own training are read and kept; a value
of theirs that cannot be read is a remark, and counts as absent. No torch.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

from yolo.names import did_you_mean

_INT = re.compile(r"([+-]?[0-9]{1,30})(?:\.0*)?")

_REAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

_INT_LIMIT = 2**31 - 1

ACTIVATIONS = [
    "linear", "leaky", "relu", "logistic", "mish", "swish", "hard_mish", "elu", "selu", "gelu", "tanh", "relie", "ramp",
    "loggy", "hardtan", "lhtan", "plse", "stair", "relu6", "revleaky", "silu",
]  # fmt: skip

MAX_ELEMENTS = 2**31 - 1  # of one layer's output for one image, 8 GiB


class Shape(NamedTuple):
    """Channels, height and width of one image."""

    c: int
    h: int
    w: int

    def __str__(self) -> str:
        return f"{self.c}x{self.h}x{self.w}"


class SectionError(ValueError):
    """An invalid value: the key, the value, what was expected. The reader adds file, line and section."""

    def __init__(self, key: str, got: object, accepted: str) -> None:
        text = ",".join(map(_plain, got)) if isinstance(got, tuple) else _plain(got)
        super().__init__(f"{key}={shown(text) or '(absent)'}: {accepted}")
        self.key = key


class ShapeError(ValueError):
    """A section that does not fit its inputs. `key` is the key at fault; `make_plan` adds file, line and layer."""

    def __init__(self, problem: str, key: str) -> None:
        super().__init__(problem)
        self.key = key


class SizeError(ShapeError):
    """Inputs that may fit at another size of the image; `make_plan` adds which, or else the other `remedy`."""

    def __init__(self, problem: str, key: str, remedy: str = "use another input size") -> None:
        super().__init__(problem, key)
        self.remedy = remedy


def shown(text: str) -> str:
    """Return a piece of a cfg for a message: at most 60 characters, with invisible ones as escapes."""
    text = text if len(text) <= 60 else f"{text[:60]}..."
    return text if text.isprintable() else repr(text)[1:-1]


def _plain(value: object) -> str:
    """Return a value as it is in a cfg: 10, not Python's 10.0."""
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _int(text: str, low: int, high: int) -> int:
    match = _INT.fullmatch(text.split("#")[0])  # darknet's atoi stops at a '#' after the number, and so does this
    value = int(match[1]) if match else None
    if value is None or not low <= value <= high:
        if low == high:
            raise ValueError(f"expected {low}")
        if value is not None and value > high:
            raise ValueError(f"expected an integer of at most {high}")
        least = f" of at least {low}" if value is not None or low > -_INT_LIMIT else ""
        raise ValueError(f"expected an integer{least}")
    return value


def _real(text: str, low: float, high: float) -> float:
    text = text.split("#")[0]
    value = float(text) if _REAL.fullmatch(text) else math.nan
    if not low <= value <= high:
        bounds = f" from {low:g} to {high:g}" if high < 3e38 else f" of at least {low:g}" if low > -3e38 else ""
        raise ValueError(f"expected a decimal number{bounds}, written like 0.5 or 1e-3")
    return value


def _key(default: object, parse: Callable[[str], object], refuse: str | None) -> Any:
    return field(default=default, metadata={"parse": parse, "refuse": refuse})


def integer(default: int, low: int = -_INT_LIMIT, high: int = _INT_LIMIT, refuse: str | None = None) -> Any:
    """Return the field of an integer key. `64.0` is 64 as in darknet; `1e3`, which darknet reads as 1, is an error."""
    return _key(default, lambda text: _int(text, low, high), refuse)


def real(default: float, low: float = -3.4e38, high: float = 3.4e38, refuse: str | None = None) -> Any:
    """Return the field of a number with or without a decimal point, within the range of float32."""
    return _key(default, lambda text: _real(text, low, high), refuse)


def word(default: str, words: list[str] | None = None, refuse: str | None = None) -> Any:
    """Return the field of a word: one of `words`, or any without a list."""

    def parse(text: str) -> str:
        if words is not None and text not in words:
            hint = did_you_mean(text, words)
            raise ValueError(f"expected one of {', '.join(words)}{f'; {hint}' if hint else ''}")
        return text

    return _key(default, parse, refuse)


def integers(default: tuple[int, ...] = (), low: int = -_INT_LIMIT) -> Any:
    """Return the field of integers separated by commas. As in darknet, the list ends at a `#`."""
    return _key(default, lambda text: tuple(_int(t, low, _INT_LIMIT) for t in text.split("#")[0].split(",")), None)


def reals(default: tuple[float, ...] = (), low: float = -3.4e38) -> Any:
    """Return the field of numbers separated by commas; the list ends at a `#`, or with a last comma."""

    def parse(text: str) -> tuple[float, ...]:
        return tuple(_real(t, low, 3.4e38) for t in text.split("#")[0].removesuffix(",").split(","))

    return _key(default, parse, None)


def training(key: Any) -> Any:
    """Return the field of a key that only darknet's training reads: a value that cannot be read is a remark."""
    return field(default=key.default, metadata={**key.metadata, "training": True})


@dataclass(frozen=True)
class CfgPlace:
    """Where a section was read: its line, the lines of its keys in file order, and what had no effect.

    `unknown` are unknown keys with their values, and keys without a value (`""`), which count as absent.
    """

    line: int = 0
    keys: tuple[tuple[str, int], ...] = ()
    unknown: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """One `[section]`. `NAMES` are its spellings; the first one is written. Comparisons ignore `source`."""

    NAMES: ClassVar[tuple[str, ...]] = ()
    source: CfgPlace = field(default=CfgPlace(), compare=False, repr=False)

    def __post_init__(self) -> None:
        for f in self.fields():
            value = getattr(self, f.name)
            if f.metadata["refuse"] is not None and value != f.default:
                raise SectionError(f.name, value, f"not supported: {f.metadata['refuse']}")
        self.check()

    def check(self) -> None:
        """Check rules between keys. Raises SectionError."""

    def remarks(self) -> list[tuple[str, str]]:
        """Return what is odd and does not matter for detection: the key and a sentence."""
        return []

    @classmethod
    def fields(cls) -> list[dataclasses.Field[Any]]:
        """Return the fields that are keys of the cfg."""
        return [f for f in dataclasses.fields(cls) if "parse" in f.metadata]

    @property
    def name(self) -> str:
        """The canonical name of the section."""
        return self.NAMES[0]


@dataclass(frozen=True, kw_only=True)
class Layer(Section):
    """The keys that every layer section has. All of them affect training only, apart from the refused ones."""

    SOURCE_KEY: ClassVar[str] = ""
    """The key that names the layers it reads, if it has one."""
    READS_PREVIOUS: ClassVar[bool] = True
    """Whether its first input is the layer before it."""
    SHAPED_BY: ClassVar[int] = 0
    """Index of the input whose height and width its output follows."""

    clip: float = training(real(0.0))
    onlyforward: int = training(integer(0))
    dont_update: int = training(integer(0))
    burnin_update: int = training(integer(0))
    stopbackward: int = training(integer(0))
    train_only_bn: int = training(integer(0))
    learning_rate: float = training(real(1.0))
    dontload: int = integer(0, refuse="every layer with weights is read from the file")
    dontloadscales: int = integer(0, refuse="every layer with weights is read from the file")
    dontsave: int = integer(0, refuse="every layer with weights is written to the file")
    numload: int = integer(0, refuse="every layer with weights is read from the file")

    @property
    def named(self) -> tuple[int, ...]:
        """The layers that `SOURCE_KEY` names, as in the cfg: absolute from 0, relative below."""
        return ()

    @property
    def strides(self) -> tuple[Fraction | int, Fraction | int]:
        """Cells of the input per cell of the output, (y, x)."""
        return 1, 1

    def output(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape of the output, by default that of the first input. Raises ShapeError if they do not fit."""
        return inputs[0]

    def floats(self, inputs: Sequence[Shape]) -> int:
        """Return the number of float32 values in a `.weights` file, by default 0."""
        return 0

    def operations(self, inputs: Sequence[Shape]) -> int:
        """Return the multiplications and additions for one image, counted for convolutions only."""
        return 0
