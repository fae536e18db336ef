"""`python -m yolo get`: downloads official weights to the cache, and downloads or draws data sets to data/."""

from __future__ import annotations

from pathlib import Path

from yolo.download.weights import official_weights
from yolo.options.commands import Get

USED = {
    "weights": ("names",),
    "shapes": ("out",),
    "singles": ("out", "images", "difficulty", "seed"),
    "pedestrians": ("out", "images", "seed"),
    "coco": ("split", "images", "out", "mirror"),
    "voc": ("split", "out", "mirror"),
    "bccd": ("out", "mirror"),
    "penn-fudan": ("out", "mirror"),
}
"""The options that have a meaning for each kind."""


def run(options: Get) -> None:
    """Download what is missing and print its paths. Raises ValueError for an option without meaning for the kind."""
    for name in ("names", "split", "images", "difficulty", "seed", "out", "mirror"):
        if getattr(options, name) not in (None, ()) and name not in USED[options.kind]:
            flag = "another name" if name == "names" else f"--{name}"
            raise ValueError(f"get {options.kind}: {flag} has no meaning here")
    if options.kind == "weights":
        if not options.names:
            raise ValueError("get weights: name at least one file, for example yolov3")
        for name in options.names:
            print(official_weights(name))
        return
    for path in _data_set(options, options.out or Path("data") / options.kind):
        print(path)


def _data_set(options: Get, out: Path) -> list[Path]:
    """Download or draw a data set. Returns the paths that training and evaluation take."""
    if options.kind == "shapes":  # imported only when needed, because `get weights` works without torch
        from yolo.data.shapes.scenes import make_shapes

        return [make_shapes(out)]
    if options.kind == "singles":
        from yolo.data.shapes.singles import make_singles

        train = 1000 if options.images is None else options.images
        val = max(train * 2 // 5, 1)
        return [make_singles(out, options.seed or 0, train, val, options.difficulty or "big")]
    if options.kind == "pedestrians":
        from yolo.data.shapes.pedestrians import make_pedestrians

        return [make_pedestrians(out, 200 if options.images is None else options.images, options.seed or 0)]
    if options.kind == "coco":
        from yolo.download.coco import SPLITS, get_coco

        return [get_coco(out, options.split or SPLITS[0], options.images, options.mirror)]
    if options.kind == "penn-fudan":
        from yolo.download.penn_fudan import get_penn_fudan

        return [get_penn_fudan(out, options.mirror)]
    from yolo.download.voc import get_bccd, get_voc

    return [get_bccd(out, options.mirror)] if options.kind == "bccd" else get_voc(out, options.split, options.mirror)
