"""Images decoded and shrunk once, in memory that all workers share.

Letters: `I` images, `h, w` height and width of an image in pixels.

One file holds the pixels of all images, one after the other, then a checksum of each image and one of the checksums.
It is in RAM (`ram`, gone with this process however that ends) or on the disk (`disk`, kept for later runs). Images have
the size that they get in the network input, or their own where that is smaller. So without augmentation a sample has
exactly the pixels that it has without the cache. Nothing is written into the user's folders.

The file is read, not mapped: a mapped file that is cut ends the process. The first time that an image is read, its
checksum is compared. What is not as it was written is decoded again.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import shutil
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from yolo.data.datasets import ImageDataset
from yolo.data.sample import Sample, View
from yolo.files.atomic import alone, replacing
from yolo.images.opencv import cv2
from yolo.images.placement import Placement
from yolo.process.distributed import silent
from yolo.process.memory import free_memory, memory_file
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
        # 1 for images whose checksum was compared, and at the end whether damage was logged; forked workers share it.
        self._seen: mmap.mmap | bytearray = mmap.mmap(-1, len(data) + 1)
        self._lasts, needs = kind == "disk", int(self.offsets[-1])
        if kind == "ram":
            self.file = memory_file(self)
            if needs > (free := free_memory()):
                raise OSError(f"no room in memory for {_gb(needs, free)}; use the disk cache")
            self._fill(self.file)
        else:
            self.file = folder / f"{self._key()}.pixels"
            if self._checksums() is None:
                self._make(folder, needs)
        checksums = self._checksums()
        if checksums is None:
            raise OSError(f"{self.file}: another program has changed it while it was made; start again")
        self._sums = checksums

    def __getstate__(self) -> dict[str, object]:
        """Return the state without shared memory: a process that is not forked compares the checksums for itself."""
        return self.__dict__ | {"_seen": bytearray(len(self) + 1)}

    def sample(self, k: int) -> Sample:
        """Return image `k`, shrunk, and its target in pixels of the shrunk image."""
        size = Size(*self.sizes[k].tolist())
        start, end = self.offsets[k : k + 2].tolist()
        pixels = self._read(start, end - start)
        if len(pixels) == end - start and (self._seen[k] or zlib.crc32(pixels.data) == self._sums[k]):
            self._seen[k] = 1
        else:
            self._damaged(k)
            pixels = self._decoded(k)
        return torch.from_numpy(pixels.reshape(*size, 3)).permute(2, 0, 1), self.data.target(k, size)

    def _read(self, start: int, count: int) -> np.ndarray:
        """Return bytes of the file, uint8 `[count]`; fewer if it was cut, none if it cannot be read."""
        try:
            return np.fromfile(self.file, np.uint8, count, offset=start)
        except OSError:
            return np.zeros(0, np.uint8)

    def _damaged(self, k: int) -> None:
        """Log, once, that the file is damaged at image `k`, and have the next start make it anew."""
        if not self._seen[-1]:
            self._seen[-1] = 1
            log.warning(
                "%s: damaged at %s; such images are decoded again, and all by the next start", self.file, self.path(k)
            )
        if self._lasts:
            with suppress(OSError):  # without its last byte it has the wrong size
                os.truncate(self.file, min(self.file.stat().st_size, self._size() - 1))

    def _size(self) -> int:
        """Return the number of bytes of the file."""
        return int(self.offsets[-1]) + 4 * (len(self) + 1)

    def _checksums(self) -> np.ndarray | None:
        """Return the CRC-32 of each image, uint32 `[I]`; None if the file is missing, cut or of another kind."""
        try:
            if self.file.stat().st_size != self._size():
                return None
        except OSError:
            return None
        sums = self._read(int(self.offsets[-1]), 4 * (len(self) + 1)).view("<u4")
        return sums[:-1] if sums[-1] == zlib.crc32(sums[:-1].data) else None

    def _make(self, folder: Path, needs: int) -> None:
        """Make the file, or wait until another process has made it. Raises OSError if there is no room."""
        folder.mkdir(parents=True, exist_ok=True)
        with alone(self.file) as locked:
            if self._checksums() is not None:
                return
            # What killed processes have left; no other one makes it now.
            for left in folder.glob(f".{self.file.name}.*.part") if locked else ():
                left.unlink(missing_ok=True)
            if needs > (free := shutil.disk_usage(folder).free):
                raise OSError(f"{folder}: no room for {_gb(needs, free)}; make room, or train without the cache")
            again = "damaged, or of another version: " if self.file.exists() else ""
            log.warning("%simages are decoded once into %s (%.1f GB)", again, self.file, needs / 1e9)
            with replacing(self.file) as temporary:
                self._fill(temporary)

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

    def _decoded(self, k: int) -> np.ndarray:
        """Return image `k`, shrunk, uint8 `[h, w, 3]`."""
        pixels, size = self.data.decode(k), Size(*self.sizes[k].tolist())
        if size == Size.of(pixels):
            return pixels
        return cv2.resize(pixels, size.wh, interpolation=cv2.INTER_LINEAR)  # as `images.resize.place`

    def _fill(self, file: Path) -> None:
        """Decode all images, in threads, and write them to the file one after the other, with their checksums."""
        workers, sums = os.cpu_count() or 1, []
        with ThreadPoolExecutor(workers) as pool, file.open("wb") as output:
            for first in tqdm(
                range(0, len(self), 8 * workers), unit="batch", desc="decoding", disable=silent() or None
            ):
                for pixels in pool.map(self._decoded, range(first, min(first + 8 * workers, len(self)))):
                    sums.append(zlib.crc32(pixels.data))
                    output.write(pixels.data)
            table = np.array(sums, "<u4")
            output.write(table.tobytes() + np.array([zlib.crc32(table.data)], "<u4").tobytes())


def _gb(needs: float, free: float) -> str:
    """Return in words how much is needed and how much is free, given in bytes."""
    return f"{needs / 1e9:.1f} GB of images, {free / 1e9:.1f} GB are free"
