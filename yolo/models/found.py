"""What `detect` returns: detections that know their class names and their image.

Letters: `D` detections, `h, w` height and width of the image in pixels, `C` its channels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, overload

import numpy as np
from torch import Tensor

from yolo.boxes import Detections
from yolo.files.shown import one_line
from yolo.images.draw import draw
from yolo.images.files import read_image, write_image
from yolo.images.opencv import cv2
from yolo.models.coco_rows import coco_rows
from yolo.size import Size

if TYPE_CHECKING:
    import supervision

SIDE = 640
"""The longer side in pixels of the image that a notebook shows at most."""


class Detection(NamedTuple):
    """One object: the name and the index of its class, its score, its box (left, top, right, bottom) in pixels."""

    name: str
    label: int
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, repr=False, eq=False)
class Found(Detections):
    """The detections of one image, with class names and the image; a sequence of `Detection`, the best first.

    As in `Detections`, `boxes` `[D, 4]` are xyxy in pixels of the original image, `scores` `[D]`, `labels` `[D]`.
    `found[0]` is a `Detection`; a slice or a mask, as in `found[found.scores > 0.5]`, gives a `Found`.
    """

    names: Sequence[str]
    """The class names of the model: that of a detection is `names[label]`."""
    size: Size
    """Height and width of the image in pixels."""
    name: str = ""
    """The name of the file, `clip.mp4#17` for frame 17 of a video (from 0); empty for an image that is not a file."""
    path: Path | None = None
    """The file of the image or video; None if there is none."""
    pixels: np.ndarray | None = None
    """The image uint8 `[h, w, C]`, as it was given and not copied; None for a file, which `image` reads again."""

    def __iter__(self) -> Iterator[Detection]:
        rows = zip(self.labels.tolist(), self.scores.tolist(), self.boxes.tolist(), strict=True)
        for label, score, (x1, y1, x2, y2) in rows:
            yield Detection(self.names[label], label, score, (x1, y1, x2, y2))

    @overload
    def __getitem__(self, rows: int) -> Detection: ...
    @overload
    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray | Tensor) -> Self: ...
    def __getitem__(self, rows: int | slice | Sequence[int] | np.ndarray | Tensor) -> Detection | Self:
        """Return one detection, or those of a slice, of row numbers, or of a mask `[D]`."""
        if not isinstance(rows, (int, np.integer)):
            return self.only(rows)
        if not -len(self) <= rows < len(self):
            raise IndexError(f"detection {rows} of {len(self)}")
        return next(iter(self.only([int(rows)])))

    def __repr__(self) -> str:
        where = f" in {one_line(self.name) or 'an image'} ({self.size})"
        return f"Found: {self.listed(self.names, where)}"

    def image(self) -> np.ndarray:
        """Return the image uint8 `[h, w, C]`, from its file if it is one.

        Raises FileNotFoundError or ValueError if the file is gone, or another image by now.
        """
        if self.pixels is not None:
            return self.pixels
        if self.path is None:
            raise ValueError("these detections have neither the pixels nor the file of their image")
        pixels = read_image(self.path)
        if Size.of(pixels) != self.size:
            raise ValueError(f"{self.path}: has changed: it is {Size.of(pixels)} now and was {self.size}; detect again")
        return pixels

    def draw(self, *, scores: bool = True) -> np.ndarray:
        """Return the image with boxes, class names and perhaps scores drawn on it, RGB uint8 `[h, w, 3]`.

        Raises as `image`, and ValueError for an image with other channels than 1 or 3.
        """
        pixels = self.image()
        if pixels.shape[2] not in (1, 3):
            raise ValueError(f"an image of {pixels.shape[2]} channels cannot be drawn on; expected 1 or 3")
        return draw(pixels, self, self.names, scores=scores)

    def save(self, path: str | os.PathLike[str], *, scores: bool = True) -> None:
        """Write the drawn image, whole or not at all; the ending chooses the format, `.png` or `.jpg`.

        Missing folders are made, an older drawing is replaced. Raises as `draw`, ValueError for the file of the image
        itself and for an ending that cannot be written, and OSError if the disk refuses.
        """
        target = Path(path)
        if self.path is not None and target.exists() and self.path.exists() and target.samefile(self.path):
            raise ValueError(f"{target}: is the image itself, which the drawing would replace; give another name")
        write_image(target, self.draw(scores=scores))

    def to_supervision(self, names: Sequence[str] | None = None) -> supervision.Detections:
        """Return the detections as `supervision.Detections`, with `class_name` in its data.

        Raises ImportError with the remedy if the package, an extra, is not installed.
        """
        return super().to_supervision(self.names if names is None else names)

    def to_coco(self, image_id: int | str | None = None) -> list[dict[str, Any]]:
        """Return the rows of COCO's results format, those that `detect --json` writes, as dictionaries for `json`.

        Args:
            image_id: the id of the image; by default the number that a file name such as `000000000139.jpg` is, else
                the name. Files of one name in several folders need ids of their own.

        Raises ValueError for an image without a name if no id is given.
        """
        if not self.name and image_id is None:
            raise ValueError("the image is not a file, so it has no id; give to_coco(image_id=...)")
        return coco_rows(self.name, self, self.names, image_id)

    def _repr_jpeg_(self) -> bytes | None:
        """Return the drawn image for a notebook, small; None, and thus text, if the image cannot be drawn any more."""
        try:
            drawn = self.draw()
        except (OSError, ValueError):
            return None
        scale = min(1.0, SIDE / max(self.size))
        sides = max(1, round(self.size.width * scale)), max(1, round(self.size.height * scale))
        small = cv2.resize(drawn, sides, interpolation=cv2.INTER_AREA)
        return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()
