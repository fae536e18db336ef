"""Images to network inputs: resize, letterbox, darknet's own resize."""

from __future__ import annotations

import numpy as np

from yolo.images.opencv import cv2
from yolo.images.placement import Placement
from yolo.size import Size

GREY = 128  # of the bars of a letterbox: 0.5 * 255, rounded up


def place(image: np.ndarray, placement: Placement) -> np.ndarray:
    """Resize a uint8 image `[h, w, C]` and paste it on grey 128. Returns a new uint8 array `[input_h, input_w, C]`.

    Interpolation is bilinear (cv2.INTER_LINEAR, which darknet uses for video and training). Shrinking is not
    antialiased, because darknet's is not and its weights have learned from such images. Raises ValueError if the image
    is not uint8 or does not have the size that the placement was made for.
    """
    _check(image, placement)
    if placement.placed == placement.image:
        return _paste(image, placement, GREY)
    (height, width), (left, top) = placement.placed, placement.offset
    canvas = np.full((*placement.input, image.shape[2]), GREY, np.uint8)
    part = canvas[top : top + height, left : left + width]
    resized = cv2.resize(image, placement.placed.wh, dst=part, interpolation=cv2.INTER_LINEAR)
    if resized is not part:  # OpenCV drops a last axis of 1, and does not always write to `dst`
        part[:] = resized.reshape(part.shape)
    return canvas


def darknet_resize(image: np.ndarray, size: Size) -> np.ndarray:
    """Resize a float32 image `[h, w, C]` to `size`, bit for bit as darknet does it.

    Separable bilinear interpolation with aligned corners, in float32: first the columns, then the rows. darknet adds no
    second tap in the last row. If rounding puts that row just before the last source row, it becomes almost black, and
    darknet's networks have always seen it so. (Source: the behaviour of darknet's resize_image. A target width of 1
    gives the last column, as there. A target height of 1, which divides by zero there, gives the first row.)
    Raises ValueError if the image is not float32 with three axes.
    """
    if image.dtype != np.float32 or image.ndim != 3:
        raise ValueError(f"darknet_resize: got {image.dtype} {image.shape}, expected a float32 image [h, w, C]")
    left, right, dx = _taps(image.shape[1], size.width)
    above, below, dy = _taps(image.shape[0], size.height)
    dx, dy = dx[:, None], dy[:, None, None]
    columns = (1 - dx) * image[:, left] + dx * image[:, right]
    columns[:, -1] = image[:, -1]
    rows = (1 - dy) * columns[above]
    if image.shape[0] > 1:
        rows[:-1] += dy[:-1] * columns[below[:-1]]
    return rows


def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two source indices and the float32 weight of the second, for each of `target` positions along an axis."""
    scale = np.float32(source - 1) / np.float32(max(target - 1, 1))
    position = np.arange(target, dtype=np.float32) * scale
    first = position.astype(np.intp)
    return np.minimum(first, source - 1), np.minimum(first + 1, source - 1), position - first.astype(np.float32)


def darknet_place(image: np.ndarray, placement: Placement) -> np.ndarray:
    """Return a uint8 image `[h, w, C]` as darknet's own float32 network input `[C, input_h, input_w]` in [0, 1].

    Values are divided by 255 (for all 256 of them the float32 quotient is the rounded float64 one), resized by
    `darknet_resize` and pasted on 0.5. Raises ValueError as `place` does.
    """
    _check(image, placement)
    resized = darknet_resize(np.divide(image, np.float32(255), dtype=np.float32), placement.placed)
    if placement.placed != placement.input:
        resized = _paste(resized, placement, 0.5)
    return np.ascontiguousarray(resized.transpose(2, 0, 1))


def _check(image: np.ndarray, placement: Placement) -> None:
    """Raise ValueError unless the image is uint8 `[h, w, C]` of the placement's size."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[:2] != placement.image:
        h, w = placement.image
        raise ValueError(f"got an image {image.dtype} {image.shape}, expected uint8 ({h}, {w}, C), [h, w, C]")


def _paste(resized: np.ndarray, placement: Placement, grey: float) -> np.ndarray:
    """Return a new array `[input_h, input_w, C]` of `grey` with the resized image at its offset."""
    (height, width), (left, top) = placement.placed, placement.offset
    canvas = np.full((*placement.input, resized.shape[2]), grey, resized.dtype)
    canvas[top : top + height, left : left + width] = resized
    return canvas
