"""`python -m yolo get`: official weights into the cache, data sets into data/."""

from __future__ import annotations

from pathlib import Path

from yolo.download.weights import official_weights
from yolo.options.commands import Get

USED = {
    "weights": ("names",),
    "shapes": ("out",),
    "coco": ("split", "images", "out", "mirror"),
    "voc": ("split", "out", "mirror"),
    "bccd": ("out", "mirror"),
    "penn-fudan": ("out", "mirror"),
}
"""The options that each kind knows."""


def run(options: Get) -> None:
    """Downloads what is not there yet, prints where it is. ValueError for an option that the kind does not know."""
    for name in ("names", "split", "images", "out", "mirror"):
        if getattr(options, name) not in (None, ()) and name not in USED[options.kind]:
            flag = "another name" if name == "names" else f"--{name}"
            raise ValueError(f"get {options.kind}: {flag} has no meaning here")
    if options.kind == "weights":
        if not options.names:
            raise ValueError("get weights: which? Give names such as yolov3 or yolov3-tiny")
        for name in options.names:
            print(official_weights(name))
        return
    for path in _data_set(options, options.out or Path("data") / options.kind):
        print(path)


def _data_set(options: Get, out: Path) -> list[Path]:
    """Fetches or draws a set; what a command for training or evaluation can be given."""
    if options.kind == "shapes":  # each imports what it needs: `get weights` does without torch
        from yolo.data.shapes.scenes import make_shapes

        return [make_shapes(out)]
    if options.kind == "coco":
        from yolo.download.coco import SPLITS, get_coco

        return [get_coco(out, options.split or SPLITS[0], options.images, options.mirror)]
    if options.kind == "penn-fudan":
        from yolo.download.penn_fudan import get_penn_fudan

        return [get_penn_fudan(out, options.mirror)]
    from yolo.download.voc import get_bccd, get_voc

    return [get_bccd(out, options.mirror)] if options.kind == "bccd" else get_voc(out, options.split, options.mirror)
