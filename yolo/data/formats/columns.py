"""Lists of json entries as columns: ids and what refers to them, numbers. No torch."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from yolo.data.index import Fault

Entry = dict[str, Any]

DIGITS = re.compile(r"\s*(-?[0-9]{1,18})(?:\.0*)?\s*")


class Ids:
    """The ids of a list's entries, and which entry a reference means.

    Entries without an id of their own become faults.
    """

    def __init__(self, path: Path, key: str, entries: list[Entry], faults: list[Fault]) -> None:
        values = column(entries, "id", {int, str, float})
        whole = [whole_number(value) for value in values]
        # Ids that are written alike are the same; those that mean the same number (3, 3.0 and "3") if no other does.
        written, meant = Counter(values), Counter(whole)
        self.exact = {value: k for k, value in enumerate(values)}
        self.loose: dict[int | None, int] = {
            number: k for k, number in enumerate(whole) if number is not None and meant[number] == 1
        }
        usable: dict[int, int | None] = {}
        for k, (entry, value) in enumerate(zip(entries, values, strict=True)):
            if isinstance(value, float) and whole[k] is None:
                problem = f"{path}: {key}[{k}]: id {entry.get('id')!r}: expected a number or a text"
            elif written[value] > 1:
                problem = f"{path}: {key}[{k}]: another entry has the id {value}"
            else:
                usable[k] = whole[k]
                continue
            faults.append(Fault(problem, k))
        if len(set(usable.values()) - {None}) == len(usable):
            numbers = [usable.get(k, -1) for k in range(len(entries))]
        else:
            numbers = list(range(1, len(entries) + 1))
        self.numbers = np.array(numbers, dtype=np.int64)

    def find(self, references: list[Any]) -> np.ndarray:
        """Return the index of the entry that each value refers to, int64; -1 for none."""
        exact = map(self.exact.get, references)
        pairs = zip(exact, references, strict=True)
        found = [self.loose.get(whole_number(value), -1) if k is None else k for k, value in pairs]
        return np.array(found, dtype=np.int64)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number. json's `NaN`, `Infinity` and `true` are not."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def column(entries: list[Entry], key: str, kinds: set[type]) -> list[Any]:
    """Return a value of each entry; NaN, which equals nothing, where it is of another type than `kinds`."""
    values = [entry.get(key) for entry in entries]
    return values if set(map(type, values)) <= kinds else [v if type(v) in kinds else math.nan for v in values]


def floats(values: list[Any]) -> np.ndarray:
    """Return float64, NaN for what is not a finite number."""
    if not set(map(type, values)) <= {int, float}:
        values = [value if is_number(value) else math.nan for value in values]
    try:
        found = np.array(values, dtype=np.float64)
    except OverflowError:  # an integer beyond the largest number
        found = np.array([value if is_number(value) else math.nan for value in values])
    return np.where(np.isfinite(found), found, math.nan)


def whole_number(value: Any) -> int | None:
    """Return the integer of 64 bits that 3, 3.0 or "3" means; None for other values."""
    if isinstance(value, str) and (found := DIGITS.fullmatch(value)):
        value = int(found[1])
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and abs(value) < 2**63 else None
