"""YAML files of differing options, read onto the dataclasses of options by their annotations. No torch.

The type of a field decides what a word means, not YAML: `1e-4` is a number where a number is expected (YAML 1.1 reads
it as text), and `1` is the word "1" where "1" is one of the choices. An ambiguous word is an error that says so.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from yolo.files.atomic import replacing
from yolo.files.reading import reading
from yolo.names import did_you_mean
from yolo.options.aliases import OPTIONS
from yolo.options.yaml_nodes import composed

T = TypeVar("T")

NOT_IN_FILES = {
    "transform": "no file can name code that is imported; give --transform MODULE:FUNCTION on the command line, or "
    "transform= in Python"
}
"""Options of the command line that a file must not have, with the reason."""

NOTHING = ("", "~", "null", "Null", "NULL", "None")

BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

WHOLE = re.compile(r"[-+]?(0|[1-9](_?[0-9]){0,17})")  # no leading zeros: YAML 1.1 would read them as octal

NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


class _WrongTypeError(ValueError):
    """A value that does not have the type of its field."""


class _UnquotedError(_WrongTypeError):
    """A word without quotes where text is expected, which YAML reads as something else."""


class _Source(NamedTuple):
    """Where values come from: its `name` begins every message; `keys` are the paths of all options, for the hints."""

    name: str
    keys: list[tuple[str, ...]]
    has_lines: bool = True

    def at(self, node: yaml.Node) -> str:
        """Return the name and, in a file, the line of the node."""
        return f"{self.name}:{node.start_mark.line + 1}" if self.has_lines else self.name


def read_yaml(path: str | Path, base: T) -> T:
    """Return `base`, an instance of a dataclass, with the values of a file; an empty file gives `base` itself.

    Fields may be dataclasses (a mapping in the file; what it leaves out is kept), tuples (a list), `Literal`, `bool`,
    `int`, `float`, `str`, `Path`, `None` (`null`, or `None`) and unions of these.

    Raises ValueError with file and line for unknown and repeated keys (and the one that was probably meant), for wrong
    types, for what the dataclass itself refuses, and for what is not YAML; OSError if the file cannot be read.
    """
    file = Path(path)
    with reading(file, "a file of options"):
        node = composed(file)
        return base if node is None else _merged(node, base, _Source(str(file), list(keys(base))))


def read_values(values: Mapping[str, Any], base: T, name: str) -> T:
    """Return `base` with nested values, such as a file of these values gives it.

    Raises ValueError that begins with `name`, for the same reasons as `read_yaml`.
    """
    node = yaml.compose(yaml.safe_dump(dict(values)), Loader=yaml.SafeLoader)
    assert node is not None, "an empty mapping is `{}`"
    return _merged(node, base, _Source(name, list(keys(base)), has_lines=False))


def write_yaml(path: str | Path, options: Any) -> None:
    """Write all fields of a dataclass, so that `read_yaml` onto any instance of it gives an equal one.

    The file is written whole or not at all.
    """
    with replacing(Path(path)) as temporary:
        temporary.write_text(yaml_text(options), encoding="utf-8")


def yaml_text(options: Any) -> str:
    """Return the text that `write_yaml` writes."""
    return yaml.dump(_plain(options), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)


def _merged(node: yaml.Node, base: T, source: _Source) -> T:
    """Return the dataclass `base` with the values of the mapping `node`. Raises ValueError."""
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{source.at(node)}: expected lines of `option: value`, got {_shown(node)}")
    kinds, changes = get_type_hints(type(base)), {}
    for key_node, value in node.value:
        # The key: one of the fields, and given once.
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else _shown(key_node)
        key = OPTIONS[key] if OPTIONS.get(key) in kinds else key
        if key not in kinds:
            raise ValueError(f"{source.at(key_node)}: unknown option {key!r}{_hint(key, source.keys)}")
        if key in changes:
            raise ValueError(f"{source.at(key_node)}: {key} is given twice; expected it once")
        # The value: a group of options keeps what the file leaves out, anything else is replaced.
        old = getattr(base, key)
        if dataclasses.is_dataclass(old) and not isinstance(old, type):
            changes[key] = _merged(value, old, source)
            continue
        try:
            changes[key] = _value(value, kinds[key])
        except _WrongTypeError as problem:
            raise ValueError(f"{source.at(value)}: {key}: {problem}") from None
    try:
        return dataclasses.replace(base, **changes)  # type: ignore[type-var]
    except ValueError as problem:  # values that the dataclass refuses
        raise ValueError(f"{source.at(node)}: {problem}") from None


def _value(node: yaml.Node, kind: Any) -> Any:
    """Return what the node means where `kind` is expected. Raises _WrongTypeError."""
    wrong = f"got {_shown(node)}, expected {_expected(kind)}"
    # Types made of other types: each part is read on its own.
    if get_origin(kind) in (Union, types.UnionType):
        return _first(node, kind)
    if get_origin(kind) is tuple:
        if not isinstance(node, yaml.SequenceNode):
            raise _WrongTypeError(wrong)
        return tuple(_value(part, get_args(kind)[0]) for part in node.value)
    if isinstance(node, yaml.ScalarNode):
        # Words: quotes make any value a word, and a choice is one with or without them.
        quoted = node.style is not None
        if get_origin(kind) is Literal and node.value in get_args(kind):
            return node.value
        if kind in (str, Path):
            if kind is Path and "\0" in node.value:
                raise _WrongTypeError(wrong)
            if quoted or node.tag == "tag:yaml.org,2002:str":
                return kind(node.value)
            raise _UnquotedError(f"{wrong}; if it is, put it in quotes")
        # Everything else is written without quotes.
        if not quoted and kind is types.NoneType and node.value in NOTHING:
            return None
        if not quoted and kind is bool and node.value.lower() in BOOLS:
            return BOOLS[node.value.lower()]
        if not quoted and kind is int and WHOLE.fullmatch(node.value):
            return int(node.value)
        if not quoted and kind is float and NUMBER.fullmatch(node.value) and math.isfinite(float(node.value)):
            return float(node.value)
    raise _WrongTypeError(wrong)


def _first(node: yaml.Node, union: Any) -> Any:
    """Return the node as the first type of a union that fits, None before all others. Raises _WrongTypeError."""
    error = _WrongTypeError(f"got {_shown(node)}, expected {_expected(union)}")
    for kind in sorted(get_args(union), key=lambda kind: kind is not types.NoneType):
        try:
            return _value(node, kind)
        except _UnquotedError as problem:  # its message has a remedy
            error = problem
        except _WrongTypeError:
            pass
    raise error


def _expected(kind: Any) -> str:
    """Return a type in words."""
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_expected(part) for part in get_args(kind))
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"a list of {_expected(get_args(kind)[0])}, as [a, b]"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    return words.get(kind, "null")


def _shown(node: yaml.Node) -> str:
    """Return a value as the user wrote it, or its kind if it is not a single word."""
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value) if node.style is not None else node.value or "nothing"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def keys(options: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all fields; those of a nested dataclass begin with its own name."""
    for field in dataclasses.fields(options):
        yield (*above, field.name)
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            yield from keys(value, (*above, field.name))


def _hint(key: str, known: list[tuple[str, ...]]) -> str:
    """Return the end of a message on an unknown key: where it belongs, the most similar key, or all keys."""
    if key in NOT_IN_FILES:
        return f"; {NOT_IN_FILES[key]}"
    paths = {path[-1]: path for path in reversed(known)}
    if key in paths:
        return f"; it belongs {_under(paths[key]) or 'to the outermost level'}"
    if hint := did_you_mean(key, paths):
        near = hint.removeprefix("did you mean ").removesuffix("?")
        return f"; did you mean {', '.join(filter(None, (near, _under(paths[near]))))}?"
    return f"; the options are {', '.join(path[0] for path in known if len(path) == 1)}"


def _under(path: tuple[str, ...]) -> str:
    """Return the group of an option in words; empty at the outermost level."""
    return f"under `{': '.join(path[:-1])}:`" if path[:-1] else ""


class _Dumper(yaml.SafeDumper):
    """Writes every word in quotes, so that it cannot be read as a number, and lists in one line."""


class _Text(str):
    """A value, in contrast to a key."""


_Dumper.add_representer(_Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))
_Dumper.add_representer(
    tuple, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)
)


def _plain(value: Any) -> Any:
    """Return dataclasses as dicts, paths and words as `_Text`, and other values unchanged."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return _Text(value) if isinstance(value, (str, Path)) else value
