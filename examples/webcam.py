"""Detect in the newest frames of a camera and show them, with the frames per second.

    python examples/webcam.py                          # camera 0, yolov4-tiny; the key q ends it
    python examples/webcam.py clip.mp4 my.safetensors  # a video, or the URL of a stream, and other weights

Where OpenCV has no windows (opencv-python-headless, or no display) the newest drawing is in webcam.jpg instead.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque

import cv2

import yolo

TITLE = "Exact YOLOv3"


def can_show() -> bool:
    """Open the window. Returns False if OpenCV has none; without a display its Qt would end the process."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        cv2.namedWindow(TITLE)
    except cv2.error:
        return False
    return True


def watch(model: yolo.Detector, source: int | str, target: str = "webcam.jpg") -> int:
    """Detect until the source ends or somebody presses q, and return the number of frames."""
    window, frames = can_show(), 0
    times: deque[float] = deque(maxlen=30)
    for found in model.stream(source):
        frames += 1
        times.append(time.perf_counter())
        fps = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
        print(f"\r{fps:5.1f} frames per second, {len(found)} objects ", end="", flush=True)
        if not window:
            found.save(target)
            continue
        cv2.imshow(TITLE, found.draw()[..., ::-1])
        if cv2.waitKey(1) == ord("q"):
            break
    print()
    return frames


if __name__ == "__main__":
    source, weights = [*sys.argv[1:], *["0", "yolov4-tiny"][len(sys.argv) - 1 :]]
    try:
        watch(yolo.load(weights), int(source) if source.isdecimal() else source)
    except KeyboardInterrupt:
        print()
