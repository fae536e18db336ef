"""A set without a validation split, divided by itself: which images are held out. No torch."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata

import numpy as np

from yolo.data.index import Index

SHARE = 0.2
"""The share that `train` holds out by default."""

ROBOFLOW = re.compile(r"(.+)\.rf\.[0-9A-Za-z]+")
"""Name of a copy that Roboflow made of an image: all copies of one image stay together."""


def held_out(index: Index, share: float) -> np.ndarray:
    """Return which images are held out, bool `[I]`: those whose name has a hash below `share`.

    The hash depends on nothing but the name, so an image keeps its side when others come or go. If one side has no
    image with objects, the image with objects and the lowest hash is held out, or the one with the highest is not.

    Raises ValueError if fewer than two images, copies of one counted once, have objects.
    """
    names = [_name(os.fsdecode(path)) for path in index.paths.tolist()]
    position = np.array([_hash(name) for name in names])
    # Crowds are not learned and not evaluated.
    objects = np.bincount(index.image[~index.crowd], minlength=len(index)) > 0
    filled = np.unique(position[objects])
    if len(filled) < 2:
        raise ValueError(
            f"{len(filled)} images with objects cannot be divided into training and validation: "
            f"give a validation set with --val PATH, or --eval-on train to evaluate on the training images"
        )
    held = position < share
    if not held[objects].any():
        held |= position == filled[0]
    if held[objects].all():
        held &= position != filled[-1]
    return held


def halves(index: Index, share: float) -> dict[str, Index]:
    """Return the two parts of an undivided set by their names in a table; empty if it cannot be divided."""
    try:
        held = held_out(index, share)
    except ValueError:
        return {}
    return {"for train": index.with_images(np.flatnonzero(~held)), "for val": index.with_images(np.flatnonzero(held))}


def _name(path: str) -> str:
    """Return the name of an image without folder and ending; of a copy, that of its image."""
    stem = unicodedata.normalize("NFC", os.path.splitext(os.path.basename(path))[0])
    copy = ROBOFLOW.fullmatch(stem)
    return copy[1] if copy else stem


def _hash(name: str) -> float:
    """Return a number in [0, 1) that follows from the name alone, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=6).digest()) / 2**48
