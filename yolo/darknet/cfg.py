"""Darknet `.cfg` text <-> frozen typed sections. No torch.

The grammar is darknet's. Blanks are removed wherever they are. A line is a `[section]`, a `key=value`, or a comment
with `#` or `;` in front. The first of several equal keys counts, and section names are exact. A byte-order mark and
CRLF are accepted. Darknet accepts some values that it should not (`filters=abc` is 0, an unknown activation is ReLU).
Here such a value is an error with file, line, section, key, the value, and what was expected. Unknown keys are kept and
reported, once each.
"""

from __future__ import annotations

import codecs
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from yolo.darknet.keys import CfgPlace, Section, SectionError, shown
from yolo.darknet.net import Net
from yolo.darknet.sections import KINDS, OUT_OF_SCOPE, SECTIONS, Convolutional, HeadSection, Layer
from yolo.files.reading import read_bytes
from yolo.names import did_you_mean
from yolo.options.shipped import shipped

log = logging.getLogger("yolo")

LONGEST = 16_000_000
"""Bytes of a cfg at most; the largest that is used has 20,000."""

_BLANKS = str.maketrans("", "", " \t\r\n")

_S = TypeVar("_S", bound=Section)


class CfgError(ValueError):
    """A cfg that cannot be read or built: `file:line: [section] the value, what was expected`."""


@dataclass(frozen=True)
class Cfg:
    """A network description: `[net]` and the layer sections; index 0 is the first one after `[net]`.

    `notes` are remarks of the reader (unknown keys, repeated keys), one sentence each.
    """

    net: Net
    layers: tuple[Layer, ...]
    file: str = field(default="<cfg>", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def heads(self) -> tuple[int, ...]:
        """Indices of the `[yolo]` and `[region]` sections."""
        return tuple(k for k, layer in enumerate(self.layers) if isinstance(layer, HeadSection))

    def error(self, index: int, problem: str, key: str = "") -> CfgError:
        """Return an error for the caller to raise: at layer `index` (-1: `[net]`), at the line of `key` if given."""
        section: Section = self.layers[index] if index >= 0 else self.net
        line = dict(section.source.keys).get(key, section.source.line)
        return CfgError(f"{_place(self.file, line, section.name, index)} {problem}")

    def to_text(self) -> str:
        """Return the cfg as text, which parses to an equal `Cfg`. Keys keep their order, comments are not kept."""
        return "\n".join(_section_text(section) for section in (self.net, *self.layers))


def _place(file: str, line: int, section: str, index: int) -> str:
    """Return the beginning of a message about layer `index`, -1 for `[net]`."""
    layer = f" (layer {index})" if index >= 0 else ""
    return f"{file}:{line}: [{section}]{layer}"


def read_cfg(path: str | Path, *, quiet: bool = False) -> Cfg:
    """Read a `.cfg` file. A bare name such as `yolov3.cfg` is also searched among the shipped ones.

    Remarks (unknown keys, repeated keys) are logged unless `quiet`. Raises FileNotFoundError, or CfgError, a
    ValueError.
    """
    data = read_bytes(_find(Path(path)), LONGEST).removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:  # comments in another encoding
        text = data.decode("latin-1")
    cfg = parse_cfg(text, str(path))
    for note in () if quiet else cfg.notes:
        log.warning("%s", note)
    return cfg


def _find(path: Path) -> Path:
    """Return the path itself, or that of the shipped cfg of this name."""
    if path.is_file():
        return path
    known = {file.name: file for file in shipped("*.cfg")}
    if path.name in known and path.parent in (Path(), Path("config")):
        return known[path.name]
    if path.is_dir():
        raise ValueError(f"{path}: a folder; expected a darknet .cfg file")
    raise FileNotFoundError(f"{path}: no such file; give the path of a darknet .cfg or one of {', '.join(known)}")


def parse_cfg(text: str, file: str = "<cfg>") -> Cfg:
    """Return the text of a `.cfg` as a `Cfg`; `file` is the name in messages. Raises CfgError."""
    reader = _Reader(file)
    raw = reader.split(text)
    net = reader.typed(raw[0], Net, -1)
    layers = tuple(reader.typed(one, reader.kind(one, index), index) for index, one in enumerate(raw[1:]))
    reader.note_unknown()
    return Cfg(net, layers, file, tuple(reader.notes))


class _RawSection(NamedTuple):
    """A section's name with brackets, its line, and (key, value, line) of what follows."""

    name: str
    number: int
    lines: list[tuple[str, str, int]]


class _Reader:
    """The steps from text to typed sections, and the remarks that they collect."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.notes: list[str] = []
        self.unknown: dict[tuple[str, str], list[int]] = {}  # (section, key): its lines

    def split(self, text: str) -> list[_RawSection]:
        """Split text into sections of key, value and line, the first being `[net]`."""
        sections: list[_RawSection] = []
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
            line = line.translate(_BLANKS)
            if not line or line[0] in "#;":
                continue
            if line[0] == "[":
                sections.append(_RawSection(line, number, []))
                continue
            if not sections:
                raise CfgError(f"{self.file}:{number}: {shown(line)} is before the first section; start with [net]")
            # A key without '=' hides later ones, as in darknet; a key with '=' and nothing after it does not.
            key, equals, value = line.partition("=")
            if not equals:
                self.notes.append(f"{self.file}:{number}: {shown(key)} has no value (no '='), the default is used")
            elif not value:
                self.notes.append(f"{self.file}:{number}: {shown(key)}= has no value, the line is ignored")
            if value or not equals:
                sections[-1].lines.append((key, value, number))
        if not sections or sections[0].name not in ("[net]", "[network]"):
            got = f"{sections[0].number}: {shown(sections[0].name)}" if sections else "1: no section at all"
            raise CfgError(f"{self.file}:{got}; the first section of a cfg is [net]")
        return sections

    def kind(self, section: _RawSection, index: int) -> type[Layer]:
        """Return the class of a layer section; its name must be spelled exactly."""
        name = section.name.removeprefix("[").removesuffix("]")
        exact = section.name == f"[{name}]"
        if exact and name in SECTIONS:
            return SECTIONS[name]
        place = f"{self.file}:{section.number}: {shown(section.name)} (layer {index})"
        if exact and name in OUT_OF_SCOPE:
            raise CfgError(f"{place} is out of scope: {OUT_OF_SCOPE[name]}")
        if name in Net.NAMES:
            raise CfgError(f"{place}: a second [net]; a cfg describes one network")
        hint = did_you_mean(f"[{name.lower()}]", [f"[{known}]" for known in SECTIONS])
        accepted = " ".join(f"[{kind.NAMES[0]}]" for kind in KINDS)
        problem = f"is not a section of darknet's detectors{_inline(name)}{f'; {hint}' if hint else '.'}"
        raise CfgError(f"{place} {problem} Accepted, in this spelling: {accepted}")

    def typed(self, raw: _RawSection, kind: type[_S], index: int) -> _S:
        """Return a raw section as its dataclass. The first of equal keys counts, unknown keys are kept."""
        fields = {_spelled(f.name): f for f in kind.fields()}
        values: dict[str, Any] = {}
        seen: dict[str, int] = {}
        kept: list[tuple[str, str]] = []  # keys without effect
        for key, text, number in raw.lines:
            place = _place(self.file, number, kind.NAMES[0], index)
            if key in seen:
                ignored, first = shown(f"{key}={text}"), shown(key)
                self.notes.append(f"{place} {ignored} is ignored: the first {first}, line {seen[key]}, counts")
                continue
            seen[key] = number
            if key not in fields:
                self.unknown.setdefault((kind.NAMES[0], key[:60]), []).append(number)
            if key not in fields or not text:
                kept.append((key, text))
                continue
            try:
                values[fields[key].name] = fields[key].metadata["parse"](text)
            except ValueError as problem:
                message = f"{place} {key}={shown(text)}: {problem}{_inline(text)}"
                if "training" not in fields[key].metadata:
                    raise CfgError(message) from None
                self.notes.append(f"{message}. Only training reads it, so the default is used")
                kept.append((key, text))
        # The dataclass checks what no key can check alone.
        try:
            section = kind(source=CfgPlace(raw.number, tuple(seen.items()), tuple(kept)), **values)
        except SectionError as problem:
            line = seen.get(problem.key, raw.number)
            raise CfgError(f"{_place(self.file, line, kind.NAMES[0], index)} {problem}") from None
        for key, remark in section.remarks():
            self.notes.append(f"{_place(self.file, seen.get(key, raw.number), kind.NAMES[0], index)} {remark}")
        return section

    def note_unknown(self) -> None:
        """Report every unknown key once, with its first eight lines and the known key most like it."""
        for (name, key), numbers in self.unknown.items():
            lines = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
            kind = Net if name in Net.NAMES else SECTIONS[name]
            problem = f"unknown key without effect (line {lines})"
            hint = did_you_mean(key, (_spelled(f.name) for f in kind.fields()))
            self.notes.append("; ".join(filter(None, (f"{self.file}: [{name}] {shown(key)}: {problem}", hint))))


def _inline(text: str) -> str:
    return "; a comment needs a line of its own" if "#" in text or ";" in text else ""


def _spelled(field_name: str) -> str:
    """Return the key of a field: `from` is a keyword of Python, hence the field `from_`."""
    return field_name.rstrip("_")


def _section_text(section: Section) -> str:
    """Return all keys that were given with a value, in order, then others that differ from the default."""
    fields = {_spelled(f.name): f for f in section.fields()}
    unknown = dict(section.source.unknown)
    given = dict.fromkeys(key for key, _ in section.source.keys if unknown.get(key) != "")
    changed = [key for key, f in fields.items() if key not in given and getattr(section, f.name) != f.default]
    values = [
        (key, _value_text(getattr(section, fields[key].name)) if key in fields else unknown[key])
        for key in (*given, *changed)
    ]
    return "\n".join([f"[{section.name}]", *(f"{key}={text}" for key, text in values if text)]) + "\n"


def _value_text(value: object) -> str:
    return ",".join(map(_value_text, value)) if isinstance(value, tuple) else str(value)


def with_classes(cfg: Cfg, classes: int) -> Cfg:
    """Return the cfg for n classes: `classes` of every head, `filters` = A · (5 + C) of the convolution before it.

    All else stays, so `to_text()` differs in those lines only, and the inverse gives the first text again.

    Raises:
        ValueError: fewer than one class, or a cfg without heads.
        CfgError: a head whose layer before is not a convolution, with file and line.
    """
    if classes < 1:
        raise ValueError(f"{classes} classes; a detector needs at least 1: does the data set have labels?")
    if not cfg.heads:
        raise ValueError(f"{cfg.file}: no [yolo] or [region] section, so there is no number of classes to change")
    for index in cfg.heads:
        head = cfg.layers[index]
        assert isinstance(head, HeadSection)
        cfg = with_head(cfg, index, replace(head, classes=classes))
    return cfg


def with_head(cfg: Cfg, index: int, head: HeadSection) -> Cfg:
    """Return the cfg with another head section as layer `index`, and `filters` for it in the convolution before it.

    Raises CfgError, with file and line, if the layer before is not a convolution.
    """
    before = cfg.layers[index - 1]
    if index == 0 or not isinstance(before, Convolutional):
        got = f"the layer before is [{before.name}], line {before.source.line}" if index else "no layer is before it"
        raise cfg.error(
            index,
            f"{got}; the number of classes or of anchors can be changed only if a [convolutional] section comes right "
            f"before the head: write classes, anchors and filters into the cfg yourself",
        )
    layers = list(cfg.layers)
    layers[index - 1 : index + 1] = replace(before, filters=head.filters(head.classes)), head
    return replace(cfg, layers=tuple(layers))
