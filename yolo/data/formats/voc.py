"""Pascal VOC's format: folders of xml files and of images, and lists of the images of a split.

Pixels count from 1 and the last one belongs to the box: x1 = xmin - 1, x2 = xmax. Objects marked `difficult` become
crowds: like VOC's evaluation, ours counts them neither as found nor as missed, and the loss ignores them. The classes
are those of all xml files of all splits in alphabetical order, which is VOC's own.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from yolo.data.check import Rows
from yolo.data.formats.voc_xml import Element, box_of, is_difficult, objects_of, parse, size_of, text_of
from yolo.data.index import Index
from yolo.data.part import Part, Place
from yolo.data.paths import Tails, components, files_below
from yolo.files.reading import first_line
from yolo.files.text import lines_of, read_text
from yolo.images.files import IMAGE_SUFFIXES
from yolo.names import matched

Documents = dict[str, Element | str]
"""The xml files of a folder by their paths without ending, each parsed, or what is wrong with it."""


def read(part: Part, names: Sequence[str] | None, *, skip_faults: bool) -> Index:
    """Return the images and objects of a split. Raises ValueError for faults and for a class that `names` lacks."""
    # All xml files are parsed, whatever the split, since the classes are those of all of them.
    documents = {folder: _documents(folder) for folder in part.every}
    trees = (document for found in documents.values() for document in found.values())
    own = sorted({text_of(element, "name") for document in trees for element in objects_of(document)} - {""})
    used, table = matched(own, names, ", ".join(map(str, part.every)))
    label_of = dict(zip(own, table, strict=True))
    rows = Rows()
    for place in part.places:
        assert place.labels is not None, "a place of this format has a folder of xml files"
        _add_images(rows, place, documents[place.labels], label_of)
    index = rows.index(part.source, used, skip_faults=skip_faults)
    return replace(index, notes=[*part.notes, *_without_xml(part, index), *index.notes])


def _without_xml(part: Part, index: Index) -> list[str]:
    """Return a note on images that no xml file and no list means. Masks have the names of other images."""
    if any(place.listing for place in part.places):
        return []
    known = {os.path.splitext(os.fsdecode(path))[0] for path in index.paths.tolist()}
    images = [
        str(place.images[0] / name) for place in part.places for name in files_below(place.images[0], IMAGE_SUFFIXES)
    ]
    left = [image for image in images if os.path.splitext(image)[0] not in known]
    count = f"{len(left):,} of {len(images):,} images have no xml file"
    return [f"{part.source}: {count}, such as {left[0]}; they are not used"] if left and not index.faults else []


def _documents(folder: Path) -> Documents:
    found: Documents = {}
    for name in files_below(folder, (".xml",)):
        try:
            found[os.path.splitext(name)[0]] = parse(folder / name)
        except ValueError as problem:
            found[os.path.splitext(name)[0]] = str(problem)
    return found


def _add_images(rows: Rows, place: Place, documents: Documents, label_of: dict[str, int]) -> None:
    """Add the images of a place with their objects."""
    assert place.labels is not None
    pictures = Pictures(place.images[0], documents)
    for stem in documents if place.listing is None else _listed(place.listing, documents):
        file = place.labels / f"{stem}.xml"
        document = documents.get(stem, f"{place.listing}: {stem}: there is no {file}")
        path, fault = pictures.find(stem, document)
        rows.add_image(str(path), (0, 0) if isinstance(document, str) else size_of(document))
        if isinstance(document, str) or fault:
            rows.add_fault(document if isinstance(document, str) else f"{file}: {fault}")
            continue
        for element in objects_of(document):
            try:
                box, name = box_of(element), text_of(element, "name")
                if not name:
                    raise ValueError(f"{element.line}: an object without a name; expected the name of its class")
            except ValueError as problem:
                rows.add_fault(f"{file}:{problem}")
            else:
                rows.add_object(f"{file}:{element.line}", label_of[name], box, is_difficult(element))


class Pictures:
    """The images of a folder, found by what an xml file says and by its own name."""

    def __init__(self, folder: Path, documents: Documents) -> None:
        self.folder = folder
        files = list(files_below(folder, IMAGE_SUFFIXES))
        self._there = set(files)
        self._tails = Tails(files)
        self._of_stem: defaultdict[str, list[str]] = defaultdict(list)
        for file in files:
            self._of_stem[os.path.splitext(file)[0]].append(file)
        self._stems = Tails(self._of_stem)
        # Images of one name, in two folders, of which no xml file means the second: it would be dropped.
        names = Counter(map(os.path.basename, files))
        twice = {file for file in files if names[os.path.basename(file)] > 1}
        if twice:
            found = (self._found(stem, document) for stem, document in documents.items())
            twice -= {files[0] for files in found if len(files) == 1}
        self._spare = {os.path.basename(file): file for file in twice}

    def find(self, stem: str, document: Element | str) -> tuple[Path, str]:
        """Return the image of an xml file, and what is wrong; empty if nothing is.

        `stem` is the path of the xml file without ending. Its <filename> wins where there is such a file: beside its
        own place first, then by the end of the path.
        """
        found = self._found(stem, document)
        spare = self._spare.get(os.path.basename(found[0])) if found else None
        both = [*found, spare] if spare is not None and spare not in found else found
        if len(both) > 1:
            paths = " and ".join(str(self.folder / file) for file in both[:3])
            return self.folder / found[0], f"its image may be {paths}; remove or rename the one that is not meant"
        return self.folder / (found[0] if found else f"{stem}.jpg"), ""

    def _found(self, stem: str, document: Element | str) -> list[str]:
        written = "" if isinstance(document, str) else text_of(document, "filename")
        names = components(written)
        beside = os.path.join(os.path.dirname(stem), names[-1]) if names else ""
        if beside in self._there:
            return [beside]
        if named := self._tails.find(written):
            return named
        same = [stem] if stem in self._of_stem else self._stems.find(stem)
        found = [file for key in same for file in self._of_stem[key]]
        # Of several with one stem, a mask is the png file beside the JPEG image.
        photos = [file for file in found if file.lower().endswith((".jpg", ".jpeg"))]
        return photos if len(same) == 1 and photos else found


def _listed(listing: Path, documents: Documents) -> list[str]:
    """Return the paths without ending that a list means: names with blanks, with ending or with folders."""
    tails = Tails(documents)
    found = []
    for line in lines_of(read_text(listing)):
        name = line.strip().strip("\"'")
        stem, ending = os.path.splitext(name)
        if name and name not in documents:
            candidates = [stem, name] if ending.lower() in (*IMAGE_SUFFIXES, ".xml") else [name]
            exact = [text for text in candidates if text in documents]
            near = exact or next(filter(None, map(tails.find, candidates)), [])
            if len(near) > 1:
                raise ValueError(f"{listing}: {name} may be {' or '.join(near)}; write the folder in front of the name")
            name = near[0] if near else candidates[0]
        found += [name] if name else []
    return found


def is_of_one_class(file: Path, labels: Path) -> bool:
    """Return whether a list is of one class, as `cat_train.txt`: a second column says which images hold a cat."""
    first = first_line(file).decode("utf-8-sig", errors="replace")
    return bool(re.fullmatch(r"\S+\s+(-1|0|1)", first)) and not (labels / f"{first}.xml").is_file()
