"""Images decoded and shrunk once, in memory that all workers share.

Letters: `h, w` height and width of an image in pixels. One file holds the pixels of all images, mapped into every
process: in RAM (`ram`, gone with this process) or on the disk (`disk`, for the next runs too). The images are as
large as a letterbox makes them in the network input, never larger than they are, so without augmentation a sample has
the very pixels that it would have without the cache. The user's own folders are not touched.
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

import cv2
import numpy as np
import torch
from torchvision import tv_tensors
from tqdm import tqdm

from yolo.atomic import replacing
from yolo.data.datasets import ImageDataset
from yolo.data.sample import Sample, View
from yolo.images.placement import Placement
from yolo.size import Size

log = logging.getLogger("yolo")


class Cached(View):
    """A data set on the disk whose images are decoded once. Answers to `DataSet`.

    Args:
        data: what is cached.
        size: network input (h, w) that the images are for.
        kind: `ram` or `disk`.
        folder: where a `disk` cache lives, by file names, sizes and times of the images: a changed image is a new
            entry.

    Raises OSError where there is no room, ValueError for a damaged image.
    """

    data: ImageDataset

    def __init__(self, data: ImageDataset, size: Size, kind: Literal["ram", "disk"], folder: Path) -> None:
        super().__init__(data)
        self.size = size
        self.sizes = np.array([self._shrunk(k) for k in range(len(data))], dtype=np.int64)
        self.offsets = np.concatenate(([0], np.cumsum(self.sizes.prod(1) * 3)))
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
        else:
            self.file = folder / f"{self._key()}.pixels"
            if not self.file.is_file() or self.file.stat().st_size != self.offsets[-1]:
                log.warning("images are decoded once into %s (%.1f GB)", self.file, self.offsets[-1] / 1e9)
                with replacing(self.file) as temporary:
                    self._fill(temporary)
        self._pixels: np.ndarray | None = None

    def __getstate__(self) -> dict[str, object]:
        """Without the map: a process that is not forked gets the name of the file, not its content."""
        return self.__dict__ | {"_pixels": None}

    def __getitem__(self, k: int) -> Sample:
        """Image `k`, shrunk, and its target in pixels of that."""
        w, h = self.sizes[k].tolist()
        if self._pixels is None:  # mapped by each process for itself
            self._pixels = np.memmap(self.file, np.uint8, "r")
        pixels = np.array(self._pixels[self.offsets[k] : self.offsets[k + 1]]).reshape(h, w, 3)
        target = self.data.target(k, scale=(w, h) / self.data.index.sizes[k])
        return tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1)), target

    def _shrunk(self, k: int) -> tuple[int, int]:
        """Width and height of an image in its letterbox, or its own where that is smaller."""
        w, h = self.data.index.sizes[k].tolist()
        placed = Placement.letterbox(Size(h, w), self.size).placed
        return placed.wh if placed.width <= w and placed.height <= h else (w, h)

    def _key(self) -> str:
        """A name for the content: what the images are called, how large and old they are, and the size they get."""
        digest = hashlib.sha256(f"{self.size}".encode())
        for k in range(len(self)):
            status = self.path(k).stat()
            digest.update(f"{self.path(k).resolve()}|{status.st_size}|{status.st_mtime_ns}|".encode())
        return digest.hexdigest()[:32]

    def _fill(self, file: Path) -> None:
        """Decodes all images, in threads, and writes them one behind the other."""

        def shrink(k: int) -> np.ndarray:
            pixels, size = self.data.decode(k), tuple(self.sizes[k].tolist())
            if size == (pixels.shape[1], pixels.shape[0]):
                return pixels
            return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)  # as `images.place`

        workers = os.cpu_count() or 1
        with ThreadPoolExecutor(workers) as pool, file.open("wb") as output:
            for first in tqdm(range(0, len(self), 8 * workers), unit="batch", desc="decoding", disable=None):
                for pixels in pool.map(shrink, range(first, min(first + 8 * workers, len(self)))):
                    output.write(pixels.data)
