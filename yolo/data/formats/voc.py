"""Pascal VOC's format: `Annotations/*.xml`, `ImageSets/Main/SPLIT.txt`, `JPEGImages/`.

Pixels count from 1 and the last one belongs to the box: x1 = xmin - 1, x2 = xmax. Objects marked `difficult` become
crowds: like VOC's evaluation, ours counts them neither as found nor as missed, and the loss ignores them. Without
ImageSets there is one split, `all`. The classes are those of all xml files in alphabetical order, which is VOC's own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from yolo.data.index import Index, Rows
from yolo.names import matched

ALL = "all"


@dataclass
class Element:
    """An xml element with the line where it begins."""

    tag: str
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, *tags: str) -> Element | None:
        """Return the first element on this path down the tags; None if there is none."""
        if not tags:
            return self
        below = next((child for child in self.children if child.tag == tags[0]), None)
        return below and below.find(*tags[1:])


def splits(path: Path) -> dict[str, tuple[Path, Path | None]]:
    """Return the data's folder and the list of stems of each split; empty where `path` is not of this format."""
    if not any((path / "Annotations").glob("*.xml")):
        return {}
    lists = sorted((path / "ImageSets" / "Main").glob("*.txt"))
    found: dict[str, tuple[Path, Path | None]] = {
        file.stem: (path, file) for file in lists if not _is_of_one_class(file)
    }
    return found or {ALL: (path, None)}


def read(split: tuple[Path, Path | None], names: Sequence[str] | None, *, skip_faults: bool) -> Index:
    """Return the images and objects of a split. Raises ValueError for faults and for a class that `names` lacks."""
    # All xml files are parsed, whatever the split, since the classes are those of all of them.
    root, listing = split
    images = {Path(name).stem: name for name in sorted(os.listdir(root / "JPEGImages"))}
    documents: dict[str, Element | str] = {}
    for file in sorted((root / "Annotations").glob("*.xml")):
        try:
            documents[file.stem] = parse(file)
        except ValueError as problem:
            documents[file.stem] = str(problem)
    stems = list(documents) if listing is None else listing.read_text(encoding="utf-8-sig").split()
    own = sorted({_text(element, "name") for document in documents.values() for element in _objects(document)} - {""})
    used, table = matched(own, names, str(root / "Annotations"))
    label_of = dict(zip(own, table, strict=True))
    # The images of the split with their objects.
    rows, source = Rows(), listing or root
    for stem in stems:
        file = root / "Annotations" / f"{stem}.xml"
        document = documents.get(stem, f"{source}: {stem}: there is no {file}")
        if isinstance(document, str):
            rows.faults.append(document)
            continue
        rows.add_image(str(root / "JPEGImages" / images.get(stem, f"{stem}.jpg")), _size(document))
        for element in _objects(document):
            try:
                box, name = _box(element), _text(element, "name")
                if not name:
                    raise ValueError(f"{element.line}: an object without a name; expected the name of its class")
            except ValueError as problem:
                rows.faults.append(f"{file}:{problem}")
            else:
                rows.add_object(f"{file}:{element.line}", label_of[name], box, _text(element, "difficult") == "1")
    return rows.index(source, used, skip_faults=skip_faults)


def parse(file: Path) -> Element:
    """Return the root element of an xml file. Raises ValueError with the line for what is not xml."""
    # The parser reports tags and text in the order of the file; the stack is the path to the present element.
    top = Element("", 0)
    stack = [top]
    parser = expat.ParserCreate()

    def start(tag: str, _attributes: dict[str, str]) -> None:
        stack[-1].children.append(Element(tag, parser.CurrentLineNumber))
        stack.append(stack[-1].children[-1])

    def text(data: str) -> None:
        stack[-1].text += data

    parser.StartElementHandler, parser.CharacterDataHandler = start, text
    parser.EndElementHandler = lambda _tag: stack.pop()
    try:
        parser.Parse(file.read_bytes(), True)
    except expat.ExpatError as problem:
        raise ValueError(f"{file}:{problem.lineno}: not xml: {expat.errors.messages[problem.code]}") from problem
    return top.children[0]


def _is_of_one_class(file: Path) -> bool:
    """Return whether a list is of one class, as `cat_train.txt`: a second column says which images hold a cat."""
    with file.open(encoding="utf-8-sig") as lines:
        return len(next(lines, "").split()) > 1


def _objects(document: Element | str) -> list[Element]:
    return [] if isinstance(document, str) else [child for child in document.children if child.tag == "object"]


def _text(element: Element, *tags: str) -> str:
    """Return the text on this path down the tags; empty if there is none."""
    below = element.find(*tags)
    return below.text.strip() if below else ""


def _size(document: Element) -> tuple[int, int]:
    """Return width and height in pixels as the file says; 0 where it does not."""
    w, h = (_text(document, "size", side) for side in ("width", "height"))
    return (int(w), int(h)) if w.isdecimal() and h.isdecimal() else (0, 0)


def _box(element: Element) -> tuple[float, float, float, float]:
    """Return an object's box, xyxy from 0. Raises ValueError, beginning with the line, for an invalid one."""
    # Four finite numbers; a missing one is named by the nearest line above it.
    values = []
    for corner in ("xmin", "ymin", "xmax", "ymax"):
        text = _text(element, "bndbox", corner)
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
