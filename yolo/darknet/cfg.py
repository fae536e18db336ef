"""Darknet `.cfg` text <-> frozen typed sections. No torch.

The grammar is darknet's: blanks vanish wherever they stand, a line is a `[section]`, a `key=value` or a
comment (`#` or `;` in front), the first of several equal keys counts, section names are exact. A byte-order
mark and CRLF do no harm. Darknet reads on where it should not (`filters=abc` is 0, an unknown activation is
ReLU); here such a value is an error that names file, line, section, key, what we got and what is accepted.
Keys that nobody knows are kept and reported, once each.
"""

from __future__ import annotations

import codecs
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from yolo.darknet.keys import CfgPlace, Section, SectionError, shown
from yolo.darknet.net import Net
from yolo.darknet.sections import OUT_OF_SCOPE, SECTIONS, Convolutional, Layer, Region, Yolo
from yolo.names import did_you_mean
from yolo.options.shipped import shipped

log = logging.getLogger("yolo")

_BLANKS = str.maketrans("", "", " \t\r\n")

_S = TypeVar("_S", bound=Section)


class CfgError(ValueError):
    """A cfg that cannot be read or built: `file:line: [section] what we got, what is accepted`."""


@dataclass(frozen=True)
class Cfg:
    """A network description: `[net]` and the layer sections, index 0 the first behind `[net]`.

    `notes` are remarks of the reader (unknown keys, repeated keys), one sentence each.
    """

    net: Net
    layers: tuple[Layer, ...]
    file: str = field(default="<cfg>", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def heads(self) -> tuple[int, ...]:
        """Indices of the `[yolo]` and `[region]` sections."""
        return tuple(k for k, layer in enumerate(self.layers) if isinstance(layer, (Yolo, Region)))

    def error(self, index: int, problem: str, key: str = "") -> CfgError:
        """An error at layer `index` (-1: `[net]`), for the caller to raise."""
        section: Section = self.layers[index] if index >= 0 else self.net
        line = dict(section.source.keys).get(key, section.source.line)
        layer = f" (layer {index})" if index >= 0 else ""
        return CfgError(f"{self.file}:{line}: [{section.name}]{layer} {problem}")

    def to_text(self) -> str:
        """The cfg as text: parsing it gives an equal `Cfg`. Keys keep their order, comments are not kept."""
        return "\n".join(_section_text(section) for section in (self.net, *self.layers))


class _Line(NamedTuple):
    key: str
    value: str
    number: int


@dataclass
class _RawSection:
    name: str
    number: int
    lines: list[_Line] = field(default_factory=list)


def read_cfg(path: str | Path) -> Cfg:
    """Reads a `.cfg` file. A bare name such as `yolov3.cfg` is also looked for among the shipped ones.

    Remarks (unknown keys, repeated keys) go to the log. Raises FileNotFoundError, or CfgError (a ValueError).
    """
    found = _find(Path(path))
    data = found.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:  # comments in another encoding
        text = data.decode("latin-1")
    cfg = parse_cfg(text, str(path))
    for note in cfg.notes:
        log.warning("%s", note)
    return cfg


def parse_cfg(text: str, file: str = "<cfg>") -> Cfg:
    """The text of a `.cfg` as a `Cfg`; `file` is the name that messages give. Raises CfgError."""
    notes: list[str] = []
    raw = _split(text, file, notes)
    unknown: dict[tuple[str, str], list[int]] = {}
    net = _typed(raw[0], Net, file, notes, unknown)
    layers = []
    for index, section in enumerate(raw[1:]):
        layers.append(_typed(section, _kind(section, index, file), file, notes, unknown, index))
    for (name, key), numbers in unknown.items():
        lines = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
        kind = Net if name in Net.NAMES else SECTIONS[name]
        hint = did_you_mean(key, (_spelled(f.name) for f in kind.fields()))
        end = f"; {hint}" if hint else ""
        notes.append(f"{file}: [{name}] {shown(key)}: unknown key without effect (line {lines}){end}")
    return Cfg(net, tuple(layers), file, tuple(notes))


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    known = {file.name: file for file in shipped("*.cfg")}
    if path.name in known and path.parent in (Path(), Path("config")):
        return known[path.name]
    if path.is_dir():
        raise ValueError(f"{path}: a folder; expected a darknet .cfg file")
    raise FileNotFoundError(f"{path}: no such file; give the path of a darknet .cfg or one of {', '.join(known)}")


def _split(text: str, file: str, notes: list[str]) -> list[_RawSection]:
    """Text to sections of `key, value, line`, the first being `[net]`."""
    sections: list[_RawSection] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = line.translate(_BLANKS)
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            sections.append(_RawSection(line, number))
            continue
        key, equals, value = line.partition("=")
        if not sections:
            raise CfgError(f"{file}:{number}: {shown(line)} stands before the first section; start with [net]")
        if not equals:
            notes.append(f"{file}:{number}: {shown(key)} has no value (no '='), the default is used")
            sections[-1].lines.append(_Line(key, "", number))
        elif not value:
            notes.append(f"{file}:{number}: {shown(key)}= has no value, the line is ignored")
        else:
            sections[-1].lines.append(_Line(key, value, number))
    if not sections or sections[0].name not in ("[net]", "[network]"):
        got = f"{file}:{sections[0].number}: {shown(sections[0].name)}" if sections else f"{file}:1: no section at all"
        raise CfgError(f"{got}; the first section of a cfg is [net]")
    return sections


def _kind(section: _RawSection, index: int, file: str) -> type[Layer]:
    name = section.name.removeprefix("[").removesuffix("]")
    if section.name == f"[{name}]" and name in SECTIONS:
        return SECTIONS[name]
    place = f"{file}:{section.number}: {shown(section.name)} (layer {index})"
    if section.name == f"[{name}]" and name in OUT_OF_SCOPE:
        raise CfgError(f"{place} is out of scope: {OUT_OF_SCOPE[name]}")
    if name in Net.NAMES:
        raise CfgError(f"{place}: a second [net]; a cfg describes one network")
    hint = did_you_mean(f"[{name.lower()}]", [f"[{known}]" for known in SECTIONS])
    accepted = " ".join(f"[{kind.NAMES[0]}]" for kind in dict.fromkeys(SECTIONS.values()))
    raise CfgError(
        f"{place} is no section that darknet's detectors know{_inline(name)}; {hint}{' ' * bool(hint)}"
        f"Accepted, spelled so: {accepted}"
    )


def _typed(
    raw: _RawSection,
    kind: type[_S],
    file: str,
    notes: list[str],
    unknown: dict[tuple[str, str], list[int]],
    index: int | None = None,
) -> _S:
    """A raw section as its dataclass: the first of equal keys counts, unknown keys go to `unknown`."""
    fields = {_spelled(f.name): f for f in kind.fields()}
    values: dict[str, Any] = {}
    seen: dict[str, int] = {}
    strangers: list[tuple[str, str]] = []
    layer = "" if index is None else f" (layer {index})"
    for key, text, number in raw.lines:
        place = f"{file}:{number}: [{kind.NAMES[0]}]{layer}"
        if key in seen:
            notes.append(
                f"{place} {shown(f'{key}={text}')} is ignored: the first {shown(key)}, line {seen[key]}, counts"
            )
            continue
        seen[key] = number
        if key not in fields:
            unknown.setdefault((kind.NAMES[0], key[:60]), []).append(number)
        if key not in fields or not text:
            strangers.append((key, text))
        else:
            try:
                values[fields[key].name] = fields[key].metadata["parse"](text)
            except ValueError as problem:
                raise CfgError(f"{place} {key}={shown(text)}: {problem}{_inline(text)}") from None
    source = CfgPlace(raw.number, tuple(seen.items()), tuple(strangers))
    try:
        return kind(source=source, **values)
    except SectionError as problem:
        number = seen.get(problem.key, raw.number)
        raise CfgError(f"{file}:{number}: [{kind.NAMES[0]}]{layer} {problem}") from None


def _inline(text: str) -> str:
    return "; a comment needs a line of its own" if "#" in text or ";" in text else ""


def _spelled(field_name: str) -> str:
    """`from` is a word of Python's, hence the field `from_`."""
    return field_name.rstrip("_")


def _section_text(section: Section) -> str:
    """Keys that were given with a value, known or not, in their order, then others that differ from the default."""
    fields = {_spelled(f.name): f for f in section.fields()}
    strangers = dict(section.source.unknown)
    given = dict.fromkeys(key for key, _ in section.source.keys if strangers.get(key) != "")
    changed = [key for key, f in fields.items() if key not in given and getattr(section, f.name) != f.default]
    values = [
        (key, _value_text(getattr(section, fields[key].name)) if key in fields else strangers[key])
        for key in (*given, *changed)
    ]
    return "\n".join([f"[{section.name}]", *(f"{key}={text}" for key, text in values if text)]) + "\n"


def _value_text(value: object) -> str:
    return ",".join(map(_value_text, value)) if isinstance(value, tuple) else str(value)


def with_classes(cfg: Cfg, classes: int) -> Cfg:
    """The cfg with so many classes: `classes` of every head, `filters` = A · (5 + C) of the convolution before it.

    All else stays, so `to_text()` differs in those lines only, and going back gives the first text again.

    Raises:
        ValueError: fewer than one class, or a cfg without heads.
        CfgError: a head whose layer before is no convolution, with file and line.
    """
    if classes < 1:
        raise ValueError(f"{classes} classes; a detector needs at least 1: does the data set have labels?")
    if not cfg.heads:
        raise ValueError(f"{cfg.file}: no [yolo] or [region] section, so there is no number of classes to change")
    layers = list(cfg.layers)
    for index in cfg.heads:
        head = layers[index]
        assert isinstance(head, (Yolo, Region))
        filters = len(head.pairs) * (5 + classes)
        layers[index - 1] = replace(_convolution_before(cfg, index), filters=filters)
        layers[index] = replace(head, classes=classes)
    return replace(cfg, layers=tuple(layers))


def _convolution_before(cfg: Cfg, index: int) -> Convolutional:
    """The layer that computes the predictions of the head at `index`."""
    before: Layer | None = cfg.layers[index - 1] if index else None
    if isinstance(before, Convolutional):
        return before
    got = f"the layer before is [{before.name}], line {before.source.line}" if before else "no layer stands before it"
    raise cfg.error(
        index,
        f"{got}; the number of classes can be changed only where a [convolutional] section comes right before the "
        f"head: write classes and filters into the cfg yourself",
    )
