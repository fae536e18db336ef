"""The format of darknet and YOLO: an image's objects are the lines `class cx cy w h` of a text file.

The four numbers are fractions of the image. An image without label file is an image without objects. The labels of
`images/a/b.jpg` are `labels/a/b.txt`; without a folder `images` in its path, the text file is beside the image.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from yolo.data.check import Rows
from yolo.data.formats.described import Split, from_data, from_yaml
from yolo.data.formats.yolo_text import add_labels, read_text
from yolo.data.index import Fault, Index
from yolo.data.turned import image_size
from yolo.images.files import IMAGE_SUFFIXES
from yolo.names import agreed, read_names

ALL = "all"


def splits(path: Path) -> dict[str, Split]:
    """Return the splits by name; empty where `path` is not of this format. Raises ValueError for a bad description."""
    if path.suffix.lower() in (".yaml", ".yml"):
        return from_yaml(path)
    if path.suffix.lower() == ".data":
        return from_data(path)
    # A folder: its data.yaml if there is one, else its folders of images.
    described = path / "data.yaml"
    if described.is_file():
        return from_yaml(described)
    images = path / "images"
    if not images.is_dir() or not ((path / "labels").is_dir() or _names_file(path)):
        return {}
    file = _names_file(path)
    names = read_names(file) if file else None
    folders = sorted(folder for folder in images.iterdir() if folder.is_dir())
    found = {folder.name: Split(folder, (folder,), names) for folder in folders}
    return found or {ALL: Split(images, (images,), names)}


def _names_file(folder: Path) -> Path | None:
    return next((file for file in (folder / "classes.txt", *sorted(folder.glob("*.names"))) if file.is_file()), None)


def read(split: Split, names: Sequence[str] | None, *, skip_faults: bool) -> Index:
    """Return the images and objects of a split.

    Raises ValueError for faults, and for other class names than those beside the data.
    """
    used = agreed(split.names, names, str(split.source))
    rows = Rows(fractions=True)
    images, folders = _images(split.places, rows.faults)
    for path in images:
        # Fractions of the image need its size, so images without objects are not opened.
        labels, size, fault = label_file(path), (0, 0), ""
        text = ""
        try:
            text = read_text(labels)
            if text.strip() and path.is_file():
                size = image_size(str(path))
        except ValueError as problem:
            fault = str(problem)
        rows.add_image(str(path), size)
        if fault:
            rows.add_fault(fault)
        else:
            add_labels(rows, labels, text, used, size)
    rows.faults += _orphans(images, folders)
    return rows.index(split.source, used, skip_faults=skip_faults)


def label_file(image: Path) -> Path:
    """Return the text file with the labels of an image."""
    parts = list(image.parts)
    for folder in ("images", "JPEGImages"):
        if folder in parts[:-1]:
            last = len(parts) - 2 - parts[-2::-1].index(folder)
            return Path(*parts[:last], "labels", *parts[last + 1 :]).with_suffix(".txt")
    return image.with_suffix(".txt")


def _images(places: Sequence[Path], faults: list[Fault]) -> tuple[list[Path], set[Path]]:
    """Return the images of folders and lists, and the folders among `places`.

    Images are in the order of the lists, in a folder in the order of their names.
    """
    images: list[Path] = []
    folders = set()
    for place in places:
        if place.is_dir():
            images += sorted(path for path in place.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
            folders.add(place)
        elif place.is_file():
            images += _listed(place)
        else:
            faults.append(Fault(f"{place}: no such folder and no list of images"))
    return images, folders


def _listed(listing: Path) -> Iterator[Path]:
    """Yield the images of a list, one per line. Relative paths start at the list's folder, or at the current one."""
    for line in listing.read_text(encoding="utf-8-sig").splitlines():
        if line.strip():
            beside = listing.parent / line.strip()
            yield beside if beside.exists() or not Path(line.strip()).exists() else Path(line.strip())


def _orphans(images: Sequence[Path], folders: set[Path]) -> list[Fault]:
    """Return a fault for every label file that belongs to no image of these folders."""
    known = {str(label_file(path)) for path in images}
    faults = []
    for folder in sorted({label_file(folder / "any.jpg").parent for folder in folders}):
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            file = folder / name
            if file.suffix == ".txt" and name != "classes.txt" and str(file) not in known:
                text = f"{file}: labels without an image; expected an image of that name in its folder"
                faults.append(Fault(text))
    return faults
