"""Pascal VOC's format: `Annotations/*.xml`, `ImageSets/Main/SPLIT.txt`, `JPEGImages/`.

Pixels count from 1 and the last one belongs to the box: x1 = xmin - 1, x2 = xmax. Objects marked `difficult` become
crowds: like VOC's evaluation, ours counts them neither as found nor as missed, and the loss ignores them. Without
ImageSets there is one split, `all`. The classes are those of all xml files in alphabetical order, which is VOC's own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from yolo.data.check import Rows
from yolo.data.formats.voc_xml import Element, box_of, is_difficult, objects_of, parse, size_of, text_of
from yolo.data.index import Index
from yolo.names import matched

ALL = "all"


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
    own = sorted(
        {text_of(element, "name") for document in documents.values() for element in objects_of(document)} - {""}
    )
    used, table = matched(own, names, str(root / "Annotations"))
    label_of = dict(zip(own, table, strict=True))
    # The images of the split with their objects.
    rows, source = Rows(), listing or root
    for stem in stems:
        file = root / "Annotations" / f"{stem}.xml"
        document = documents.get(stem, f"{source}: {stem}: there is no {file}")
        if isinstance(document, str):
            rows.add_image(str(root / "JPEGImages" / images.get(stem, f"{stem}.jpg")))
            rows.add_fault(document)
            continue
        rows.add_image(str(root / "JPEGImages" / images.get(stem, f"{stem}.jpg")), size_of(document))
        for element in objects_of(document):
            try:
                box, name = box_of(element), text_of(element, "name")
                if not name:
                    raise ValueError(f"{element.line}: an object without a name; expected the name of its class")
            except ValueError as problem:
                rows.add_fault(f"{file}:{problem}")
            else:
                rows.add_object(f"{file}:{element.line}", label_of[name], box, is_difficult(element))
    return rows.index(source, used, skip_faults=skip_faults)


def _is_of_one_class(file: Path) -> bool:
    """Return whether a list is of one class, as `cat_train.txt`: a second column says which images hold a cat."""
    with file.open(encoding="utf-8-sig") as lines:
        return len(next(lines, "").split()) > 1
