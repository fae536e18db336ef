"""Bounds of options, which are a part of the option's type. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from tyro.conf import arg


class Bound(NamedTuple):
    """The numbers that an option accepts: from `low` to `high`, both included, and above `above`, below `below`."""

    words: str
    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def holds(self, value: Any) -> bool:
        """Return whether a number is accepted, or a value that is not a number, such as None or "auto"."""
        if not isinstance(value, (int, float)):
            return True
        return self.low <= value <= self.high and self.above < value < self.below


Count = Annotated[int, Bound("at least 1", low=1)]
MaybeCount = Annotated[int | None, Bound("at least 1, or None", low=1)]
FromZero = Annotated[int, Bound("at least 0", low=0)]
Number = Annotated[float, Bound("a number from 0", low=0, below=math.inf)]
Share = Annotated[float, Bound("a share from 0 to 1", low=0, high=1)]
Decay = Annotated[float, Bound("a number from 0 (off), below 1", low=0, below=1)]
MaxPixels = Annotated[
    int,
    Bound("at least 1", low=1),
    arg(help="Largest number of pixels of an image or a video frame, by its header; larger ones are not decoded."),
]
Factor = Annotated[float, Bound("a factor from 1 (off) to 10", low=1, high=10)]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A dataclass that raises ValueError for a number out of its bounds, and for a word that is not a choice."""

    def __post_init__(self) -> None:
        for name, bounds, words in _checks(type(self)):  # type: ignore[arg-type]  # a class is hashable
            value = getattr(self, name)
            for bound in bounds:
                if not bound.holds(value):
                    raise ValueError(f"{name}={value}: expected {bound.words}")
            if words and value not in words:
                raise ValueError(f"{name}={value!r}: expected one of {', '.join(words)}")


@cache
def _checks(kind: type) -> list[tuple[str, list[Bound], tuple[str, ...]]]:
    """The bounds and the choices of each field. Reading annotations is slow, and every sample makes options."""
    hints = get_type_hints(kind, include_extras=True)
    bounds = {
        name: [b for b in getattr(hint, "__metadata__", ()) if isinstance(b, Bound)] for name, hint in hints.items()
    }
    words = {name: get_args(hint) if get_origin(hint) is Literal else () for name, hint in hints.items()}
    return [(name, bounds[name], words[name]) for name in hints if bounds[name] or words[name]]
