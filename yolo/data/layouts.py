"""The layouts of data sets: one table that says what lies where, and the comparison with a folder. No torch.

In a pattern, `{split}` is any name of a split and `{word}` one that begins with a word for a split (train, valid, ...),
`{part}` any text, and `{a|b}` one of several names. Upper and lower case are the same. A `..` is the parent folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from yolo.data.formats.coco import is_coco
from yolo.data.formats.described import describes, from_file, names_files, names_near
from yolo.data.formats.voc import is_of_one_class
from yolo.data.formats.yolo import has_labels, is_image_list, label_folder
from yolo.data.part import Format, Part, Place
from yolo.data.patterns import Tree
from yolo.data.split_names import kind
from yolo.images.files import IMAGE_SUFFIXES

ALL = "all"
"""Name of the only split of a set whose files name none."""


ANY_NAME = ("{split}.json", "{part}.json")
"""Ends of patterns of json files whose name does not tell that they are of COCO's format: their content does."""

ORDER = ("", "train", "trainval", "val", "test")
"""Splits are listed by these kinds, then by name."""


class Layout(NamedTuple):
    """A row of the table."""

    name: str
    format: Format
    labels: str
    """COCO: the json files. VOC: folders of xml files. Masks: their folder. YOLO: a file that describes the set, or
    folders of labels."""
    images: tuple[str, ...] = ()
    """Folders of images; for COCO, VOC and masks the first that holds them counts."""
    lists: str = ""
    """Files that list the images of a split, one per line."""


PICTURES = ("JPEGImages", "images", "image", "imgs", "img", "data", "pictures", ".")
SPLIT_PICTURES = ("images/{split}", "{split}", "images", "JPEGImages", ".", "data")
XML = "{annotations|annotation|annots|xmls|xml|labels|label|bboxes}"

# fmt: off
TABLE = (
    Layout("COCO", "coco", "annotations/instances_{split}.json", SPLIT_PICTURES),
    Layout("COCO keypoints", "coco", "annotations/person_keypoints_{split}.json", SPLIT_PICTURES),
    Layout("COCO as its archives are unpacked", "coco", "annotations_{part}/annotations/instances_{split}.json",
           SPLIT_PICTURES),
    Layout("COCO, files named like the splits", "coco", "annotations/{split}.json", SPLIT_PICTURES),
    Layout("Roboflow COCO", "coco", "{word}/_annotations.coco.json", ("{split}", "{split}/images")),
    Layout("FiftyOne COCO, split by split", "coco", "{word}/labels.json", ("{split}/data", "{split}")),
    Layout("a COCO file in the folder of each split", "coco", "{word}/{part}.json",
           ("{split}", "{split}/images", "images/{split}", "images")),
    Layout("FiftyOne COCO", "coco", "labels.json", ("data", "images", ".")),
    Layout("COCO files beside the images or their folder (Label Studio)", "coco", "{split}.json", SPLIT_PICTURES),

    Layout("Pascal VOC", "voc", XML, PICTURES, "ImageSets/Main/{split}.txt"),
    Layout("Pascal VOC, lists in ImageSets", "voc", XML, PICTURES, "ImageSets/{split}.txt"),
    Layout("VOCdevkit", "voc", "VOC{part}/Annotations", ("VOC{part}/JPEGImages",),
           "VOC{part}/ImageSets/Main/{split}.txt"),
    Layout("Pascal VOC, lists beside the folders", "voc", XML, PICTURES, "{word}.txt"),
    Layout("xml files by split", "voc", f"{XML}/{{word}}",
           ("images/{split}", "JPEGImages/{split}", "{split}", "images")),
    Layout("xml files, split by split", "voc", f"{{word}}/{XML}",
           ("{split}/JPEGImages", "{split}/images", "{split}", "images/{split}")),
    Layout("xml files in a folder of annotations", "voc", "annotations/xmls", PICTURES),
    Layout("xml files and images in two folders", "voc", XML, PICTURES),
    Layout("xml files beside the images of each split (Roboflow VOC)", "voc", "{word}", ("{split}",)),
    Layout("xml files beside the images of each split", "voc", "{images|JPEGImages}/{word}", ("images/{split}",)),
    Layout("xml files beside the images (labelImg)", "voc", ".", (".",)),
    Layout("xml files beside the images", "voc", "{images|JPEGImages|data}", ("images", "JPEGImages", "data")),

    Layout("Penn-Fudan, images and instance masks", "masks", "PedMasks", ("PNGImages",)),

    Layout("data.yaml", "yolo", "data.{yaml|yml}"),
    Layout("dataset.yaml", "yolo", "dataset.{yaml|yml}"),
    Layout("a yaml file with splits", "yolo", "{part}.{yaml|yml}"),
    Layout("darknet's .data file", "yolo", "{part}.data"),
    Layout("a yaml file in the parent folder that names this folder", "yolo", "../{part}.{yaml|yml}"),
    Layout("YOLO, images and labels by split", "yolo", "labels/{split}", ("images/{split}",)),
    Layout("YOLO, split by split", "yolo", "{split}/labels", ("{word}/images",)),
    Layout("YOLO, lists of images by split", "yolo", ".", (), "{word}.txt"),
    Layout("YOLO, images and labels", "yolo", "labels", ("images",)),
    Layout("FiftyOne YOLOv4, a list of images", "yolo", ".", (), "images.txt"),
    Layout("labels beside the images of each split (Roboflow darknet)", "yolo", "{split}", ("{word}",)),
    Layout("labels beside the images (labelImg)", "yolo", ".", (".",)),
)
# fmt: on
"""The layouts. The first that fits a folder wins: COCO before VOC before masks before YOLO, named files before those of
any name."""


def splits_at(tree: Tree, layout: Layout) -> dict[str, Part]:
    """Return the splits that a folder has in this layout, by name; empty where the layout does not fit.

    Raises ValueError where two files claim one split, and for a bad description of a data set.
    """
    if "." in layout.labels.rpartition("/")[2].strip(".") and layout.format == "yolo":
        return _described(tree, layout)
    found = {"coco": _coco, "voc": _voc, "masks": _masks, "yolo": _yolo}[layout.format](tree, layout)
    every = tuple(place.labels for places in found.values() for place in places if place.labels)
    return {
        split: Part(
            format=layout.format,
            layout=layout.name,
            split=split,
            root=tree.root,
            source=found[split][0].listing or found[split][0].labels or found[split][0].images[0],
            places=tuple(found[split]),
            every=tuple(dict.fromkeys(every)),
            notes=_together(tree.root, split, found[split]),
            names=_names(tree.root, found[split]) if layout.format == "yolo" else None,
        )
        for split in sorted(found, key=lambda name: (ORDER.index(kind(name)), name))
    }


def _together(root: Path, split: str, places: list[Place]) -> tuple[str, ...]:
    """Return a note for a split that several folders have, such as those of two years."""
    folders = ", ".join(str(place.labels.parent.name) for place in places if place.labels)
    return (f"{root}: the split {split} is that of {folders} together",) if len(places) > 1 else ()


def _names(root: Path, places: list[Place]) -> tuple[str, ...] | None:
    """Return the class names beside the images or labels of a split, in the folder of the set, or one level up."""
    images = [place.images[0] for place in places if place.images[0].is_dir()]
    folders = [*images, *map(label_folder, images), root, root / "labels", root.resolve().parent]
    names = names_near(folders)
    return None if names is None else tuple(names)


def coco_place(tree: Tree, layout: Layout, texts: Mapping[str, str], file: Path) -> Place:
    """Return the place of a json file and its images, in a folder named like the split or like the file."""
    named = dict.fromkeys((split_name(layout, texts), texts.get("split", ALL)))
    images = [tree.existing(folder.format_map({**texts, "split": name})) for name in named for folder in layout.images]
    return Place((*dict.fromkeys(images), file.parent), file)


def _coco(tree: Tree, layout: Layout) -> dict[str, list[Place]]:
    found: dict[str, list[Place]] = {}
    any_name = layout.labels.rpartition("/")[2] in ANY_NAME
    files = [(texts, file) for texts, file in tree.match(layout.labels) if not any_name or is_coco(file)]
    names = [split_name(layout, texts) for texts, _ in files]
    for (texts, file), name in zip(files, names, strict=True):
        split = name if names.count(name) == 1 else texts["split"]
        found.setdefault(split, []).append(coco_place(tree, layout, texts, file))
    return _single(found)


def _voc(tree: Tree, layout: Layout) -> dict[str, list[Place]]:
    found: dict[str, list[Place]] = {}
    for texts, labels in tree.match(layout.labels):
        # Files directly in a folder tell what it is for; below the root or a folder `data` there may be anything.
        folders = (tree.existing(folder.format_map(texts)) for folder in layout.images)
        endings = tuple(IMAGE_SUFFIXES)
        images = next((folder for folder in folders if tree.holds(folder, endings, folder != tree.root)), None)
        beside = images == labels and "{word}" not in layout.labels
        if images is None or not tree.holds(labels, (".xml",), not beside):
            continue
        lists = tree.match(layout.lists, texts) if layout.lists else [(texts, None)]
        for own, listing in lists:
            if listing is None or not is_of_one_class(listing, labels):
                found.setdefault(own.get("split", ALL), []).append(Place((images,), labels, listing))
    return found if "{part}" in layout.labels else _single(found)


def _masks(tree: Tree, layout: Layout) -> dict[str, list[Place]]:
    places = [Place((tree.existing(layout.images[0]),), labels) for _, labels in tree.match(layout.labels)]
    return {ALL: places} if places and tree.holds(places[0].images[0], (".png",)) else {}


def _yolo(tree: Tree, layout: Layout) -> dict[str, list[Place]]:
    hits = tree.match(layout.lists) if layout.lists else [hit for images in layout.images for hit in tree.match(images)]
    # Folders without a word for a split in their names are subfolders of one set.
    by_name = layout.images == ("images/{split}",)
    hits = [(texts, path) for texts, path in hits if layout.lists or path.is_dir()]
    if by_name and not any(kind(texts["split"]) for texts, _ in hits):
        return {}
    found: dict[str, list[Place]] = {}
    for texts, path in hits:
        if is_image_list(path) if layout.lists else by_name or tree.holds(path, tuple(IMAGE_SUFFIXES)):
            found.setdefault(texts.get("split", ALL), []).append(Place((path,)))
    if layout.images == (".",) and not tree.holds(tree.root, tuple(IMAGE_SUFFIXES), below=False):
        return {}
    # Images alone are not a data set: it has class names, or labels where the reader looks for them.
    folders = [place.images[0] for places in found.values() for place in places]
    known = bool(layout.lists) or any(map(names_files, [tree.root, *folders, tree.root / "labels"]))
    return _single(found) if known or any(map(has_labels, folders)) else {}


def _described(tree: Tree, layout: Layout) -> dict[str, Part]:
    """Return the splits of the file that describes the data set, named like its folder if there are several."""
    given = "{part}" not in layout.labels
    files = [file for _, file in tree.match(layout.labels) if given or describes(file)]
    found = {file: from_file(file) for file in files}
    if layout.labels.startswith(".."):
        found = {file: _below(parts, tree.root) for file, parts in found.items()}
        found = {file: parts for file, parts in found.items() if parts}
    named = [file for file in found if file.stem == tree.root.resolve().name] or list(found)
    if len(named) > 1:
        raise ValueError(
            f"{tree.root}: {', '.join(map(str, named))} each describe a data set; give the file that is meant"
        )
    return found[named[0]] if named else {}


def _below(parts: Mapping[str, Part], root: Path) -> dict[str, Part]:
    """Return the splits whose images lie below a folder."""
    top = root.resolve()
    return {
        split: part
        for split, part in parts.items()
        if all(
            os.path.exists(place.images[0]) and place.images[0].resolve().is_relative_to(top) for place in part.places
        )
    }


def _single(found: dict[str, list[Place]]) -> dict[str, list[Place]]:
    """Return the splits. Raises ValueError if one has two places, of which one would be dropped."""
    for split, places in found.items():
        if len(places) > 1:
            both = " and ".join(str(place.listing or place.labels or place.images[0]) for place in places)
            raise ValueError(f"{both} are both the split {split}; give the one that is meant, or rename the other")
    return found


def split_name(layout: Layout, texts: Mapping[str, str]) -> str:
    """Return the name of a split; in a file of any name, `val_annotations` and `coco_val` are `val`."""
    split = texts.get("split", ALL)
    words = [word for word in re.split(r"[^0-9A-Za-z]+", split) if kind(word)]
    if layout.labels.rpartition("/")[2] not in ANY_NAME:
        return split
    return words[0] if len(words) == 1 else split.removeprefix("instances_").removesuffix(".coco").strip("_")
