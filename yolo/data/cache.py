"""Images decoded and shrunk once, in memory that all workers share.

Letters: `h, w` height and width of an image in pixels.

One file holds the pixels of all images and is mapped into every process. It is in RAM (`ram`, deleted with this
process) or on the disk (`disk`, kept for later runs). Images have the size that they get in the network input, or their
own where that is smaller. So without augmentation a sample has exactly the pixels that it has without the cache.
Nothing is written into the user's folders.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from yolo.atomic import replacing
from yolo.data.datasets import ImageDataset
from yolo.data.sample import Sample, View
from yolo.distributed import silent
from yolo.images.opencv import cv2
from yolo.images.placement import Placement
from yolo.size import Size

log = logging.getLogger("yolo")


class Cached(View):
    """A `DataSet` whose images are decoded once.

    Args:
        data: the data set on the disk.
        size: network input that the images are for.
        kind: `ram` or `disk`.
        folder: folder of `disk` caches. The name of a cache follows from the paths, sizes and times of all images, so a
            changed image makes a new cache.
        letterbox: whether images keep their proportions in the network input.

    Raises OSError where there is no room, ValueError for a damaged image.
    """

    data: ImageDataset

    def __init__(
        self, data: ImageDataset, size: Size, kind: Literal["ram", "disk"], folder: Path, *, letterbox: bool = True
    ) -> None:
        super().__init__(data)
        self.size, self.letterbox = size, letterbox
        # int64 [I, 2] heights and widths, int64 [I + 1] where the pixels of each image begin in the file.
        self.sizes = np.array([self._shrunk(k) for k in range(len(data))], dtype=np.int64)
        self.offsets = np.concatenate(([0], np.cumsum(self.sizes.prod(1) * 3)))
        # In RAM the file is deleted with this object, or at the end of the process.
        if kind == "ram":
            shared = Path("/dev/shm")
            handle, name = tempfile.mkstemp(prefix="exact-yolov3-", dir=shared if shared.is_dir() else None)
            os.close(handle)
            self.file = Path(name)
            weakref.finalize(self, self.file.unlink, missing_ok=True)
            try:
                self._fill(self.file)
            except OSError as problem:
                raise OSError(
                    f"{self.file}: no room in memory for {self.offsets[-1] / 1e9:.1f} GB of images: {problem}; "
                    f"use the disk cache"
                ) from problem
        # On the disk a file of the right name and length is complete, since it is written whole or not at all.
        else:
            self.file = folder / f"{self._key()}.pixels"
            if not self.file.is_file() or self.file.stat().st_size != self.offsets[-1]:
                log.warning("images are decoded once into %s (%.1f GB)", self.file, self.offsets[-1] / 1e9)
                with replacing(self.file) as temporary:
                    self._fill(temporary)
        self._pixels: np.ndarray | None = None

    def __getstate__(self) -> dict[str, object]:
        """Return the state without the map: a process that is not forked opens the file for itself."""
        return self.__dict__ | {"_pixels": None}

    def sample(self, k: int) -> Sample:
        """Return image `k`, shrunk, and its target in pixels of the shrunk image."""
        size = Size(*self.sizes[k].tolist())
        if self._pixels is None:  # each process maps the file for itself
            self._pixels = np.memmap(self.file, np.uint8, "r")
        pixels = np.array(self._pixels[self.offsets[k] : self.offsets[k + 1]]).reshape(*size, 3)
        return torch.from_numpy(pixels).permute(2, 0, 1), self.data.target(k, size)

    def _shrunk(self, k: int) -> Size:
        """Return the size of an image in the network input, or its own where a side of that is smaller."""
        size = self.data.index.size(k)
        placed = Placement.of(size, self.size, letterbox=self.letterbox).placed
        return placed if placed.width <= size.width and placed.height <= size.height else size

    def _key(self) -> str:
        """Return a name that follows from paths, sizes and times of the images, the network input and the placement."""
        digest = hashlib.sha256(f"{self.size}{'' if self.letterbox else ' stretch'}".encode())
        for k in range(len(self)):
            status = self.path(k).stat()
            digest.update(f"{self.path(k).resolve()}|{status.st_size}|{status.st_mtime_ns}|".encode())
        return digest.hexdigest()[:32]

    def _fill(self, file: Path) -> None:
        """Decode all images, in threads, and write them to the file one after the other."""

        def shrink(k: int) -> np.ndarray:
            pixels, size = self.data.decode(k), Size(*self.sizes[k].tolist())
            if size == Size.of(pixels):
                return pixels
            return cv2.resize(pixels, size.wh, interpolation=cv2.INTER_LINEAR)  # as `images.resize.place`

        workers = os.cpu_count() or 1
        with ThreadPoolExecutor(workers) as pool, file.open("wb") as output:
            for first in tqdm(
                range(0, len(self), 8 * workers), unit="batch", desc="decoding", disable=silent() or None
            ):
                for pixels in pool.map(shrink, range(first, min(first + 8 * workers, len(self)))):
                    output.write(pixels.data)
