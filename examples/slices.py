"""Find small objects in a large image: detect in overlapping slices at full resolution, then join the results.

    pip install '.[examples]'   # here: supervision
    python examples/slices.py large.jpg drawn.jpg --weights yolov4-tiny --slice 640

A network sees an image shrunk to its input; of an object of 20 pixels in 4000 nothing is left. A slice is hardly
shrunk. It costs one detection for each slice, and objects larger than a slice are cut.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import supervision as sv

import yolo
from yolo.images.files import read_image, write_image


def detect_in_slices(
    model: yolo.Detector, image: np.ndarray, side: int = 640, confidence: float = 0.25
) -> sv.Detections:
    """Return the objects of an image RGB uint8 `[h, w, 3]`, boxes in its pixels.

    Slices are squares of `side` pixels that overlap by a fifth, so an object smaller than that is whole in one of them.
    """

    def detect(slices: list[np.ndarray]) -> list[sv.Detections]:
        return [found.to_supervision() for found in model.detect(slices, confidence=confidence)]

    slicer = sv.InferenceSlicer(detect, slice_wh=side, overlap_wh=side // 5, batch_size=8)
    return slicer(image)


def main() -> None:
    """Read the command line, and print what the whole image and its slices give."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", help="the file to read")
    parser.add_argument("drawn", help="the file to write")
    parser.add_argument("--weights", default="yolov4-tiny", help="as for yolo.load: a published name, a run, a file")
    parser.add_argument("--slice", type=int, default=640, help="side of a slice in pixels")
    options = parser.parse_args()
    model, image = yolo.load(options.weights), read_image(options.image)
    found = detect_in_slices(model, image, options.slice)
    print(f"whole image: {len(model.detect(image))} objects, in slices: {len(found)}")
    write_image(Path(options.drawn), sv.BoxAnnotator().annotate(image.copy(), found))


if __name__ == "__main__":
    main()
