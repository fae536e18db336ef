"""From the path that a user gives to the splits of a data set. No torch."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from yolo.data.formats.described import SPLITS, YAML, from_file, names_near
from yolo.data.formats.yolo import label_folder
from yolo.data.layouts import TABLE, Layout, coco_place, split_name, splits_at
from yolo.data.part import Format, Part, Place
from yolo.data.paths import listed
from yolo.data.patterns import Tree
from yolo.data.split_names import kind, meant
from yolo.images.files import IMAGE_SUFFIXES

SHOWN = 8  # files and folders that a message lists

FOLDERS, LEVELS = 200, 3  # number of subfolders that are searched for a data set, and how deep


def find(
    path: Path, data_format: Format | None = None, *, val: Path | None = None, holdout: float | None = None
) -> dict[str, Part]:
    """Return the splits at `path` by name.

    Args:
        path: a COCO json file, a csv file of boxes, a data.yaml, a darknet .data file or list, or a folder in a layout
            of the table.
        data_format: the format; by default the first that fits.
        val: another such path, which holds the validation split.
        holdout: the share of a set without validation split that is held out as one; None or 0 for none.

    Raises FileNotFoundError, or ValueError for a path that is not recognised.
    """
    found = _at(path, data_format)
    if val is not None:
        others = _at(val, data_format)
        fitting = meant(others, "val") or list(others)
        if len(fitting) > 1:
            raise ValueError(f"{val}: which split is the validation? there are {', '.join(fitting)}; give its own path")
        other = others[fitting[0]]
        if _is_one(found, path):
            found = {"train": found[chosen(found, None, str(path))]}
        kept = {name: part for name, part in found.items() if kind(name) != "val"}
        # A folder of images whose labels are numbers has the class names of the images for training.
        names = other.names or next((part.names for part in kept.values() if part.format == "yolo"), None)
        found = {**kept, "val": replace(other, split="val", names=names)}
        labels = tuple(dict.fromkeys(file for part in found.values() for file in part.every))
        if all(part.format == other.format for part in kept.values()):
            found = {split: replace(part, every=labels) for split, part in found.items()}
    elif holdout and (not meant(found, "val") or _is_one(found, path)) and len(whole := _whole(found, path)) == 1:
        part = replace(found.pop(whole[0]), holdout=holdout)
        found = {"train" if kind(whole[0]) == "val" else whole[0]: part, "val": replace(part, held=True), **found}
    return found


def chosen(found: dict[str, Part], split: str | None, path: str) -> str:
    """Return the split that is meant: by name, or the only one. Raises ValueError for none or several."""
    fitting = list(found) if split is None else meant(found, split)
    if not fitting and split is not None and kind(split) == "train":
        fitting = _whole(found, Path(path))
    if len(fitting) == 1:
        return fitting[0]
    problem = f"{'several splits begin' if fitting else 'no split begins'} with {split!r};"
    there = f"{'there are' if len(found) > 1 else 'there is only'} {', '.join(found)}"
    remedy = "choose one with --split"
    if not fitting and split is not None and kind(split) == "val":
        remedy += ", name a validation set with --val PATH, or divide this one with --holdout 0.2"
    raise ValueError(f"{path}: {'which split?' if split is None else problem} {there}; {remedy}")


def _whole(found: dict[str, Part], path: Path) -> list[str]:
    """Return what `train` means: that split, or all of a set that is not divided, whatever its name."""
    others = [name for name in found if kind(name) not in ("val", "test")]
    return list(found) if _is_one(found, path) else meant(found, "train") or others


def _is_one(found: dict[str, Part], path: Path) -> bool:
    """Return whether a file has only one split, which is then the whole set."""
    return len(found) == 1 and path.is_file()


def _at(path: Path, data_format: Format | None) -> dict[str, Part]:
    """Return the splits at a file or folder, or in the only folder below it that is a data set."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if path.is_file():
        return _of_file(path, data_format)
    if found := _of_folder(path, data_format):
        return found
    # An archive in a folder, or a parent of the data set.
    below = [path]
    for _ in range(LEVELS):
        below = [Path(entry.path) for folder in below for entry in _folders(folder)][:FOLDERS]
        sets = {folder: found for folder in below if (found := _of_folder(folder, data_format))}
        if len(sets) > 1:
            raise ValueError(f"{path}: holds several data sets: {', '.join(map(str, sets))}; give one of them")
        for folder, found in sets.items():
            note = f"{path}: the data set is in {folder}"
            return {split: replace(part, notes=(note, *part.notes)) for split, part in found.items()}
    raise ValueError(_unknown(path, data_format))


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    return sorted((entry for entry in listed(folder) if entry.is_dir()), key=lambda entry: entry.name)


def _of_folder(path: Path, data_format: Format | None) -> dict[str, Part]:
    tree = Tree(path)
    for layout in TABLE:
        if data_format in (None, layout.format) and (found := splits_at(tree, layout)):
            return found
    return {}


def _of_file(path: Path, data_format: Format | None) -> dict[str, Part]:
    """Return the splits of a file: those that it describes, or the only one that it holds."""
    formats: dict[str, Format] = {".json": "coco", ".csv": "csv", **dict.fromkeys((*YAML, ".data", ".txt"), "yolo")}
    ending = path.suffix.lower()
    if data_format not in (None, formats.get(ending)) or ending not in formats:
        raise ValueError(
            f"{path}: not recognised as {data_format or 'a data set'}; expected a COCO json file, a csv file of "
            f"boxes, a data.yaml, a .data file, a list of images (.txt), or a folder"
        )
    if ending == ".json":
        return _of_json(path)
    if ending in (*YAML, ".data"):
        return from_file(path)
    if ending == ".csv":
        part = Part(
            format="csv", layout="a csv file of boxes", split=path.stem, root=path.parent, source=path,
            places=(Place((path.parent,), path),), every=(path,),
        )  # fmt: skip
        return {path.stem: part}
    names = names_near([path.parent, path.resolve().parent.parent])
    part = Part(
        format="yolo", layout="a list of images", split=path.stem, root=path.parent, source=path,
        places=(Place((path,)),),
        names=None if names is None else tuple(names),
    )  # fmt: skip
    return {path.stem: part}


def _of_json(path: Path) -> dict[str, Part]:
    """Return the only split of a json file, with its images where the first layout that has such a file has them."""
    for layout in (row for row in TABLE if row.format == "coco"):
        root = path.parent
        for _ in range(layout.labels.count("/")):
            root = root / ".." if root.name in ("", "..") else root.parent
        tree = Tree(root)
        texts = next((hit for hit, file in tree.match(layout.labels) if file.resolve() == path.resolve()), None)
        # A folder of a split is called `train`; `train_data` may be the folder of the set.
        if texts is not None and ("{word}" not in layout.labels or texts["split"].casefold() in SPLITS):
            break
    texts = texts or {"split": path.stem}
    split = split_name(layout, texts)
    part = Part(
        format="coco", layout=layout.name, split=split, root=root, source=path,
        places=(coco_place(tree, layout, texts, path),), every=(path,),
    )  # fmt: skip
    return {split: part}


def _unknown(path: Path, data_format: Format | None) -> str:
    """Return what was found, what was looked for, and the layout that is nearest."""
    entries = sorted(listed(path), key=lambda entry: entry.name)
    folders = [f"{entry.name}/ ({_endings(entry.path)})" for entry in entries if entry.is_dir()]
    files = [entry.name for entry in entries if not entry.is_dir()]
    there = "; ".join([*folders[:SHOWN], *files[:SHOWN]]) or "nothing"
    more = len(folders[SHOWN:]) + len(files[SHOWN:])
    rows = [row for row in TABLE if data_format in (None, row.format)]
    looked = {row.format: "; ".join(_described(other) for other in rows if other.format == row.format) for row in rows}
    near = _nearest(Tree(path), rows)
    return "\n".join([
        f"{path}: not recognised as {data_format or 'a data set'}; found: {there}{f' and {more} more' if more else ''}",
        *([near] if near else []),
        *(f"looked for {name}: {patterns}" for name, patterns in looked.items()),
    ])  # fmt: skip


def _described(layout: Layout) -> str:
    """Return a row of the table in words, with one of several names for each place."""
    places = (layout.labels, layout.lists or next(iter(layout.images), ""))
    shown = dict.fromkeys(re.sub(r"\{(\w+)\|[^}]*\}", r"\1", place) for place in places if place not in ("", "."))
    return f"{layout.name} ({', '.join(shown)})" if shown else layout.name


def _endings(folder: str) -> str:
    """Return how many files of each kind are in a folder, the most frequent first."""
    kinds = Counter(os.path.splitext(entry.name)[1] or "no ending" for entry in listed(folder) if not entry.is_dir())
    return ", ".join(f"{count:,} {ending}" for ending, count in kinds.most_common(3)) or "no files"


def _nearest(tree: Tree, rows: list[Layout]) -> str:
    """Return which row fits half: its labels are there and its images are not, or the other way round."""
    for row in rows:
        if row.format == "voc" and row.labels != "." and not row.lists:
            for _, labels in tree.match(row.labels):
                if tree.holds(labels, (".xml",)):
                    return f"{labels} holds xml files, but there are no images in {' or '.join(row.images[:3])}"
    images = [
        path
        for pattern in ("images", "images/{word}", "{word}/images", "{part}", ".")
        for _, path in tree.match(pattern)
    ]
    for folder in images:
        if tree.holds(folder, tuple(IMAGE_SUFFIXES), below=False):
            where = f"beside them or in {label_folder(folder)}"
            return f"{folder} holds images, but there are no class names, and no labels {where}"
    return ""
