"""YAML files of differences, read onto the dataclasses of options by their annotations. No torch.

The type of a field decides what a word means, not YAML: `1e-4` is a number where a number is asked for (YAML 1.1 takes
it for text), `1` is the word "1" where "1" is one of the choices. What could be either is an error that says so.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from yolo.atomic import replacing

T = TypeVar("T")

NOTHING = ("", "~", "null", "Null", "NULL", "None")

BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

WHOLE = re.compile(r"[-+]?(0|[1-9](_?[0-9]){0,17})")  # no leading zeros: YAML 1.1 would read them as octal

NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


class _WrongTypeError(ValueError):
    """A word that is not what its field asks for."""


class _UnquotedError(_WrongTypeError):
    """A word without quotes where text is asked for, which YAML takes for something else."""


def read_yaml(path: str | Path, base: T) -> T:
    """`base`, an instance of a dataclass, with the values that the file gives; an empty file gives `base` itself.

    Fields may be dataclasses (a mapping in the file; what it leaves out stays), tuples (a list), `Literal`, `bool`,
    `int`, `float`, `str`, `Path`, `None` (`null`, or `None`) and unions of these.

    Raises ValueError with file and line for unknown and repeated keys (and the one that was probably meant), for wrong
    types, for what the dataclass itself refuses, and for what is not YAML; OSError if the file cannot be read.
    """
    file = Path(path)
    try:
        node = yaml.compose(file.read_bytes(), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as problem:
        line = f":{problem.problem_mark.line + 1}" if problem.problem_mark else ""
        raise ValueError(f"{file}{line}: this is not YAML: {problem.problem}") from None
    except (
        yaml.YAMLError,
        ValueError,
        OverflowError,
    ) as problem:  # the last two: a letter beyond Unicode, "\\UFFFFFFFF"
        raise ValueError(f"{file}: this is not YAML text: {' '.join(str(problem).split())}") from None
    except RecursionError:
        raise ValueError(f"{file}: brackets within brackets without end; expected lines of `option: value`") from None
    known = list(_keys(base))
    return base if node is None else _merged(node, base, file, known)


def write_yaml(path: str | Path, options: Any) -> None:
    """Writes all fields of a dataclass, so that `read_yaml` onto any instance of it gives an equal one.

    The file is written whole or not at all.
    """
    with replacing(Path(path)) as temporary:
        temporary.write_text(yaml_text(options), encoding="utf-8")


def yaml_text(options: Any) -> str:
    """What `write_yaml` writes."""
    return yaml.dump(_plain(options), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)


def _merged(node: yaml.Node, base: T, file: Path, known: list[tuple[str, ...]]) -> T:
    """The mapping `node` onto the dataclass `base`; `known` are the keys of the whole file, for the hints."""
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{_where(file, node)}: expected lines of `option: value`, got {_shown(node)}")
    kinds, changes = get_type_hints(type(base)), {}
    for key_node, value in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else _shown(key_node)
        if key not in kinds:
            raise ValueError(f"{_where(file, key_node)}: unknown option {key!r}{_hint(key, known)}")
        if key in changes:
            raise ValueError(f"{_where(file, key_node)}: {key} is given twice; expected it once")
        old = getattr(base, key)
        if dataclasses.is_dataclass(old) and not isinstance(old, type):
            changes[key] = _merged(value, old, file, known)
            continue
        try:
            changes[key] = _value(value, kinds[key])
        except _WrongTypeError as problem:
            raise ValueError(f"{_where(file, value)}: {key}: {problem}") from None
    try:
        return dataclasses.replace(base, **changes)  # type: ignore[type-var]
    except ValueError as problem:
        raise ValueError(f"{_where(file, node)}: {problem}") from None


def _value(node: yaml.Node, kind: Any) -> Any:
    """What the node means where `kind` is asked for. Raises _WrongTypeError."""
    if get_origin(kind) in (Union, types.UnionType):
        return _first(node, get_args(kind), kind)
    if get_origin(kind) is tuple:
        if not isinstance(node, yaml.SequenceNode):
            raise _WrongTypeError(f"got {_shown(node)}, expected {_expected(kind)}")
        return tuple(_value(part, get_args(kind)[0]) for part in node.value)
    if isinstance(node, yaml.ScalarNode):
        quoted = node.style is not None
        if get_origin(kind) is Literal and node.value in get_args(kind):
            return node.value
        if kind in (str, Path):
            if quoted or node.tag == "tag:yaml.org,2002:str":
                return kind(node.value)
            raise _UnquotedError(
                f"got {node.value or 'nothing'}, expected {_expected(kind)}; if it is, put it in quotes"
            )
        if not quoted and kind is types.NoneType and node.value in NOTHING:
            return None
        if not quoted and kind is bool and node.value.lower() in BOOLS:
            return BOOLS[node.value.lower()]
        if not quoted and kind is int and WHOLE.fullmatch(node.value):
            return int(node.value)
        if not quoted and kind is float and NUMBER.fullmatch(node.value):
            return float(node.value)
    raise _WrongTypeError(f"got {_shown(node)}, expected {_expected(kind)}")


def _first(node: yaml.Node, kinds: tuple[Any, ...], union: Any) -> Any:
    """The first of several kinds that the node can be, None before all others."""
    problem = _WrongTypeError(f"got {_shown(node)}, expected {_expected(union)}")
    for kind in sorted(kinds, key=lambda kind: kind is not types.NoneType):
        try:
            return _value(node, kind)
        except _UnquotedError as unquoted:  # says what to do about it
            problem = unquoted
        except _WrongTypeError:
            pass
    raise problem


def _expected(kind: Any) -> str:
    """A kind in words."""
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_expected(part) for part in get_args(kind))
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"a list of {_expected(get_args(kind)[0])}, as [a, b]"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    return words.get(kind, "null")


def _shown(node: yaml.Node) -> str:
    """The value as the user wrote it, or what it is if that is long."""
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value) if node.style is not None else node.value or "nothing"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _where(file: Path, node: yaml.Node) -> str:
    return f"{file}:{node.start_mark.line + 1}"


def _keys(options: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all fields, those of nested dataclasses under their own."""
    for field in dataclasses.fields(options):
        yield (*above, field.name)
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            yield from _keys(value, (*above, field.name))


def _hint(key: str, known: list[tuple[str, ...]]) -> str:
    """Where the key belongs, or the one that is most like it, or all of them."""
    last = {path[-1]: path for path in reversed(known)}
    if key in last:
        return f"; it belongs {_under(last[key])}" if last[key][:-1] else "; it belongs to the outermost level"
    close = difflib.get_close_matches(key, last, n=1)
    if close:
        return f"; did you mean {close[0]}{', ' + _under(last[close[0]]) if last[close[0]][:-1] else ''}?"
    return f"; the options are {', '.join(path[0] for path in known if len(path) == 1)}"


def _under(path: tuple[str, ...]) -> str:
    return f"under `{': '.join(path[:-1])}:`"


class _Dumper(yaml.SafeDumper):
    """YAML with every word in quotes, so that none is taken for a number, and lists in one line."""


class _Text(str):
    """A value, in contrast to a key."""


_Dumper.add_representer(_Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))
_Dumper.add_representer(
    tuple, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)
)


def _plain(value: Any) -> Any:
    """Dataclasses as dicts, paths and words as `_Text`; the rest as it is."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return _Text(value) if isinstance(value, (str, Path)) else value
