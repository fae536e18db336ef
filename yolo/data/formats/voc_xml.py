"""Pascal VOC's xml files, element by element. No torch.

Tags are compared in lower case. Only the children of the root are objects, so parts of objects (`<part>`) are not.
Pixels count from 1 and the last one belongs to the box: x1 = xmin - 1, x2 = xmax.
"""

from __future__ import annotations

import codecs
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from yolo.files.reading import read_bytes, reading
from yolo.files.text import decoded

DECLARED = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")

LARGEST = 2**23
"""Bytes of an xml file at most; one of ten thousand objects has 3 MB."""

LARGER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "iso8859-1": "cp1252"}
"""Encodings that include others: files declare the smaller one and hold letters of the larger one."""


@dataclass(slots=True)
class Element:
    """An xml element with the line where it begins."""

    tag: str
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, *tags: str) -> Element | None:
        """Return the first element on this path of tags, or None."""
        if not tags:
            return self
        below = next((child for child in self.children if child.tag == tags[0]), None)
        return below and below.find(*tags[1:])


def parse(file: Path) -> Element:
    """Return the root element of an xml file.

    Raises ValueError with the line for what is not xml or not of VOC's format, with the encoding that does not fit, and
    for entities of its own, which could be anything and of any length. The predefined ones (`&amp;`) are read.
    """
    with reading(file, "an xml file of Pascal VOC's format"):
        return _parse(file, read_bytes(file, LARGEST))


def _parse(file: Path, data: bytes) -> Element:
    """Return the root element; see `parse`."""
    declared = DECLARED.match(data)
    content = decoded(data, file, _codec(declared[1].decode()) if declared else "")
    # The parser reports tags and text in the order of the file; the stack is the path to the present element.
    top = Element("", 0)
    stack: list[tuple[Element, list[str]]] = [(top, [])]
    parser = expat.ParserCreate("utf-8")  # whatever the file declares: it was decoded above
    parser.buffer_text = True

    def start(tag: str, _attributes: dict[str, str]) -> None:
        stack.append((Element(tag.lower(), parser.CurrentLineNumber), []))
        stack[-2][0].children.append(stack[-1][0])

    def end(_tag: str) -> None:
        element, texts = stack.pop()
        element.text = "".join(texts)

    def refuse(name: str | None, *_: object) -> NoReturn:
        raise ValueError(f"{file}:{parser.CurrentLineNumber}: the entity {name}: expected its text in place of it")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = lambda text: stack[-1][1].append(text)
    parser.EntityDeclHandler = parser.SkippedEntityHandler = parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(content.encode(), True)
    except expat.ExpatError as problem:
        raise ValueError(f"{file}:{problem.lineno}: not xml: {expat.errors.messages[problem.code]}") from problem
    root = top.children[0]
    if root.tag != "annotation" and not any(map(root.find, ("object", "size", "filename"))):
        raise ValueError(f"{file}:{root.line}: <{root.tag}>: expected an <annotation> of Pascal VOC's format")
    return root


def _codec(name: str) -> str:
    """Return the encoding to try for a declared one; the name itself where it is unknown."""
    try:
        return LARGER.get(codecs.lookup(name).name, name)
    except LookupError:
        return name


def objects_of(document: Element | str) -> list[Element]:
    """Return the objects of a document; none of a text, which is the fault of a document that cannot be read."""
    return [] if isinstance(document, str) else [child for child in document.children if child.tag == "object"]


def text_of(element: Element, *tags: str) -> str:
    """Return the text on this path down the tags; empty if there is none."""
    below = element.find(*tags)
    return below.text.strip() if below else ""


def filename_of(document: Element) -> str:
    """Return the name of the image as the file says; empty where it does not."""
    return text_of(document, "filename")


def size_of(document: Element) -> tuple[int, int]:
    """Return width and height in pixels as the file says; 0 where it does not, or not as a number."""
    w, h = (re.fullmatch(r"([0-9]{1,9})(?:\.0*)?", text_of(document, "size", side)) for side in ("width", "height"))
    return (int(w[1]), int(h[1])) if w and h else (0, 0)


def is_difficult(element: Element) -> bool:
    """Return whether an object is marked `difficult`; not where the mark is missing or `Unspecified`."""
    return text_of(element, "difficult").lower() in ("1", "true")


def box_of(element: Element) -> tuple[float, float, float, float]:
    """Return an object's box, xyxy from 0. Raises ValueError, beginning with the line, for an invalid one."""
    # Four finite numbers; a missing one is named by the nearest line above it.
    values = []
    for corner in ("xmin", "ymin", "xmax", "ymax"):
        text = text_of(element, "bndbox", corner)
        try:
            values.append(float(text))
        except ValueError:
            values.append(math.nan)
        if not math.isfinite(values[-1]):
            line = (element.find("bndbox", corner) or element.find("bndbox") or element).line
            raise ValueError(f"{line}: {corner} {text!r}: expected a number of pixels")
    # Pixels that count from 1 and include the last one become edges that count from 0.
    x1, y1, x2, y2 = values
    if x2 < x1 or y2 < y1:
        line = (element.find("bndbox") or element).line
        raise ValueError(f"{line}: box ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}): the size is negative")
    return x1 - 1, y1 - 1, x2, y2
