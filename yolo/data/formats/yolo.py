"""The format of darknet and YOLO: an image's objects are the lines `class cx cy w h` of a text file.

The four numbers are fractions of the image. An image without label file is an image without objects. The labels of
`images/a/b.jpg` are `labels/a/b.txt`; where there is no such folder, the text file is beside the image.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from yolo.data.check import Rows
from yolo.data.elsewhere import no_labels
from yolo.data.formats.yolo_text import add_labels, read_text
from yolo.data.index import Fault, Index
from yolo.data.part import Part
from yolo.data.paths import files_below, listed, locate
from yolo.data.turned import image_size
from yolo.files.reading import first_line
from yolo.files.text import lines_of
from yolo.images.files import IMAGE_SUFFIXES
from yolo.names import agreed

IMAGE_FOLDERS = ("images", "jpegimages")


def read(part: Part, names: Sequence[str] | None, *, skip_faults: bool) -> Index:
    """Return the images and objects of a split.

    Raises ValueError for faults, for other class names than those beside the data, and if all labels are elsewhere.
    """
    used = agreed(part.names, names, str(part.source))
    rows = Rows(fractions=True)
    images, notes = _images(part, rows.faults)
    labels = Labels()
    for path in dict.fromkeys(images):
        # Fractions of the image need its size, so images without objects are not opened.
        file, size, text, fault = labels.of(path), (0, 0), "", ""
        try:
            text = read_text(file) if file else ""
            if text.strip() and os.path.isfile(path):
                size = image_size(path)
        except ValueError as problem:
            fault = str(problem)
        rows.add_image(path, size)
        if fault:
            rows.add_fault(fault)
        elif file:
            add_labels(rows, file, text, used, size)
    if images and not labels.used:
        text, elsewhere = no_labels(part, images, label_folder(Path(images[0]).parent))
        if elsewhere and not part.allow_empty:
            raise ValueError(text)
        notes.append(text)
    rows.faults += _orphans(part, labels)
    index = rows.index(part.source, used, skip_faults=skip_faults)
    return replace(_repeated(index, images), notes=[*part.notes, *notes, *index.notes])


def _repeated(index: Index, images: Sequence[str]) -> Index:
    """Return the index with an image as often as a list has it; a repeated one gets an id of its own."""
    if len(set(images)) == len(images):
        return index
    place = {os.fsdecode(path): k for k, path in enumerate(index.paths.tolist())}
    found = index.with_images([place[path] for path in images if path in place])
    return replace(found, image_ids=np.arange(1, len(found) + 1))


class Labels:
    """The label files of images, found by reading every folder once."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self._folders: dict[str, tuple[str, set[str]]] = {}

    def of(self, image: str) -> Path | None:
        """Return the label file of an image; None if it has none."""
        folder, name = os.path.split(image)
        if folder not in self._folders:
            self._folders[folder] = (where := str(label_folder(Path(folder)))), set(_texts(where))
        where, names = self._folders[folder]
        text = f"{os.path.splitext(name)[0]}.txt"
        if text not in names:
            return None
        self.used.add(os.path.join(where, text))
        return Path(where, text)


def label_folder(images: Path) -> Path:
    """Return the folder of the label files of images: `labels` in place of `images`, else the folder itself."""
    parts = images.parts
    for k in reversed(range(len(parts))):
        if parts[k].casefold() in IMAGE_FOLDERS:
            above = Path(*parts[:k])
            same = sorted(entry.name for entry in listed(above) if entry.name.casefold() == "labels")
            folder = Path(above, (same or ["labels"])[0], *parts[k + 1 :])
            # Some tools write text files beside the images of a folder `images`.
            return folder if _texts(folder) or not _texts(images) else images
    return images


def has_labels(images: Path) -> bool:
    """Return whether one of the images in a folder or below has a label file."""
    labels = Labels()
    return any(labels.of(str(images / name)) for name in files_below(images, IMAGE_SUFFIXES))


def is_image_list(file: Path) -> bool:
    """Return whether a text file is a list of images, by its first line."""
    return os.path.splitext(os.fsdecode(first_line(file)))[1].lower() in IMAGE_SUFFIXES


def _texts(folder: str | Path) -> list[str]:
    """Return the names of the text files in a folder in any order."""
    return [entry.name for entry in listed(folder) if entry.name.endswith(".txt")]


def _images(part: Part, faults: list[Fault]) -> tuple[list[str], list[str]]:
    """Return the images of folders and lists, and what is worth saying about their paths.

    Images are in the order of the lists, in a folder in the order of their names, then those of its subfolders.
    """
    images: list[str] = []
    notes: list[str] = []
    for place in part.places:
        source = place.images[0]
        if os.path.isdir(source):
            images += [str(source / name) for name in files_below(source, IMAGE_SUFFIXES)]
        elif os.path.isfile(source):
            lines = (line.strip() for line in lines_of(read_text(source)))
            written = [line for line in lines if line]
            found, moved = locate(written, [source.parent, Path(), part.root], part.root, source, part.split)
            images, notes = images + found, notes + moved
        else:
            faults.append(Fault(f"{source}: no such folder and no list of images"))
    return images, notes


def _orphans(part: Part, labels: Labels) -> list[Fault]:
    """Return a fault for every label file that belongs to no image of the split's folders."""
    folders = dict.fromkeys(label_folder(place.images[0]) for place in part.places if os.path.isdir(place.images[0]))
    files = (folder / name for folder in folders for name in files_below(folder, (".txt",)))
    return [
        Fault(f"{file}: labels without an image; expected an image of that name in its folder")
        for file in files
        if str(file) not in labels.used and _is_label_file(file)
    ]


def _is_label_file(file: Path) -> bool:
    """Return whether a text file holds labels, by its first line: class names and read-me files do not."""
    words = first_line(file).split()
    try:
        return len([float(word) for word in words]) >= 5
    except ValueError:
        return False
