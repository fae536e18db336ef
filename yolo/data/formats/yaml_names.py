"""The class names of a data.yaml, word for word. No torch.

YAML 1.1 reads `no`, `on`, `1.0` and `null` as other things than words. Here a name is what is written.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import yaml

from yolo.names import read_names
from yolo.options.yaml_nodes import composed

log = logging.getLogger("yolo")


def names_in(file: Path, text: str, beside: Callable[[], list[str] | None] = lambda: None) -> list[str] | None:
    """Return the class names of a data.yaml, else those `beside` it; None if there are neither names nor `nc`.

    `names` is a list, or a table from 0 on in any order, or a file of names. With `nc` alone the names are `class 0`,
    `class 1`, ..., which is logged.

    Args:
        file: the data.yaml, for messages and relative paths.
        text: its content.
        beside: returns the names that are found elsewhere in the data set, if there are any.

    Raises ValueError, with the line, for names that are none of these, numbers with gaps, and a `nc` that differs.
    """
    root = composed(file, text)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    table = {key.value: node for key, node in pairs if isinstance(key, yaml.ScalarNode)}
    names = (_names(file, table["names"]) if "names" in table else None) or beside()
    if "nc" not in table:
        return names
    word, at = _word(file, table["nc"], "nc"), _at(file, table["nc"])
    count = re.fullmatch(r"([1-9][0-9]{0,6})(?:\.0*)?", word)
    if not count:
        raise ValueError(f"{at}: nc is {word!r}; expected the number of classes")
    if names is not None and len(names) != int(count[1]):
        raise ValueError(f"{at}: nc is {count[1]}, but there are {len(names)} names")
    return names or list(_numbered(at, int(count[1])))


def _names(file: Path, node: yaml.Node) -> list[str] | None:
    """Return the names of a list, a table or a file; None for nothing. Raises ValueError."""
    values = node.value
    if isinstance(node, yaml.MappingNode):
        numbered = {_word(file, key, "names"): value for key, value in node.value}
        count = range(len(node.value))
        if numbered.keys() != set(map(str, count)):
            given = ", ".join(_word(file, key, "names") for key, _ in node.value)
            raise ValueError(f"{_at(file, node)}: names: their numbers are {given}; expected 0, 1, 2, ...")
        values = [numbered[str(k)] for k in count]
    elif isinstance(node, yaml.ScalarNode):
        listing = file.parent / str(node.value)
        if node.tag == "tag:yaml.org,2002:null":
            return None
        if os.path.isfile(listing):
            return read_names(listing)
    if isinstance(node, yaml.ScalarNode) or not values:
        got = repr(node.value) if isinstance(node, yaml.ScalarNode) else "nothing"
        raise ValueError(
            f"{_at(file, node)}: names: got {got}; expected a list of class names, a table from 0 on or a file"
        )
    names = [_word(file, value, "names") for value in values]
    if "" in names:
        raise ValueError(f"{_at(file, values[names.index('')])}: names: an empty name; expected the name of a class")
    return names


def _word(file: Path, node: yaml.Node, key: str) -> str:
    """Return a word as it is written. Raises ValueError for a list and a table."""
    if not isinstance(node, yaml.ScalarNode):
        kind = "list" if isinstance(node, yaml.SequenceNode) else "table"
        raise ValueError(f"{_at(file, node)}: {key}: expected a word, got a {kind}")
    return str(node.value).strip()


@cache  # logged once, however often the file is read
def _numbered(at: str, count: int) -> tuple[str, ...]:
    """Return `class 0`, `class 1`, ..., for want of names."""
    log.warning("%s: nc is %d, but there are no names: the classes are called class 0, class 1, ...", at, count)
    return tuple(f"class {k}" for k in range(count))


def _at(file: Path, node: yaml.Node) -> str:
    return f"{file}:{node.start_mark.line + 1}"
