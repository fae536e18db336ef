"""A drawn set of pedestrians in streets, with instance masks, in Penn-Fudan's layout. Nothing is downloaded.

    FOLDER/PNGImages/Ped00001.png    FOLDER/PedMasks/Ped00001_mask.png    FOLDER/drawn.json

Everything is drawn from limbs: straight strokes with round ends, whose radius changes evenly along the stroke. Trees,
lamp posts, signs, bollards and post boxes stand between the pedestrians; they are no objects. As in `figures.py`, the
same seed gives the same pixels on every machine.

Letters: `h, w` height and width in pixels. A thing has its own unit, its height: x counts from its middle, y from its
top, 0, to the ground, 1.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import RandomState

from yolo.data.formats.coco_json import read_json
from yolo.data.formats.masks import ENDING
from yolo.data.shapes.drawn import DRAWN, make_whole
from yolo.data.shapes.figures import uniform
from yolo.files.atomic import naming
from yolo.images.files import write_image

VERSION = 1
"""Version of the drawing: it is raised when the same seed gives other images or masks."""

HEIGHTS = 0.15, 0.6  # least and greatest height of a pedestrian, as a part of the image's

VISIBLE = 0.8  # nothing is drawn that would leave less than this part of a pedestrian visible

TRIES = 10  # places that are tried for a pedestrian or a thing before it is left out

SKINS = ((240, 205, 180), (225, 180, 145), (190, 135, 100), (140, 95, 65), (90, 60, 45))

Colour = np.ndarray
"""RGB, float64 `[3]`."""


class Limb(NamedTuple):
    """A stroke between two points (x, y, radius), and its colour."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    colour: Colour


class Street(NamedTuple):
    """What was drawn so far."""

    image: np.ndarray
    """float64 RGB `[h, w, 3]`, 0 to 255."""
    owner: np.ndarray
    """uint8 `[h, w]` the number of the pedestrian that a pixel shows, or 0."""
    pixels: list[int]
    """Number of pixels of every pedestrian when it was drawn."""
    light: float
    """How much lighter the right side of a limb is than its middle; negative for darker."""


def make_pedestrians(folder: str | Path, images: int = 200, seed: int = 0) -> Path:
    """Draw the set of pedestrians into `folder` unless it is there already, and return the folder.

    Every image has one to four pedestrians, of whom at most a fifth is hidden each. The set is not divided: a
    share of it is held out, as of every set without splits. A larger set begins with the images of a smaller one.

    Args:
        folder: where the set is or shall be.
        images: number of images, at least one.
        seed: seed of the set, 0 to 2**32 - 1.

    Raises ValueError for a value out of range, and if the folder holds anything other than this set (nothing is ever
    replaced), OSError if it cannot be written.
    """
    if not 0 <= seed < 2**32 or images < 1:
        raise ValueError(f"seed={seed}, images={images}: expected a seed from 0 and at least one image")
    info = {"description": f"Pedestrians, {DRAWN}", "version": str(VERSION), "seed": seed, "images": images}
    return make_whole(Path(folder), partial(_is_there, Path(folder), info), partial(_write, info))


def draw_street(random: RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Return an image uint8 RGB `[h, w, 3]` and its mask uint8 `[h, w]`, 0 or the number of a pedestrian from 1."""
    h, w = random.randint(224, 289), random.randint(288, 353)
    street = Street(np.empty((h, w, 3)), np.zeros((h, w), np.uint8), [], uniform(random, -0.3, 0.3))
    horizon = int(uniform(random, 0.35, 0.55) * h)
    _draw_background(street.image, horizon, random)
    # What is far away is small, stands near the horizon, and is drawn first.
    kinds = [_person] * (1 + random.randint(4)) + [_thing] * random.randint(2, 6)
    depths = np.sqrt(random.random_sample(len(kinds))).tolist()  # few are far away
    for depth, kind in sorted(zip(depths, kinds, strict=True), key=lambda pair: pair[0]):
        height = (HEIGHTS[0] + (HEIGHTS[1] - HEIGHTS[0]) * depth) * h
        foot = horizon + (0.1 + 0.85 * depth + uniform(random, -0.05, 0.05)) * (h - horizon)
        limbs = kind(random)
        for _ in range(TRIES):
            if _add(street, limbs, uniform(random, 0.04, 0.96) * w, foot, height, kind is _person):
                break
    noise = random.randint(3, 13)
    noisy = street.image + random.randint(-noise, noise + 1, street.image.shape)
    return np.clip(np.floor(noisy + 0.5), 0, 255).astype(np.uint8), street.owner


def _add(street: Street, limbs: list[Limb], x: float, foot: float, height: float, is_person: bool) -> bool:
    """Draw limbs `height` pixels high with their feet at (x, foot). Returns False if they would hide too much."""
    image, mask = street.image.copy(), np.zeros(street.owner.shape, dtype=bool)
    for start, end, colour in limbs:
        points = (np.array([start, end]) * height + np.array([x, foot - height, 0])).tolist()
        _paint(image, mask, points, colour, street.light)
    left = np.bincount(street.owner[~mask], minlength=len(street.pixels) + 1)[1:]
    if (left < VISIBLE * np.array(street.pixels)).any():
        return False
    street.image[:] = image
    street.pixels.extend([int(mask.sum())] * is_person)
    street.owner[mask] = len(street.pixels) * is_person
    return True


def _paint(image: np.ndarray, mask: np.ndarray, points: list[list[float]], colour: Colour, light: float) -> None:
    """Draw a limb whose `points` are in pixels, and add the pixels of which it covers half or more to the mask."""
    (x1, y1, r1), (x2, y2, r2) = points
    reach = max(r1, r2) + 1
    rows, columns = (
        slice(max(int(min(pair) - reach), 0), max(int(max(pair) + reach) + 2, 0)) for pair in ((y1, y2), (x1, x2))
    )
    h, w = mask[rows, columns].shape
    x, y = np.arange(w) + (columns.start + 0.5 - x1), (np.arange(h) + (rows.start + 0.5 - y1))[:, None]
    # The nearest point of the axis, as a part of its length, and the distance from the edge there.
    dx, dy = x2 - x1, y2 - y1
    along = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
    across, down, radius = x - along * dx, y - along * dy, r1 + (r2 - r1) * along
    amount = np.clip(0.5 + radius - np.sqrt(across * across + down * down), 0, 1)
    shade = 1 + light * np.clip(across / radius, -1, 1)
    ground = image[rows, columns]
    ground += (np.clip(colour * shade[..., None], 0, 255) - ground) * amount[..., None]
    mask[rows, columns] |= amount >= 0.5


def _colour(random: RandomState, low: int = 0, high: int = 255) -> Colour:
    """Return a random colour."""
    return random.randint(low, high + 1, 3).astype(np.float64)


def _muted(random: RandomState, low: int, high: int) -> Colour:
    """Return a random colour that is almost grey."""
    return random.randint(low, high + 1) + _colour(random, -30, 30)


def _person(random: RandomState) -> list[Limb]:
    """Return a pedestrian: arms, legs, torso and head in a random pose, clothes in random colours."""
    skin = np.array(SKINS[random.randint(len(SKINS))], dtype=np.float64)
    shirt, trousers, bag, hat = (_colour(random) for _ in range(4))
    shoes, hair, sleeve = _colour(random, 0, 90), _colour(random, 10, 130), shirt if random.randint(3) else skin
    facing, wide = (-1, 1)[random.randint(2)], uniform(random, 0.85, 1.25)
    lean, step, shoulder = (
        uniform(random, -0.02, 0.03) * facing,
        uniform(random, 0.03, 0.16),
        uniform(random, 0.03, 0.09),
    )
    arms, legs = [], []
    for side in (-1, 1):
        swing, x = uniform(random, -0.09, 0.09), lean + side * (shoulder + 0.03) * wide
        elbow, hand = x + swing + side * 0.02, x + 2 * swing + facing * uniform(random, 0, 0.08)
        arms += [Limb((x, 0.22, 0.032 * wide), (elbow, 0.36, 0.028 * wide), shirt)]
        arms += [Limb((elbow, 0.36, 0.027 * wide), (hand, 0.48, 0.02), sleeve)]
        arms += [Limb((hand, 0.49, 0.021), (hand, 0.5, 0.021), skin)]
        foot = lean / 2 + side * step
        knee = 0.55 * foot + facing * uniform(random, 0, 0.04)
        legs += [Limb((side * 0.035, 0.5, 0.055 * wide), (knee, 0.73, 0.042 * wide), trousers)]
        legs += [Limb((knee, 0.73, 0.041 * wide), (foot, 0.95, 0.026), trousers)]
        legs += [Limb((foot, 0.97, 0.026), (foot + facing * 0.05, 0.978, 0.02), shoes)]
    # Either a shirt or a coat; long hair hides the neck.
    hem, radius = (0.46, 0.075) if random.randint(4) else (uniform(random, 0.55, 0.7), 0.11)
    face, nape = lean + facing * 0.012, 0.07 if random.randint(3) else 0.15
    body = [
        Limb((lean - shoulder, 0.215, 0.042 * wide), (lean + shoulder, 0.215, 0.042 * wide), shirt),
        Limb((lean, 0.25, 0.078 * wide), (lean / 2, hem, radius * wide), shirt),
        Limb((lean, 0.14, 0.026), (lean, 0.18, 0.03), skin),
        Limb((lean, 0.062, 0.056), (lean - facing * 0.014, nape, 0.05), hair),
        Limb((face, 0.08, 0.044), (face, 0.1, 0.038), skin),
    ]
    if random.randint(4) == 0:
        body += [Limb((lean - 0.06, 0.05, 0.014), (lean + 0.06, 0.05, 0.014), hat)]
        body += [Limb((lean, 0.03, 0.04), (lean, 0.04, 0.05), hat)]
    limbs = arms[:3] + legs + body + arms[3:]
    if random.randint(3) == 0:  # a bag in the hand, or a rucksack
        x, y = (hand, 0.56) if random.randint(2) else (lean - facing * 0.12 * wide, 0.27)
        limbs += [Limb((x, y, 0.05), (x, y + 0.07, 0.055), bag)]
    return limbs


def _thing(random: RandomState) -> list[Limb]:
    """Return what is no pedestrian: a tree, a lamp post, a road sign, a bollard or a post box."""
    colour, top, kind = _colour(random), _colour(random, 60, 255), random.randint(5)
    if kind == 0:
        leaves = np.array([50.0, 110, 40]) + _colour(random, -30, 30)
        crown = [(uniform(random, -0.3, 0.3), uniform(random, -0.6, 0.1), uniform(random, 0.1, 0.25)) for _ in range(9)]
        balls = [Limb(ball, ball, leaves * uniform(random, 0.7, 1.3)) for ball in crown]
        return [Limb((0, -0.2, 0.04), (0, 0.97, 0.06), _colour(random, 40, 100)), *balls]
    if kind == 4:
        legs = [Limb((x, 0.7, 0.02), (x, 0.98, 0.02), colour / 3) for x in (-0.08, 0.08)]
        return [*legs, Limb((0, 0.35, 0.14), (0, 0.7, 0.14), colour), Limb((-0.07, 0.4, 0.02), (0.07, 0.4, 0.02), top)]
    # A post with a head: its upper end, its radius, the head's.
    end, radius, head = ((-0.9, 0.02, 0.06), (0.1, 0.018, 0.12), (0.6, 0.045, 0.05))[kind - 1]
    return [Limb((0, end, radius), (0, 0.97, radius), colour / 2), Limb((0, end, head), (0, end, head), top)]


def _draw_background(image: np.ndarray, horizon: int, random: RandomState) -> None:
    """Fill the image: sky, houses with windows, and a ground with joints."""
    h, w = image.shape[:2]
    image[:] = np.array([150.0, 185, 225]) + _colour(random, -40, 30) + (np.arange(h) * (40 / h))[:, None, None]
    left = 0
    while left < w:
        wide, top = random.randint(w // 10, w // 3), int(uniform(random, 0, 0.7) * horizon)
        house = image[top:horizon, left : left + wide]
        house[:] = _muted(random, 90, 210)
        pitch, margin = random.randint(12, 28), random.randint(4, 9)
        rows, columns = ((np.arange(side) + margin // 2) % pitch >= margin for side in house.shape[:2])
        house[rows[:, None] & columns] = _muted(random, 30, 200)
        left += wide
    near, far = _muted(random, 60, 170), _muted(random, 90, 200)
    image[horizon:] = far + (near - far) * (np.arange(h - horizon) / (h - horizon))[:, None, None]
    for y in random.randint(horizon, h, random.randint(1, 5)).tolist():
        image[y : y + 1 + random.randint(4)] *= uniform(random, 0.6, 1.3)


def _write(info: dict[str, Any], folder: Path) -> None:
    """Write the images and masks, and what drew them."""
    for name in ("PNGImages", "PedMasks"):
        (folder / name).mkdir(parents=True)
    for k in range(1, info["images"] + 1):
        image, mask = draw_street(RandomState([info["seed"], k]))
        write_image(folder / "PNGImages" / f"Ped{k:05}.png", image)
        write_image(folder / "PedMasks" / f"Ped{k:05}{ENDING}", mask[..., None])
    with naming(folder / "drawn.json"):
        (folder / "drawn.json").write_text(json.dumps(info))


def _is_there(folder: Path, info: dict[str, Any]) -> bool:
    """Return whether the folder holds exactly this set. Raises ValueError if it holds something else."""
    if not folder.exists() and not folder.is_symlink():
        return False
    file = folder / "drawn.json"
    found = read_json(file) if file.is_file() else "no drawn set"
    if found != info:
        raise ValueError(f"{folder}: holds {found}; expected {info}; nothing was changed; name another folder")
    return True
