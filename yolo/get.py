"""`python -m yolo get`: official files into the cache."""

from __future__ import annotations

from yolo.official import official_weights
from yolo.options import Get


def run(options: Get) -> None:
    """Downloads what is not there yet; prints a path per name. ValueError for a name that nobody published."""
    if not options.names:
        raise ValueError("get weights: which? Give names such as yolov3 or yolov3-tiny")
    for name in options.names:
        print(official_weights(name))
