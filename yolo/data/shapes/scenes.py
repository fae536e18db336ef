"""The embedded set: figures on coloured grounds, drawn from a seed, in COCO's layout. Nothing is downloaded.

    FOLDER/annotations/instances_{train,val}.json    FOLDER/images/{train,val}/000001.jpg

There are six classes, two of which differ in texture only. Figures hide parts of others or leave the image. Some images
have a crowd of tiny figures under one `iscrowd` box, some have no objects. Images have five sizes.

Letters: `h, w` height and width in pixels. A unit is a 160th of the longer side of an image: one pixel in the letterbox
of a network with an input of 160 pixels.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import RandomState

from yolo.atomic import alone
from yolo.data.formats.coco_json import read_annotations, read_json
from yolo.data.shapes.figures import (
    NAMES,
    PLAIN,
    TEXTURES,
    Cover,
    Figure,
    background,
    coverage,
    paint,
    random_figure,
    uniform,
)
from yolo.images.files import write_image

VERSION = 1
"""Version of the drawing: it is raised when the same seed gives other images or boxes."""

UNITS = 160

SIZES = ((320, 240), (240, 320), (256, 256), (352, 198), (200, 300))  # width, height

RADII = ((6.0, 13.0), (14.0, 32.0), (37.0, 64.0))  # units: small, medium, large figures, one kind per head of toy.cfg

SHARES = (0.42, 0.76)  # share of small figures, of small and medium ones

TEXTURED = 8.0  # units: figures of a smaller radius have no texture, because it could not be seen

CROWD = 2.0, 3.2  # units: radius of a crowd's members, smaller than any figure that has a box of its own

VISIBLE = 0.75  # a figure is not drawn if it would leave less than this part of an earlier one visible

TRIES = 12  # places that are tried for a figure before it is left out


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


def make_shapes(folder: str | Path, seed: int = 0, train: int = 480, val: int = 120) -> Path:
    """Draw the embedded set into `folder` unless it is there already, and return the folder.

    The same seed gives the same pixels on every machine; the JPEG files differ where the JPEG encoders do. The folder
    gets its name when the set is complete, so a process that is killed leaves no incomplete set.

    Args:
        folder: where the set is or shall be.
        seed: seed of the set, 0 to 2**32 - 1.
        train, val: number of images in each split, at least one. A larger set begins with the images of a smaller one.

    Raises ValueError if the folder holds anything other than this set (nothing is ever replaced), OSError if it cannot
    be written.
    """
    if not 0 <= seed < 2**32 or train < 1 or val < 1:
        raise ValueError(f"seed={seed}, train={train}, val={val}: expected a seed from 0 and an image in each split")
    folder = Path(folder)
    info = {"description": "Shapes, drawn by Exact YOLOv3", "version": str(VERSION), "seed": seed}
    sizes = {"train": train, "val": val}
    if _is_there(folder, info, sizes):
        return folder
    # One process draws into a folder of another name, which then gets its own.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder) as locked:  # other processes that want the set wait here
        if _is_there(folder, info, sizes):
            return folder
        temporary = folder.with_name(f".{folder.name}.{'' if locked else os.getpid()}part")
        shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
        try:
            for number, (split, images) in enumerate(sizes.items()):
                _write_split(temporary, split, info, [seed, number], images)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def draw_scene(random: RandomState) -> DrawnScene:
    """Draw one image and return it with its objects.

    Larger figures tend to be drawn first. A figure is left out if no place is found where enough of every earlier one
    remains visible, so every object that is drawn has a box.
    """
    w, h = SIZES[random.randint(len(SIZES))]
    unit = max(w, h) / UNITS
    scene = DrawnScene(background(random, h, w), np.full((h, w), -1), [], [], [])
    # Of 100 images 6 have no object and 10 have a crowd, over which figures may be drawn.
    kind = random.randint(100)
    if kind < 6:
        return scene
    if kind < 16:
        _draw_crowd(scene, random, unit)
    # One to seven figures, the larger ones first with some disorder.
    wanted = [_label_and_radius(random, unit, min(h, w)) for _ in range(1 + random.randint(7))]
    for label, radius in sorted(wanted, key=lambda figure: -figure[1] * uniform(random, 0.5, 1.5)):
        _place(scene, random, label, radius)
    return scene


def _label_and_radius(random: RandomState, unit: float, side: int) -> tuple[int, float]:
    """Return a random class, and a radius in pixels that suits it and an image whose shorter side is `side` pixels."""
    label, share = random.randint(len(NAMES)), random.random_sample()
    low, high = RADII[sum(share >= limit for limit in SHARES)]
    if "square" in NAMES[label]:
        low = max(low, TEXTURED)
    return label, min(uniform(random, low, high) * unit, 0.52 * side)


def _place(scene: DrawnScene, random: RandomState, label: int, radius: float) -> None:
    """Draw a figure if a place for it is found.

    Half of the figures need free ground, the others may hide parts of objects. Up to a quarter of a figure may lie
    outside the image.
    """
    h, w = scene.owner.shape
    textures = len(TEXTURES) if radius >= TEXTURED * max(h, w) / UNITS else PLAIN
    alone = random.randint(2) == 0
    for _ in range(TRIES):
        x, y = (uniform(random, min(0.7 * radius, 0.4 * side), max(side - 0.7 * radius, 0.6 * side)) for side in (w, h))
        figure = random_figure(random, label, x, y, radius, textures)
        cover = coverage(figure, h, w)
        below = scene.owner[cover.window][cover.mask]
        if not (below >= 0).any() if alone else _leaves_enough(scene, below):
            _add(scene, random, [(figure, cover)], crowd=False)
            return


def _leaves_enough(scene: DrawnScene, below: np.ndarray) -> bool:
    """Return whether enough of every object remains visible when some pixels are drawn over.

    `below` `[pixels]` are the owners of these pixels.
    """
    left, hidden = (np.bincount(owner[owner >= 0], minlength=len(scene.labels)) for owner in (scene.owner, below))
    return all(count >= VISIBLE * pixels for count, pixels in zip((left - hidden).tolist(), scene.pixels, strict=True))


def _draw_crowd(scene: DrawnScene, random: RandomState, unit: float) -> None:
    """Draw a patch of 5 x 4 to 8 x 5 tiny figures of one class as one object. Squares form no crowds."""
    h, w = scene.owner.shape
    label, columns, rows = random.randint(4), 5 + random.randint(4), 4 + random.randint(2)
    step = 8 * unit
    left, top = uniform(random, 0, w - columns * step), uniform(random, 0, h - rows * step)
    members: list[tuple[Figure, Cover]] = []
    for k in range(columns * rows):
        x, y = (place + uniform(random, 0.35, 0.65) for place in (k % columns, k // columns))
        figure = random_figure(random, label, left + x * step, top + y * step, uniform(random, *CROWD) * unit, PLAIN)
        members.append((figure, coverage(figure, h, w)))
    _add(scene, random, members, crowd=True)


def _add(scene: DrawnScene, random: RandomState, figures: list[tuple[Figure, Cover]], *, crowd: bool) -> None:
    """Draw figures as the next object."""
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


def _write_split(folder: Path, split: str, info: dict[str, Any], seeds: list[int], count: int) -> None:
    """Write `count` images, each from a seed of its own, and then the annotation file of the split."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for k in range(1, count + 1):
        scene = draw_scene(RandomState([*seeds, k]))
        name, (h, w) = f"{k:06}.jpg", scene.owner.shape
        write_image(folder / "images" / split / name, scene.image)
        images.append({"id": k, "file_name": name, "width": w, "height": h})
        for entry in _objects(scene):
            annotations.append({"id": len(annotations) + 1, "image_id": k, **entry, "segmentation": []})
    categories = [{"id": k, "name": name, "supercategory": "figure"} for k, name in enumerate(NAMES, 1)]
    content = {"info": info, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    file = folder / "annotations" / f"instances_{split}.json"
    file.parent.mkdir(exist_ok=True)
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
        if not isinstance(found, dict) or found.get("description") != info["description"]:
            raise ValueError(f"{folder}: exists and is not a drawn set; nothing was changed; name another folder")
        count = len(read_annotations(file).file_names)
        if found != info or count != images:
            raise ValueError(
                f"{file}: version {found.get('version')}, seed {found.get('seed')}, {count} images; "
                f"expected version {info['version']}, seed {info['seed']}, {images} images; "
                f"remove the folder {folder} or name another"
            )
    return True
