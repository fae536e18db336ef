"""Options as keywords of Python: the words of the command line, read as a YAML file of them is. No torch."""

from __future__ import annotations

import dataclasses
import numbers
import os
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from yolo.names import did_you_mean
from yolo.options.aliases import OPTIONS
from yolo.options.yaml_file import keys, read_values

T = TypeVar("T")


def read_keywords(words: Mapping[str, Any], base: T, caller: str) -> T:
    """Return `base`, a dataclass of options, with the values that words of the command line have.

    A word of a group stands alone, as on the command line (`peak_lr=1e-3`), or in its group, as in a YAML file
    (`schedule={"peak_lr": 1e-3}`), or the group is given as its dataclass (`augment=Augment(mosaic=0.5)`).

    Raises ValueError that begins with `caller` for an unknown word (and the one that was probably meant), for a wrong
    type, and for what the options themselves refuse.
    """
    # Where a group and a word in it have one name (`schedule`), the last path is the word's: so on the command line.
    paths = {path[-1]: path for path in keys(base)}
    tree: dict[str, Any] = {}
    for path, value in _flat(words):
        word = OPTIONS.get(path[0], path[0])
        if word not in paths:
            hint = did_you_mean(word, paths) or f"the options are {', '.join(paths)}"
            raise ValueError(f"{caller}: unknown option {word!r}; {hint}")
        *groups, name = path if len(path) > 1 else paths[word]
        place, owner = tree, base
        for group in groups:
            place, owner = place.setdefault(group, {}), getattr(owner, group, owner)
        if name in place:
            raise ValueError(f"{caller}: {name} is given twice; expected it once")
        place[name] = _plain(value, get_type_hints(type(owner)).get(name), f"{caller}: {name}")
    return read_values(tree, base, caller)


def _flat(words: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the values of nested words with their paths."""
    for word, value in words.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            yield from _flat(value, (*above, word))
        else:
            yield (*above, word), value


def _plain(value: Any, kind: Any, place: str) -> Any:
    """Return a value of a field of type `kind` as YAML has it: numbers of NumPy as Python's, paths as text.

    A whole number is text where only text is expected, as in `size=416`. Raises ValueError that begins with `place`.
    """
    kinds = get_args(kind) or (kind,)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return str(value) if str in kinds and not {int, float} & {*kinds} else int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, (str, os.PathLike)):
        return str(os.fspath(value))
    if isinstance(value, (list, tuple)):
        return [_plain(part, None, place) for part in value]
    raise ValueError(f"{place}: got {value!r}, expected text, a number, True, False, None or a list of these")
