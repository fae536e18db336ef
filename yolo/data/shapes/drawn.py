"""A drawn data set: scenes and their objects, written in COCO's layout, once and whole.

    FOLDER/annotations/instances_{train,val}.json    FOLDER/images/{train,val}/000001.jpg

Letters: `h, w` height and width in pixels.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import RandomState

from yolo.data.formats.coco_json import read_annotations, read_json
from yolo.data.shapes.figures import Cover, Figure, paint
from yolo.files.atomic import alone, naming
from yolo.images.files import write_image

DRAWN = "drawn by Exact YOLOv3"
"""The end of the description of every drawn set, by which it is known."""


class DrawnScene(NamedTuple):
    """An image and its objects."""

    image: np.ndarray
    """uint8 RGB `[h, w, 3]`."""
    owner: np.ndarray
    """int64 `[h, w]` the object that a pixel shows, or -1."""
    labels: list[int]
    """Class of every object."""
    crowds: list[bool]
    """Whether an object is a crowd."""
    pixels: list[int]
    """Number of pixels of every object when it was drawn, before others hid parts of it."""


def make_set(
    folder: Path,
    info: dict[str, Any],
    names: tuple[str, ...],
    draw: Callable[[RandomState], DrawnScene],
    *,
    train: int,
    val: int,
) -> Path:
    """Draw a set into `folder` unless it is there already, and return the folder.

    The folder gets its name when the set is complete, so a process that is killed leaves no incomplete set.

    Args:
        folder: where the set is or shall be.
        info: `info` of the annotation files, all that the set depends on: `description`, `seed` and others.
        names: the classes.
        draw: draws a scene. Each has random numbers of its own, of the seed, the split and its number.
        train, val: number of images in each split.

    Raises ValueError for a seed or a number out of range, and if the folder holds anything other than this set (nothing
    is ever replaced), OSError if it cannot be written.
    """
    seed = info["seed"]
    if not 0 <= seed < 2**32 or train < 1 or val < 1:
        raise ValueError(f"seed={seed}, train={train}, val={val}: expected a seed from 0 and an image in each split")
    sizes = {"train": train, "val": val}

    def scene(number: int, k: int) -> DrawnScene:
        return draw(RandomState([seed, number, k]))

    def write(temporary: Path) -> None:
        for number, (split, images) in enumerate(sizes.items()):
            _write_split(temporary, split, info, names, images, partial(scene, number))

    return make_whole(folder, lambda: _is_there(folder, info, sizes), write)


def make_whole(folder: Path, is_there: Callable[[], bool], write: Callable[[Path], None]) -> Path:
    """Write a folder unless it is there already, and return it. It gets its name when it is complete.

    Args:
        folder: the folder.
        is_there: returns whether it is there; raises ValueError if something else is.
        write: writes the content into another folder, which does not exist and becomes `folder`.
    """
    if is_there():
        return folder
    # One process draws into a folder of another name, which then gets its own.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder) as locked:  # other processes that want the set wait here
        if is_there():
            return folder
        temporary = folder.with_name(f".{folder.name}.{'' if locked else os.getpid()}part")
        shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
        try:
            write(temporary)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def add(scene: DrawnScene, random: RandomState, figures: list[tuple[Figure, Cover]], *, crowd: bool) -> None:
    """Draw figures of one class into the scene as its next object."""
    for figure, cover in figures:
        paint(scene.image, figure, cover, random)
        scene.owner[cover.window][cover.mask] = len(scene.labels)
    scene.pixels.append(int((scene.owner == len(scene.labels)).sum()))
    scene.labels.append(figures[0][0].label)
    scene.crowds.append(crowd)


def _objects(scene: DrawnScene) -> list[dict[str, Any]]:
    """Return COCO's entries of the objects: the box of the visible pixels, and as area their number."""
    entries = []
    for k, (label, crowd) in enumerate(zip(scene.labels, scene.crowds, strict=True)):
        rows, columns = np.nonzero(scene.owner == k)
        left, top = int(columns.min()), int(rows.min())
        box = [left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top]
        entries.append({"category_id": label + 1, "bbox": box, "area": len(rows), "iscrowd": int(crowd)})
    return entries


def _write_split(
    folder: Path,
    split: str,
    info: dict[str, Any],
    names: tuple[str, ...],
    count: int,
    draw: Callable[[int], DrawnScene],
) -> None:
    """Write the `count` images of a split, drawn in threads, and then its annotation file."""

    def drawn(k: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        scene, name = draw(k), f"{k:06}.jpg"
        write_image(folder / "images" / split / name, scene.image)
        h, w = scene.owner.shape
        return {"id": k, "file_name": name, "width": w, "height": h}, _objects(scene)

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for image, entries in pool.map(drawn, range(1, count + 1)):
            images.append(image)
            for entry in entries:
                annotations.append({"id": len(annotations) + 1, "image_id": image["id"], **entry, "segmentation": []})
    categories = [{"id": k, "name": name, "supercategory": "figure"} for k, name in enumerate(names, 1)]
    content = {"info": info, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    file = folder / "annotations" / f"instances_{split}.json"
    file.parent.mkdir(exist_ok=True)
    with naming(file):
        file.write_text(json.dumps(content))


def _is_there(folder: Path, info: dict[str, Any], sizes: dict[str, int]) -> bool:
    """Return whether the folder holds exactly this set. Raises ValueError if it holds something else."""
    if not folder.exists() and not folder.is_symlink():
        return False
    # The annotation files say what drew them; with other seed, version or number of images it is another set.
    for split, images in sizes.items():
        file = folder / "annotations" / f"instances_{split}.json"
        content = read_json(file) if file.is_file() else None
        found = content.get("info") if isinstance(content, dict) else None
        if not isinstance(found, dict) or not str(found.get("description")).endswith(DRAWN):
            raise ValueError(f"{folder}: exists and is not a drawn set; nothing was changed; name another folder")
        count = len(read_annotations(file).file_names)
        if found != info or count != images:
            raise ValueError(
                f"{file}: {_said(found, count)}; expected {_said(info, images)}; "
                f"remove the folder {folder} or name another"
            )
    return True


def _said(info: dict[str, Any], images: int) -> str:
    """Return in words what a set depends on."""
    others = [f"{key} {value}" for key, value in info.items() if key != "description"]
    return ", ".join([str(info["description"]), *others, f"{images} images"])
