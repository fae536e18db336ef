"""YAML files of others as nodes and values, within limits: size, number of values, depth, digits. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from yolo.files.reading import read_bytes

LARGEST = 2**20
"""Bytes of a YAML file at most."""

VALUES = 45_000
"""Values in a YAML file at most, those of an alias each time it is used: ImageNet's 21,841 classes with numbers."""

DEPTH = 20
"""Values within each other at most; options have four."""

DIGITS = 400
"""Characters of a number at most."""

EXPECTED = "expected lines of `key: value`"


def composed(file: Path, text: str | None = None) -> yaml.Node | None:
    """Return the root of a YAML file, or of its `text` where that was read; None for an empty one.

    Raises ValueError, with the line where it is known, for what is not YAML and for a file of another kind: more than
    `LARGEST` bytes, `VALUES` values or `DEPTH` of them within each other, a value within itself, numbers without end,
    half a letter. OSError if the file cannot be read.
    """
    with _yaml_errors(file):
        root = _root(read_bytes(file, LARGEST) if text is None else text)
        if isinstance(root, yaml.YAMLError):
            raise root
        return root


def plain_values(file: Path, text: str | None = None) -> Any:
    """Return the values in a YAML file: lists, dictionaries by keys of any kind, and so on. Raises as `composed`."""
    root = composed(file, text)
    with _yaml_errors(file):
        return None if root is None else _Loader("").construct_document(root)


@lru_cache(maxsize=2)  # a file is asked for its model and its kind before it is read
def _root(content: str | bytes) -> yaml.Node | yaml.YAMLError | None:
    """Return the root, or what is wrong: a long file that is refused is not composed again to be refused again."""
    loader = _Loader(content)
    try:
        return loader.get_single_node()
    except yaml.YAMLError as problem:
        return problem
    finally:
        loader.dispose()


class _RefusedError(yaml.MarkedYAMLError):
    """YAML that is not read."""


class _Loader(yaml.SafeLoader):
    """Counts values, since aliases of aliases would be more than fit into memory."""

    def __init__(self, content: str | bytes) -> None:
        super().__init__(content)
        self._count = self._depth = 0
        self._sizes: dict[int, int] = {}  # of a node with all that is in it, by its identity

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        is_alias, before = self.check_event(yaml.AliasEvent), self._count
        mark = self.peek_event().start_mark
        if self._depth == DEPTH:  # PyYAML looks at all open brackets with each word
            raise _RefusedError(problem=f"more than {DEPTH} values within each other; {EXPECTED}", problem_mark=mark)
        self._depth += 1
        node: yaml.Node = super().compose_node(parent, index)  # type: ignore[assignment]  # not None without an anchor
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise _RefusedError(problem="a value that holds itself; write it out", problem_mark=mark)
        self._count += self._sizes[id(node)] if is_alias else 1
        self._sizes[id(node)] = self._count - before
        if fault := _fault_of(node) or (f"more than {VALUES:,} values" if self._count > VALUES else ""):
            raise _RefusedError(problem=f"{fault}; {EXPECTED}", problem_mark=mark)
        return node

    def construct_scalar(self, node: Any) -> Any:
        if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and len(node.value) > DIGITS:
            raise _RefusedError(problem=f"a number of {len(node.value):,} digits", problem_mark=node.start_mark)
        return super().construct_scalar(node)


def _fault_of(node: yaml.Node) -> str:
    """Return what is wrong with a word; empty if nothing is. Bytes of a path that are no text are halves of letters."""
    if not isinstance(node, yaml.ScalarNode):
        return ""
    try:
        node.value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return f"{node.value[:80]!r} has half of a letter"
    return ""


@contextmanager
def _yaml_errors(file: Path) -> Iterator[None]:
    """Within the block, what is not YAML raises ValueError with the file, and the line where it is known."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except yaml.MarkedYAMLError as problem:
        mark, refused = problem.problem_mark, isinstance(problem, _RefusedError)
        line, column = (f":{mark.line + 1}", f" in column {mark.column + 1}") if mark else ("", "")
        text = f"{problem.problem}"[:200] if refused else f"this is not YAML: {problem.problem!s:.200}{column}"
        raise ValueError(f"{file}{line}: {text}") from None
    except Exception as problem:  # a letter beyond Unicode, such as "\\UFFFFFFFF", or a tag on a value of another kind
        if str(file) in str(problem):
            raise
        raise ValueError(f"{file}: this is not YAML text: {' '.join(str(problem).split())[:200]}") from None
