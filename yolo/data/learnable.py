"""Whether there is something to learn, or to evaluate on: asked before the work, not after it. No torch."""

from __future__ import annotations

import logging

import numpy as np

from yolo.data.index import Index

log = logging.getLogger("yolo")

UNLABELLED = 0.5
"""A larger share of images without labels is worth a warning: their label files may be missing."""


def check_learnable(index: Index, place: str, *, allow_empty: bool) -> None:
    """Warn if most images have no labels.

    Args:
        index: images to train or to evaluate on.
        place: the data set and the split, for messages.
        allow_empty: warn of images without an object that counts, too.

    Raises ValueError if no object counts, unless `allow_empty`.
    """
    if reason := nothing_counts(index):
        if not allow_empty:
            raise ValueError(f"{place}: {reason}; correct the labels, or give --allow-empty if that is what you mean")
        log.warning("%s: %s", place, reason)
    elif few := few_labelled(index):
        log.warning("%s: %s", place, few)


def nothing_counts(index: Index) -> str:
    """Return why no object is learned or evaluated; empty if one is.

    Crowds, which VOC's difficult objects are too, and boxes without area are neither learned nor to be found.
    """
    crowd, flat = index.crowd, (index.read[:, 2:] <= 0).any(axis=1)
    if (~crowd & ~flat).any():
        return ""
    if len(crowd):
        kinds = {"crowds or difficult": (crowd & ~flat).sum(), "boxes without area": flat.sum()}
        found = ", ".join(f"{count:,} are {kind}" for kind, count in kinds.items() if count)
        return f"nothing to learn or to evaluate on: of {len(crowd):,} objects {found}, and none is left"
    left_out = f" ({index.omission})" if index.faults else ""
    return f"nothing to learn or to evaluate on: none of the {len(index):,} images has an object{left_out}"


def few_labelled(index: Index) -> str:
    """Return a sentence on images without labels if they are more than half of all; empty otherwise."""
    without = int((np.diff(index.offsets) == 0).sum())
    if without <= UNLABELLED * len(index):
        return ""
    return f"{without:,} of {len(index):,} images have no labels and are background; are their labels missing?"
