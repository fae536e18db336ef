"""The embedded set: figures on coloured grounds, drawn from a seed, in COCO's layout. Nothing is downloaded.

    FOLDER/annotations/instances_{train,val}.json    FOLDER/images/{train,val}/000001.jpg

There are six classes, two of which differ in texture only. Figures hide parts of others or leave the image. Some images
have a crowd of tiny figures under one `iscrowd` box, some have no objects. Images have five sizes.

Letters: `h, w` height and width in pixels. A unit is a 160th of the longer side of an image: one pixel in the letterbox
of a network with an input of 160 pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.random import RandomState

from yolo.data.shapes.drawn import DRAWN, DrawnScene, add, make_set
from yolo.data.shapes.figures import (
    NAMES,
    PLAIN,
    TEXTURES,
    Cover,
    Figure,
    background,
    coverage,
    random_figure,
    uniform,
)

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
    info = {"description": f"Shapes, {DRAWN}", "version": str(VERSION), "seed": seed}
    return make_set(Path(folder), info, NAMES, draw_scene, train=train, val=val)


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
            add(scene, random, [(figure, cover)], crowd=False)
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
    add(scene, random, members, crowd=True)
