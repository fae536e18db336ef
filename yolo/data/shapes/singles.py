"""A set of single objects: one figure of ten classes in every image, drawn from a seed. Nothing is downloaded.

The grounds are noisy and striped; the figures have any texture, so their outline alone tells the class.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import RandomState

from yolo.data.shapes.drawn import DRAWN, DrawnScene, add, make_set
from yolo.data.shapes.figures import OUTLINES, TEXTURES, background, coverage, random_figure, stroke, uniform

VERSION = 1
"""Version of the drawing: it is raised when the same seed gives other images or boxes."""

Difficulty = Literal["big", "medium", "hard"]


class Level(NamedTuple):
    """What a difficulty means."""

    radius: tuple[float, float]
    """Least and greatest radius of the figure, as parts of the side."""
    reach: float
    """Greatest distance of the centre from the middle in x and in y, as a part of the side."""
    noise: int
    """Greatest change of a colour by the noise of an image; each image has its own."""
    strokes: int
    """Number of lines on the ground, beside those of the embedded set."""
    light: bool
    """Whether the figure is plain, light and upright and the ground dark, so that a small network can tell the classes
    apart; else figures are turned and flattened, and all have any colours and textures."""


LEVELS: dict[Difficulty, Level] = {
    "big": Level((0.20, 0.38), 0.13, 15, 0, light=True),
    "medium": Level((0.18, 0.36), 0.22, 25, 2, light=True),
    "hard": Level((0.12, 0.30), 0.22, 40, 6, light=False),
}


def make_singles(
    folder: str | Path,
    seed: int = 0,
    train: int = 1000,
    val: int = 400,
    difficulty: Difficulty = "big",
    size: int = 128,
) -> Path:
    """Draw the set of single objects into `folder` unless it is there already, and return the folder.

    Every image has exactly one object. The same seed gives the same pixels on every machine; the JPEG files differ
    where the JPEG encoders do.

    Args:
        folder: where the set is or shall be.
        seed: seed of the set, 0 to 2**32 - 1.
        train, val: number of images in each split, at least one. A larger set begins with the images of a smaller one.
        difficulty: radius and place of the figures, see `LEVELS`.
        size: width and height of the images in pixels, at least 32.

    A model that always answers the mean box of the training images has this mean IoU on the validation images (seed 0,
    1,000 and 400 images of 128 pixels): big 0.54, medium 0.39, hard 0.30.

    Raises ValueError for a value out of range, and if the folder holds anything other than this set (nothing is ever
    replaced), OSError if it cannot be written.
    """
    if difficulty not in LEVELS or size < 32:
        raise ValueError(
            f"difficulty={difficulty!r}, size={size}: expected one of {', '.join(LEVELS)} and at least 32 pixels"
        )
    info = {"description": f"Singles, {DRAWN}", "version": str(VERSION), "seed": seed}
    info |= {"difficulty": difficulty, "size": size}
    draw = partial(draw_single, difficulty=difficulty, size=size)
    return make_set(Path(folder), info, OUTLINES, draw, train=train, val=val)


def draw_single(random: RandomState, difficulty: Difficulty = "big", size: int = 128) -> DrawnScene:
    """Draw one image, `size` pixels wide and high, and return it with its object."""
    level = LEVELS[difficulty]
    scene = DrawnScene(background(random, size, size), np.full((size, size), -1), [], [], [])
    for _ in range(level.strokes):
        stroke(scene.image, random)
    label, radius = random.randint(len(OUTLINES)), uniform(random, *level.radius) * size
    x, y = (uniform(random, 0.5 - level.reach, 0.5 + level.reach) * size for _ in range(2))
    figure = random_figure(random, label, x, y, radius, textures=1 if level.light else len(TEXTURES), names=OUTLINES)
    if level.light:
        figure = figure._replace(turn=(1.0, 0.0), flat=1.0)
    add(scene, random, [(figure, coverage(figure, size, size))], crowd=False)
    image = scene.image
    if level.light:
        image = np.where(scene.owner[..., None] >= 0, 255 - (255 - image) // 2, image // 4)
    noise = random.randint(level.noise + 1)
    noisy = image + random.randint(-noise, noise + 1, scene.image.shape)
    return scene._replace(image=np.clip(noisy, 0, 255).astype(np.uint8))
