"""Every image decoded once, before it is needed, and remembered: a damaged file is found before the first epoch.

What was found is kept in the user's cache folder, by path, size and time of each file, in one file for each folder of
images. So nothing is written beside the data, every command and every working directory shares it, and it can be
deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from yolo.data.index import Index, summary
from yolo.data.turned import other_size, remedy
from yolo.files.atomic import alone, replacing
from yolo.files.reading import read_bytes
from yolo.files.user_cache import cache_folder
from yolo.images.files import decode_image
from yolo.images.opencv import cv2
from yolo.pixels import TooManyPixelsError, max_pixels
from yolo.process.distributed import silent

log = logging.getLogger("yolo")

VERSION = f"1, OpenCV {cv2.__version__}"
"""What was found by another version is found again."""

CHUNK = 16
"""Images that a thread decodes before it reports."""

Stamp = tuple[int, int, int]
"""Size of a file in bytes, times in ns of its last change and of its last change of any kind."""


class Checked(NamedTuple):
    """What decoding an image file found."""

    size_bytes: int
    crc: int
    """CRC-32 of the bytes of the file."""
    width: int
    """Pixels of the image as it is displayed, after its EXIF orientation; 0 if it cannot be decoded."""
    height: int
    fault: str
    """What is wrong with the file; empty if nothing is."""


def checked(paths: Sequence[str | os.PathLike[str]]) -> list[Checked]:
    """Return what is in each image file. Files that have not changed since they were last decoded are not read.

    Several threads decode; a progress bar appears if it takes more than a second. Several processes may call this for
    the same files. An interrupted call keeps what it has done so far.
    """
    names = [os.path.abspath(path) for path in paths]
    stamps = {name: _stamp(name) for name in names}
    file = _memory_of(names)
    known, most = _remembered(file) if file else {}, max_pixels()
    found = {name: known[name][1] for name, stamp in stamps.items() if name in known and known[name][0] == stamp}
    found = {name: result for name, result in found.items() if result.width * result.height <= most}
    new = [name for name in stamps if name not in found]
    chunks = [new[first : first + CHUNK] for first in range(0, len(new), CHUNK)]
    lasting: dict[str, tuple[Stamp, Checked]] = {}
    try:
        with (
            ThreadPoolExecutor() as pool,  # OpenCV decodes outside Python's lock
            tqdm(
                total=len(new), unit="image", desc="checking images", delay=1, leave=False, disable=silent() or None
            ) as bar,
        ):
            for results in pool.map(_decoded, chunks):
                for name, result, lasts in results:
                    found[name], stamp = result, stamps[name]
                    if lasts and stamp is not None:
                        lasting[name] = stamp, result
                bar.update(len(results))
    finally:
        if lasting and file:
            _remember(file, lasting)
    return [found[name] for name in names]


def without_damaged(index: Index, *, skip_faults: bool) -> Index:
    """Return the index without images that cannot be decoded or have another size than their annotations.

    Raises ValueError with the first ten of them unless they are to be skipped, and where none is left.
    """
    kept, faults, turned = [], [], []
    paths = [os.fsdecode(path) for path in index.paths.tolist()]
    for k, (path, found, size) in enumerate(zip(paths, checked(paths), index.sizes.tolist(), strict=True)):
        fault, unturned = found.fault, False
        if not fault and [found.width, found.height] != size:
            fault, unturned = other_size(path, (found.width, found.height), tuple(size))
        if fault:
            faults.append(fault)
        else:
            kept.append(k)
        turned += [path] * unturned
    if faults and not skip_faults:
        raise ValueError(f"{summary(faults, 'fault')}\n{remedy(turned)}")
    if not kept:
        raise ValueError("no image can be used:\n" + summary(faults, "fault"))
    if not faults:
        return index
    return replace(
        index.with_images(kept),
        faults=[*index.faults, *faults],
        left_out=index.left_out + len(faults),
        turned=[*index.turned, *turned],
    )


def _decoded(names: Iterable[str]) -> list[tuple[str, Checked, bool]]:
    """Return each name with what is in the file, and whether that lasts: a file that cannot be read may be tomorrow."""
    results = []
    for name in names:
        data, w, h, fault, lasts = b"", 0, 0, "", True
        try:
            data = read_bytes(name)
            h, w = decode_image(data, name).shape[:2]
        except ValueError as problem:
            fault, lasts = str(problem), not isinstance(problem, TooManyPixelsError)  # the next command may allow more
        except OSError as problem:
            fault, lasts = f"{name}: {problem.strerror or problem}", False
        results.append((name, Checked(len(data), zlib.crc32(data), w, h, fault), lasts))
    return results


def _stamp(name: str) -> Stamp | None:
    """Return the size of a file in bytes and its times in ns, or None if it does not exist."""
    try:
        status = os.stat(name)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _memory_of(names: Iterable[str]) -> Path | None:
    """Return the file that remembers the images of the folders that begin like all of these; None without a cache."""
    # Any common beginning will do; a common path does not exist on several drives.
    folder = os.path.commonprefix([os.path.dirname(name) for name in names])  # noqa: RUF071
    try:
        cache = cache_folder()
    except OSError as problem:
        log.warning("%s; images are decoded again by the next start", problem)
        return None
    return cache / "decoded" / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]}.json"


def _remembered(file: Path) -> dict[str, tuple[Stamp, Checked]]:
    """Return what is remembered by path: nothing if the file is missing, damaged or of another version."""
    try:
        total, content = read_bytes(file).split(b"\n", 1)
        version, entries = json.loads(content) if int(total) == zlib.crc32(content) else ("", {})
        found: dict[str, tuple[Stamp, Checked]] = {
            name: ((size, changed, touched), Checked(size, *rest))
            for name, (size, (changed, touched), *rest) in (entries.items() if version == VERSION else ())
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    kinds = {tuple(map(type, (*stamp, *rest))) for stamp, rest in found.values()}
    return found if kinds <= {(int,) * 7 + (str,)} else {}


def _remember(file: Path, lasting: dict[str, tuple[Stamp, Checked]]) -> None:
    """Add entries to the file, and drop those of images that are gone. What cannot be written is not remembered."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with alone(file):
            # Another process may have written since this one read.
            before = {name: entry for name, entry in _remembered(file).items() if os.path.exists(name)}
            entries = {name: [*stamp[:1], stamp[1:], *found[1:]] for name, (stamp, found) in (before | lasting).items()}
            content = json.dumps([VERSION, entries]).encode("ascii")  # names that are no text become escapes
            with replacing(file) as temporary:
                temporary.write_bytes(b"%d\n" % zlib.crc32(content) + content)
    except OSError as problem:
        log.warning("%s: cannot be written (%s); images are decoded again by the next start", file, problem)
