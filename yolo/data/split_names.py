"""Names of splits: which one `train` or `val` means, in the spelling of any tool. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable

WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
    "trainval": ("trainval",),
}
"""The kinds of splits, each with the words for it."""


def kind(name: str) -> str:
    """Return the kind of a split, a key of `WORDS`, by the letters that its name begins with; empty for none.

    `Train`, `train2017` and `train_small` are of the kind train, `trainset` and `all` of none.
    """
    letters = re.match(r"[a-z]*", name.casefold())
    return next((key for key, words in WORDS.items() if letters and letters[0] in words), "")


def meant(names: Iterable[str], wanted: str) -> list[str]:
    """Return the splits that `wanted` means by the first rule that fits any: one, none, or several of the same rule."""
    names, folded = list(names), wanted.casefold()
    same = next((words for words in WORDS.values() if folded in words), ())
    rules = (
        [name for name in names if name == wanted],
        [name for name in names if name.casefold() == folded],
        [name for name in names if name.casefold() in same],
        [name for name in names if name.casefold().startswith(folded)],
        [name for name in names if same and kind(name) == kind(wanted)],
    )
    return next((fitting for fitting in rules if fitting), [])
