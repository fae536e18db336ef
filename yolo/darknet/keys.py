"""The kit the sections of a cfg are made of: typed keys with bounds, defaults, and values that are refused."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

_INT = re.compile(r"([+-]?[0-9]{1,30})(?:\.0*)?")

_REAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

_INT_LIMIT = 2**31 - 1


class SectionError(ValueError):
    """A value that cannot stand: the key, what we got, what is accepted. The reader adds file, line, section."""

    def __init__(self, key: str, got: object, accepted: str) -> None:
        text = ",".join(map(_plain, got)) if isinstance(got, tuple) else _plain(got)
        super().__init__(f"{key}={shown(text) or '(absent)'}: {accepted}")
        self.key = key


def shown(text: str) -> str:
    """A piece of a cfg as a message shows it: at most 60 characters, those that nobody can see spelled out."""
    text = text if len(text) <= 60 else f"{text[:60]}..."
    return text if text.isprintable() else repr(text)[1:-1]


def _plain(value: object) -> str:
    """A value as a cfg has it: 10, where Python says 10.0."""
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _int(text: str, low: int, high: int) -> int:
    match = _INT.fullmatch(text.split("#")[0])  # darknet's atoi stops at a '#' behind the number, so do we
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
        raise ValueError(f"expected a decimal number{bounds}, with a point and no other signs")
    return value


def _key(default: object, parse: Callable[[str], object], refuse: str | None) -> Any:
    return field(default=default, metadata={"parse": parse, "refuse": refuse})


def integer(default: int, low: int = -_INT_LIMIT, high: int = _INT_LIMIT, refuse: str | None = None) -> Any:
    """An integer key. `64.0` is 64 as in darknet; `1e3`, which darknet reads as 1, is an error."""
    return _key(default, lambda text: _int(text, low, high), refuse)


def real(default: float, low: float = -3.4e38, high: float = 3.4e38, refuse: str | None = None) -> Any:
    """A number with or without a decimal point, within the range of float32."""
    return _key(default, lambda text: _real(text, low, high), refuse)


def word(default: str, words: list[str] | None = None, refuse: str | None = None) -> Any:
    """A word out of a list, or any word where no list is given."""

    def parse(text: str) -> str:
        if words is not None and text not in words:
            raise ValueError(f"expected one of {', '.join(words)}")
        return text

    return _key(default, parse, refuse)


def integers(default: tuple[int, ...] = (), low: int = -_INT_LIMIT) -> Any:
    """A comma-separated list of integers; darknet stops reading at a `#`, so do we."""
    return _key(default, lambda text: tuple(_int(t, low, _INT_LIMIT) for t in text.split("#")[0].split(",")), None)


def reals(default: tuple[float, ...] = (), low: float = -3.4e38) -> Any:
    """A comma-separated list of numbers."""
    return _key(default, lambda text: tuple(_real(t, low, 3.4e38) for t in text.split("#")[0].split(",")), None)


@dataclass(frozen=True)
class CfgPlace:
    """Where a section was read: its line, the lines of its keys in file order, what had no effect.

    `unknown` are the keys nobody knows with their values, and those without a value (`""`), which count as absent.
    """

    line: int = 0
    keys: tuple[tuple[str, int], ...] = ()
    unknown: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """One `[section]`. `NAMES` are its spellings, the first is written. `source` does not count in comparisons."""

    NAMES: ClassVar[tuple[str, ...]] = ()
    source: CfgPlace = field(default=CfgPlace(), compare=False, repr=False)

    def __post_init__(self) -> None:
        for f in self.fields():
            value = getattr(self, f.name)
            if f.metadata["refuse"] is not None and value != f.default:
                raise SectionError(f.name, value, f"not supported: {f.metadata['refuse']}")
        self.check()

    def check(self) -> None:
        """Rules between keys; raises SectionError."""

    @classmethod
    def fields(cls) -> list[dataclasses.Field[Any]]:
        """The fields that are keys of the cfg."""
        return [f for f in dataclasses.fields(cls) if "parse" in f.metadata]

    @property
    def name(self) -> str:
        """The canonical name of the section."""
        return self.NAMES[0]
