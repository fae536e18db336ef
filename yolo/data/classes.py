"""Class names of a data set against those that the user gives: matched by name, never by position. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from yolo.names import ALIASES, class_index


def matched(own: Sequence[str], given: Sequence[str] | None, source: str) -> tuple[list[str], list[int]]:
    """The class names to use, and for each of the data's `own` classes its index in them.

    For formats that say the name of a class. `given` may have more names, another order and darknet's spelling.
    ValueError with every class that `given` lacks.
    """
    if given is None:
        return list(own), list(range(len(own)))
    table = [class_index(name, given) for name in own]
    lacking = [name for name, k in zip(own, table, strict=True) if k is None]
    if lacking:
        raise ValueError(
            f"{source}: the class names that were given lack {len(lacking)} of the data's: "
            f"{', '.join(map(repr, lacking))}; they are {', '.join(map(repr, given))}"
        )
    return list(given), [k for k in table if k is not None]


def agreed(own: Sequence[str] | None, given: Sequence[str] | None, source: str) -> list[str]:
    """The class names where the data has numbers only: `own`, those beside the data, or `given`.

    ValueError with every name that differs, by number, or where there are none.
    """
    if own is None and given is None:
        raise ValueError(f"{source}: no class names; expected classes.txt or data.yaml beside the pictures, or --names")
    if own is None:
        return list(given or [])
    if given is None:
        return list(own)
    pairs = enumerate(zip_longest(own, given, fillvalue=""))
    differ = [(k, a, b) for k, (a, b) in pairs if ALIASES.get(a, a) != ALIASES.get(b, b)]
    if differ:
        lines = [f"  class {k}: {a or 'none'} in the data, {b or 'none'} given" for k, a, b in differ[:20]]
        more = [f"  ... and {len(differ) - 20} more"] if len(differ) > 20 else []
        raise ValueError("\n".join([f"{source}: the class names that were given are others:", *lines, *more]))
    return list(given)
