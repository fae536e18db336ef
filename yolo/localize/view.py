"""What a model of one object in an image sees of a data set: at most one object of one class, or the largest object.

Letters: `I` images, `G` objects of all images. No torch.
"""

from __future__ import annotations

import numpy as np

from yolo.data.index import Index
from yolo.names import class_index, did_you_mean
from yolo.options.single import Localizer, SingleObject
from yolo.process.distributed import print_once


def presence(index: Index, options: Localizer, split: str = "") -> Index:
    """Return the index with the target class only, without the images that have several; `split` is for messages.

    A crowd stands for several. What was kept and what was left out is printed. Raises ValueError for a class that the
    data does not have, if none is named though there are several, and if no image has exactly one.
    """
    if options.target is None and len(index.names) > 1:
        raise ValueError(f"the data has {len(index.names)} classes ({_some(index)}); name one of them: --target CLASS")
    number = 0 if options.target is None else class_index(options.target, index.names)
    if number is None:
        hint = did_you_mean(str(options.target), index.names, 3) or f"they are {_some(index)}"
        raise ValueError(f"target {options.target!r}: expected a class of the data; {hint}")
    own = index.with_classes([number])
    counts = np.diff(own.offsets) + np.bincount(own.image[own.crowd], minlength=len(own))
    found = own.with_images(np.flatnonzero(counts <= 1))
    with_one, without, several = (int(which.sum()) for which in (counts == 1, counts == 0, counts > 1))
    name = f"{split}, {own.names[0]}" if split else own.names[0]
    print_once(f"{name}: {with_one:,} images with one, {without:,} without; {several:,} with several are left out")
    if not with_one:
        raise ValueError(f"{name}: no image has exactly one, so there is nothing to learn from or to evaluate on")
    return found


def largest(index: Index, options: SingleObject, split: str = "") -> Index:
    """Return the index with the largest object of each image, by the area of its box; of equal ones the first.

    Crowds are not objects. Images without object are left out. What was kept and what was left out is printed. Raises
    ValueError if no image is left.
    """
    sides = index.boxes[:, 2:] - index.boxes[:, :2]
    area = np.where(index.crowd, 0, sides.prod(axis=1))
    # The first object of each image in descending order of area; sorting by image and area keeps equal ones in order.
    order = np.lexsort((-area, index.image))
    order = order[area[order] > 0]
    _, first = np.unique(index.image[order], return_index=True)
    chosen = np.sort(order[first])
    found = index.with_objects(chosen)
    there = np.diff(found.offsets) > 0
    place = f"{split}: " if split else ""
    print_once(
        f"{place}the largest object of {len(chosen):,} images; {int((~there).sum()):,} images without object are left "
        f"out, and {len(index.labels) - len(chosen):,} other objects"
    )
    if not len(chosen):
        raise ValueError(f"{place}no image has an object, so there is nothing to learn from or to evaluate on")
    return found.with_images(np.flatnonzero(there))


def mean_box(index: Index) -> np.ndarray:
    """Return the mean of all boxes, float64 `[4]` xyxy as fractions of their images."""
    return (index.boxes / np.tile(index.sizes[index.image], 2)).mean(axis=0)


def _some(index: Index) -> str:
    """Return the first class names as text."""
    return ", ".join(index.names[:20]) + (", ..." if len(index.names) > 20 else "")
