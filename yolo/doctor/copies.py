"""Images that are there more than once, whatever was done to the copies: other files, sizes, crops, colours, mirrored.

Files of equal bytes are copies. Of the others, a perceptual hash (Zauner 2010; the package ImageHash) proposes pairs,
and pixels decide: one image is aligned with the other (ECC, Evangelidis and Psarakis 2008), then they must have the
same structure wherever one of them has any, and in every labelled box. So neither images of one place with other
objects nor drawings on plain grounds are taken for copies. docs/doctor.md has the measurements.

Letters: `I` images of all splits, `G` objects of one image. Coordinates of boxes are fractions of the image.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple, TypeVar

import imagehash
import numpy as np
from PIL import Image
from tqdm import tqdm

from yolo.images.files import read_image
from yolo.images.opencv import cv2

VIEWS = {
    (False, False, False): "",
    (False, True, False): "mirrored",
    (False, False, True): "turned upside down and mirrored",
    (False, True, True): "turned by 180 degrees",
    (True, True, False): "turned by 90 degrees",
    (True, False, True): "turned by 90 degrees",
    (True, False, False): "turned and mirrored",
    (True, True, True): "turned and mirrored",
}
"""What a copy may be: x and y swapped, then x reversed, then y reversed; in words."""

View = tuple[bool, bool, bool]

BITS = 16  # of 64: the largest distance of the hashes of a pair

NEAREST = 8  # pairs that an image proposes at most, so that a large set of similar images takes bearable time

SMALL, LARGE = 32, 128  # sides of the images that are aligned first and finally

FIRST, FINAL = 0.7, 0.8  # the smallest correlation after the two alignments

BLOCK = 15  # side of the blocks of the large image whose structure is compared

CONTRAST = 3.0  # grey levels; a block with a smaller standard deviation in both images has no structure

ALIKE = 0.6  # the smallest correlation of two blocks with the same structure

AGREEMENT = {0.02: 0.87, 0.25: 0.93}  # change of scale -> the smallest share of such blocks in copies

COMMON, STRUCTURED = 0.6, 0.05  # smallest part of an image that both show, and that has structure

UNCHANGED = np.eye(2, 3, dtype=np.float32)

EVERYWHERE = {side: np.full((side, side), 255, np.uint8) for side in (SMALL, LARGE)}  # which pixels are aligned

T = TypeVar("T")
R = TypeVar("R")


class Copy(NamedTuple):
    """A pair of images, indices in the whole set, where the second is a copy of the first."""

    first: int
    second: int
    view: View
    """What was done to the second one before it was compared."""
    agreement: float
    """The share of blocks with the same structure."""
    warp: np.ndarray
    """float32 `[2, 3]`: from fractions of the first image to those of the second one, as viewed."""


def viewed(pixels: np.ndarray, view: View) -> np.ndarray:
    """Return a grey image `[h, w]` swapped and reversed."""
    swap, x, y = view
    pixels = pixels.T if swap else pixels
    return np.ascontiguousarray(pixels[:: -1 if y else 1, :: -1 if x else 1])


def viewed_boxes(boxes: np.ndarray, view: View) -> np.ndarray:
    """Return boxes xyxy `[G, 4]` in the swapped and reversed image."""
    swap, *flips = view
    boxes = boxes[:, [1, 0, 3, 2]] if swap else boxes.copy()
    for axis, flip in enumerate(flips):
        if flip:
            boxes[:, [axis, axis + 2]] = 1 - boxes[:, [axis + 2, axis]]
    return boxes


def aligned_boxes(boxes: np.ndarray, copy: Copy) -> np.ndarray:
    """Return boxes xyxy `[G, 4]` of the second image as boxes of the first one."""
    inverse = cv2.invertAffineTransform(copy.warp)
    corners = viewed_boxes(boxes, copy.view).reshape(-1, 2) @ inverse[:, :2].T + inverse[:, 2]
    return corners.reshape(-1, 4)


def find_copies(paths: Sequence[str], boxes: Callable[[int], np.ndarray]) -> list[Copy]:
    """Return the copies among images.

    Args:
        paths: files of images that can be read. A file that is listed again is a copy of itself.
        boxes: returns the boxes of an image, xyxy `[G, 4]`.
    """
    same = _equal_files(paths)
    found = [Copy(group[0], k, (False,) * 3, 1.0, UNCHANGED) for group in same for k in group[1:]]
    # One of each group of equal files goes on.
    chosen = [group[0] for group in same]
    small = _in_threads(lambda k: grey(paths[k], SMALL), chosen, "reading images")
    pairs = [(chosen[a], chosen[b], view, small[a], small[b]) for a, b, view in _proposed(small)]

    @lru_cache(maxsize=4096)
    def large(k: int) -> np.ndarray:
        return grey(paths[k], LARGE)

    def confirmed(pair: tuple[int, int, View, np.ndarray, np.ndarray]) -> Copy | None:
        a, b, view, first, second = pair
        warp = _align(first, viewed(second, view), UNCHANGED, FIRST)
        if warp is None:
            return None
        warp[:, 2] *= LARGE / SMALL
        return _compare(a, b, view, (large(a), viewed(large(b), view)), (boxes(a), boxes(b)), warp)

    best: dict[tuple[int, int], Copy] = {}
    for copy in filter(None, _in_threads(confirmed, pairs, "comparing images")):
        key = copy.first, copy.second
        if key not in best or best[key].agreement < copy.agreement:
            best[key] = copy
    return [*found, *best.values()]


def groups(copies: Sequence[Copy]) -> Iterator[list[Copy]]:
    """Yield the copies of one image together, group by group: a copy of a copy belongs to the group."""
    root: dict[int, int] = {}

    def find(k: int) -> int:
        while root.setdefault(k, k) != k:
            k = root[k]
        return k

    for copy in copies:
        root[find(copy.second)] = find(copy.first)
    members = defaultdict(list)
    for copy in copies:
        members[find(copy.first)].append(copy)
    yield from members.values()


def grey(path: str, side: int) -> np.ndarray:
    """Return an image in grey, stretched to a square, uint8 `[side, side]`."""
    pixels = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY)
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)


def _equal_files(paths: Sequence[str]) -> list[list[int]]:
    """Return the images in groups of equal bytes, every image in one group."""
    sizes = [os.path.getsize(path) for path in paths]
    by_size = defaultdict(list)
    for k, size in enumerate(sizes):
        by_size[size].append(k)
    found: dict[object, list[int]] = defaultdict(list)
    for size, same in by_size.items():
        for k in same:
            if len(same) > 1:  # a file of a size of its own is not read
                with open(paths[k], "rb") as file:
                    found[size, hashlib.file_digest(file, "sha256").digest()].append(k)
            else:
                found[size].append(k)
    return sorted(found.values())


def _proposed(small: Sequence[np.ndarray]) -> Iterator[tuple[int, int, View]]:
    """Yield the pairs of small images whose hashes are near, in any view of the second image."""

    def hashes(pixels: np.ndarray) -> np.ndarray:
        return np.stack([imagehash.phash(Image.fromarray(viewed(pixels, view))).hash.ravel() for view in VIEWS])

    if not small:
        return
    bits = np.stack(_in_threads(hashes, small, "hashing images")).astype(np.float32) * 2 - 1  # [I, views, 64]
    # The product of two hashes of ±1 is the number of equal bits less that of others.
    for first in range(0, len(small), 256):
        rows = bits[first : first + 256, 0]
        near = [64 - rows @ bits[first + 1 :, v].T <= 2 * BITS for v in range(len(VIEWS))]
        for a, table in enumerate(np.stack(near, axis=1), start=first):  # [views, later images]
            v, b = np.nonzero(table[:, a - first :])
            distance = -(bits[a + 1 + b, v] @ bits[a, 0])
            for k in np.argsort(distance, kind="stable")[:NEAREST].tolist():
                yield a, a + 1 + int(b[k]), list(VIEWS)[v[k]]


def _align(first: np.ndarray, second: np.ndarray, start: np.ndarray, least: float) -> np.ndarray | None:
    """Return the affine map, float32 `[2, 3]`, from pixels of the first image to those of the second one.

    None if they correlate less than `least` when they are aligned as well as possible.
    """
    if min(first.std(), second.std()) < 1:
        return None
    until = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 75, 1e-4)
    try:
        value, warp = cv2.findTransformECC(
            first, second, start.copy(), cv2.MOTION_AFFINE, until, EVERYWHERE[len(first)], 3
        )
    except cv2.error:  # it does not converge
        return None
    return warp if value >= least else None


def _compare(
    a: int,
    b: int,
    view: View,
    images: tuple[np.ndarray, np.ndarray],
    boxes: tuple[np.ndarray, np.ndarray],
    warp: np.ndarray,
) -> Copy | None:
    """Return the copy that images `a` and `b` are, both uint8 `[LARGE, LARGE]`; None if they differ."""
    final = _align(*images, warp, FINAL)
    if final is None:
        return None
    stretch = np.abs(final[:, :2] - np.eye(2)).max()
    needed = next((share for limit, share in AGREEMENT.items() if stretch <= limit), np.inf)
    scaled = final.copy()
    scaled[:, 2] /= LARGE
    copy = Copy(a, b, view, 0.0, scaled)
    # The second image in the place of the first one, and the part that both show.
    size, flags = (LARGE, LARGE), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(images[1].astype(np.float32), final, size, flags=flags)
    common = cv2.warpAffine(np.ones((LARGE, LARGE), np.float32), final, size, flags=flags) > 0.99
    if common.mean() < COMMON:
        return None
    inner = cv2.erode(common.astype(np.uint8), np.ones((BLOCK, BLOCK), np.uint8), borderValue=0) > 0
    structured, alike = _structure(images[0].astype(np.float32), moved)
    structured &= inner
    if structured.mean() < STRUCTURED or alike[structured].mean() < needed:
        return None
    # In every labelled box, or it is the same place with other objects.
    for x1, y1, x2, y2 in np.concatenate((boxes[0], aligned_boxes(boxes[1], copy))).clip(0, 1) * LARGE:
        part = np.s_[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1]
        if structured[part].any() and alike[part][structured[part]].mean() < 0.5:
            return None
    return copy._replace(agreement=float(alike[structured].mean()))


def _structure(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for the block around every pixel whether one image has structure there, and whether it is the same."""
    a, b = (cv2.GaussianBlur(image, (0, 0), 0.8) for image in (a, b))

    def mean(image: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(image, -1, (BLOCK, BLOCK))

    var_a, var_b = mean(a * a) - mean(a) ** 2, mean(b * b) - mean(b) ** 2
    correlation = (mean(a * b) - mean(a) * mean(b)) / np.sqrt(np.maximum(var_a * var_b, 1e-3))
    return np.maximum(var_a, var_b) > CONTRAST**2, correlation > ALIKE


def _in_threads(function: Callable[[T], R], items: Sequence[T], what: str) -> list[R]:
    """Return the results for all items, with a progress bar. OpenCV computes outside Python's lock."""
    with ThreadPoolExecutor() as pool, tqdm(total=len(items), desc=what, unit="image", disable=None) as bar:
        results: list[R] = []
        for result in pool.map(function, items):
            results.append(result)
            bar.update()
        return results
