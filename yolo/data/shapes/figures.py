"""The parts of the drawn images: outlines, textures, colours, backgrounds.

Letters: `h, w` height and width in pixels, `x, y` pixels from a figure's centre, `u, v` the same as fractions of its
radius, rotated with the figure.

The same seed gives the same pixels on every machine. Random numbers come from `RandomState`, whose stream numpy has
frozen. The rest are additions, multiplications, divisions and roots of float64, which IEEE 754 defines to the last bit.
Sines and sums of floats are avoided, because they differ between machines.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

NAMES = ("disc", "ring", "triangle", "cross", "striped square", "checked square")
"""The classes of the embedded set. The last two differ in texture only; the others can have any texture."""

OUTLINES = ("disc", "ring", "triangle", "cross", "square", "diamond", "star", "crescent", "hexagon", "bar")
"""The classes of the set of single objects: ten outlines, each with any texture."""

TEXTURES = ("plain", "gradient", "speckles", "stripes", "checks")

OWN = {"striped square": "stripes", "checked square": "checks"}  # the textures of the classes that have one only

PLAIN = 2  # number of first textures that have no pattern

ROOT3 = 1.7320508075688772

CONTRAST = 180  # least distance, summed over R, G and B, of a figure's two colours and the mean of the background


class Figure(NamedTuple):
    """A figure: its class by number and name, centre and radius in pixels, rotation, flattening, texture.

    The rotation is (cosine, sine).
    """

    label: int
    name: str
    x: float
    y: float
    radius: float
    turn: tuple[float, float]
    flat: float
    texture: str


def uniform(random: RandomState, low: float, high: float) -> float:
    """Return a random number in [low, high)."""
    return low + (high - low) * float(random.random_sample())


def random_figure(
    random: RandomState,
    label: int,
    x: float,
    y: float,
    radius: float,
    textures: int = len(TEXTURES),
    names: tuple[str, ...] = NAMES,
) -> Figure:
    """Return a figure of class `names[label]`, that centre and radius, rotated and flattened a little.

    It has one of the first `textures` textures; striped and checked squares have the texture of their class.
    """
    t = uniform(random, -0.2, 0.2)  # tangent of half the angle: rotations of up to 23 degrees without a sine
    turn = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    flat = uniform(random, 0.8, 1.0)
    texture = TEXTURES[random.randint(textures)]
    return Figure(label, names[label], x, y, radius, turn, flat, OWN.get(names[label], texture))


class Cover(NamedTuple):
    """The rows and columns of a canvas around a figure, and the part of each of their pixels that it covers, 0 to 1."""

    window: tuple[slice, slice]
    amount: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """Which pixels of the window belong to the figure: those of which it covers half or more."""
        return self.amount >= 0.5


def coverage(figure: Figure, h: int, w: int) -> Cover:
    """Return what a figure covers of a canvas `[h, w]` that contains its centre. Its edge is one pixel wide, smooth."""
    rows, columns = (
        slice(max(int(centre - figure.radius) - 1, 0), min(int(centre + figure.radius) + 2, side))
        for centre, side in ((figure.y, h), (figure.x, w))
    )
    u, v = _local(figure, rows, columns)
    distance = _outside(figure.name, u, v) * figure.radius * figure.flat
    return Cover((rows, columns), np.clip(0.5 - distance, 0, 1))


def paint(canvas: np.ndarray, figure: Figure, cover: Cover, random: RandomState) -> None:
    """Draw the figure into the uint8 RGB canvas `[h, w, 3]`, in two colours that differ from what is there."""
    ground = canvas[cover.window]
    mean = ground.reshape(-1, 3).sum(axis=0, dtype=np.int64) // (ground.shape[0] * ground.shape[1])
    first, second = _colours(random, mean)
    shade = _texture(figure.texture, *_local(figure, *cover.window), random)
    for c in range(3):  # NumPy is slow along an axis of three
        below = ground[..., c].astype(np.float64)
        colour = first[c] + (second[c] - first[c]) * shade
        ground[..., c] = np.floor(below + (colour - below) * cover.amount + 0.5)


def background(random: RandomState, h: int, w: int) -> np.ndarray:
    """Return a uint8 RGB canvas `[h, w, 3]`: clouds of two similar colours, grain, a few strokes.

    Half of the canvases also have stripes or checks.
    """
    base = random.randint(30, 226, 3).astype(np.float64)
    other = np.clip(base + random.randint(-70, 71, 3), 10, 245)
    shade = _clouds(random, h, w)
    pattern = random.randint(4)
    if pattern < 2:
        figure = random_figure(random, 0, w / 2, h / 2, uniform(random, 40, 120))
        shade = 0.7 * shade + 0.3 * _texture(
            ("stripes", "checks")[pattern], *_local(figure, slice(0, h), slice(0, w)), random
        )
    grain, canvas = random.randint(-5, 6, (h, w)), np.empty((h, w, 3), np.uint8)
    for c in range(3):  # NumPy is slow along an axis of three
        plane = base[c] + (other[c] - base[c]) * shade + grain
        canvas[..., c] = np.clip(np.floor(plane + 0.5), 0, 255)
    for _ in range(random.randint(4)):
        stroke(canvas, random)
    return canvas


def _local(figure: Figure, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """Return the figure's coordinates u, v of the pixel centres in a window, `[rows, columns]` each."""
    x = np.arange(columns.start, columns.stop) + (0.5 - figure.x)
    y = (np.arange(rows.start, rows.stop) + (0.5 - figure.y))[:, None]
    cosine, sine = figure.turn
    u, v = x * cosine + y * sine, y * cosine - x * sine
    return u / figure.radius, v / (figure.radius * figure.flat)


def _outside(name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the distance of the points u, v from the outline in radii, negative inside.

    No corner lies outside the unit circle.
    """
    if name == "disc":
        return np.sqrt(u * u + v * v) - 1
    if name == "ring":
        return np.abs(np.sqrt(u * u + v * v) - 0.75) - 0.25
    if name == "crescent":  # a disc without another one, whose centre lies to the right
        return np.maximum(np.sqrt(u * u + v * v) - 1, 0.75 - np.sqrt((u - 0.5) * (u - 0.5) + v * v))
    u, v = np.abs(u), v if name == "triangle" else np.abs(v)
    if name in ("triangle", "star"):  # their corners lie on the unit circle; a star is a triangle and its reflection
        below = np.maximum(v, u * (ROOT3 / 2) - v / 2) - 0.5
        return below if name == "triangle" else np.minimum(below, u * (ROOT3 / 2) + v / 2 - 0.5)
    if name == "cross":
        return np.minimum(np.maximum(u - 0.3, v - 0.94), np.maximum(u - 0.94, v - 0.3))
    if name == "diamond":
        return u * 0.8 + v * 0.6 - 0.6
    if name == "hexagon":
        return np.maximum(v, u * (ROOT3 / 2) + v / 2) - ROOT3 / 2
    if name == "bar":
        return np.maximum(u - 0.9, v - 0.4)
    return np.maximum(u, v) - 0.7


def _texture(texture: str, u: np.ndarray, v: np.ndarray, random: RandomState) -> np.ndarray:
    """Return the part of the second colour that every pixel has, `[h, w]` in [0, 1]."""
    if texture == "plain":
        return np.zeros_like(u)
    if texture == "gradient":
        return np.clip((u + 1) / 2, 0, 1)
    if texture == "speckles":
        return random.random_sample(u.shape)
    across, along = (np.floor(axis * 2.5 + 0.5).astype(np.int64) for axis in (u, v))
    return ((across if texture == "stripes" else across + along) % 2).astype(np.float64)


def _colours(random: RandomState, ground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two RGB colours, float64 `[3]` each, that differ from each other and from that of the ground, `[3]`."""
    while True:
        first, second = random.randint(0, 256, (2, 3))
        pairs = ((first, second), (first, ground), (second, ground))
        if all(np.abs(one - other).sum() >= CONTRAST for one, other in pairs):
            return first.astype(np.float64), second.astype(np.float64)


def _clouds(random: RandomState, h: int, w: int) -> np.ndarray:
    """Return smooth noise `[h, w]` in [0, 1]: a coarse random grid, interpolated linearly."""
    rows, columns = random.randint(2, 7, 2)
    grid = random.random_sample((rows + 1, columns + 1))
    y, x = np.arange(h) * (rows / h), np.arange(w) * (columns / w)
    i, j = y.astype(np.int64), x.astype(np.int64)
    dy, dx = (y - i)[:, None], x - j
    above = grid[i][:, j] * (1 - dx) + grid[i][:, j + 1] * dx
    below = grid[i + 1][:, j] * (1 - dx) + grid[i + 1][:, j + 1] * dx
    return above * (1 - dy) + below * dy


def stroke(canvas: np.ndarray, random: RandomState) -> None:
    """Draw a thin straight line across the canvas; it is not an object."""
    h, w = canvas.shape[:2]
    line = random_figure(random, 0, uniform(random, 0, w), uniform(random, 0, h), 1)
    _, v = _local(line, slice(0, h), slice(0, w))
    canvas[np.abs(v) < uniform(random, 0.5, 1.5)] = random.randint(0, 256, 3)
