"""Files in zip and tar archives of others: looked at before they are unpacked, never larger than they say. No torch."""

from __future__ import annotations

import errno
import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from os.path import isfile
from pathlib import Path, PurePosixPath
from typing import IO

from yolo.files.reading import reading

RATIO = 50
"""How much larger than an archive its files may be. Those of COCO's annotations are four times as large."""

LARGEST_FILE = 2**30
"""Bytes of one file in an archive; the largest of COCO's has 449 MB."""

PIECE = 2**20
"""Bytes that are inflated at once."""


class ArchiveError(ValueError):
    """What is wrong with an archive. The message begins with its path."""


@dataclass(frozen=True)
class Reader:
    """A file of an archive. Called, it returns the content, `size` bytes, or raises ArchiveError."""

    archive: Path
    size: int
    open: Callable[[], IO[bytes] | None]

    def __call__(self) -> bytes:
        content = bytearray()
        with naming(self.archive), self.open() or io.BytesIO() as file:
            # In pieces: a reader of the whole may inflate more than the size that the archive states.
            while piece := file.read(PIECE):
                content += piece
        if len(content) != self.size:
            raise ArchiveError(f"{self.archive}: a file in it has {len(content):,} bytes, not the stated {self.size:,}")
        return bytes(content)


@contextmanager
def naming(archive: Path) -> Iterator[None]:
    """Turn what libraries raise for a damaged archive, or a damaged file in it, into an ArchiveError that names it."""
    try:
        with reading(archive, "an archive"):
            yield
    except ArchiveError:
        raise
    except (ValueError, OSError) as problem:
        # An error of the disk has a number; Pillow's have none, and EINVAL is a place before the start of the file.
        if getattr(problem, "errno", None) not in (None, errno.EINVAL):
            raise
        text = str(problem)
        raise ArchiveError(text if str(archive) in text else f"{archive}: a damaged archive ({text})") from None


@contextmanager
def members_of(archive: Path, kind: str) -> Iterator[dict[str, Reader]]:
    """Yield the files of an archive, of which nothing but names and sizes was looked at. Raises ArchiveError."""
    with ExitStack() as stack:
        with naming(archive):
            if not isfile(archive):
                raise FileNotFoundError(errno.ENOENT, f"{archive}: does not exist, or is not a file")
            list_them = _of_zip if kind == ".zip" else _of_tar
            members = [(_safe(archive, name), reader) for name, reader in list_them(archive, stack)]
            # Before anything is inflated: what would come out?
            total, size = sum(reader.size for _, reader in members), archive.stat().st_size
            if total > RATIO * size + PIECE or any(not 0 <= reader.size <= LARGEST_FILE for _, reader in members):
                raise ArchiveError(f"{archive}: {size:,} bytes that would become {total:,}; not unpacked")
            files = dict(members)
            if len(files) < len(members):
                raise ArchiveError(f"{archive}: holds two files of one name; nothing was unpacked")
        yield files


def _of_zip(archive: Path, stack: ExitStack) -> Iterator[tuple[str, Reader]]:
    """Yield name and reader of each file of a zip archive, which the stack closes."""
    zipped = stack.enter_context(zipfile.ZipFile(archive))
    for info in zipped.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir() and kind in (0, stat.S_IFDIR):
            continue
        if kind not in (0, stat.S_IFREG):
            raise ArchiveError(f"{archive}: holds {info.filename!r}, which is a link or a device; nothing was unpacked")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            how = "encrypted" if info.flag_bits & 1 else f"compressed by method {info.compress_type}"
            raise ArchiveError(f"{archive}: {info.filename!r} in it is {how}, expected a plain or deflated file")
        yield info.filename, Reader(archive, info.file_size, partial(zipped.open, info))


class _Pieces(io.BufferedReader):
    """A tar archive of which no more than a piece is read at once. tarfile asks for as much as a header states."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= PIECE:
            raise ArchiveError(f"{self.name}: a damaged archive: a header of {size} bytes")
        return super().read(size)


def _of_tar(archive: Path, stack: ExitStack) -> Iterator[tuple[str, Reader]]:
    """Yield name and reader of each file of a tar archive without compression, which the stack closes."""
    file = stack.enter_context(_Pieces(archive.open("rb", buffering=0)))
    tar = stack.enter_context(tarfile.open(fileobj=file, mode="r:"))  # noqa: SIM115
    for member in tar:
        if member.size < 0:  # tarfile would read the same member for ever
            raise ArchiveError(f"{archive}: a damaged archive: {member.name!r} has {member.size} bytes")
        if member.isdir():
            continue
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            raise ArchiveError(f"{archive}: holds {member.name!r}, which is not a plain file; nothing was unpacked")
        yield member.name, Reader(archive, member.size, partial(tar.extractfile, member))
    file.seek(tar.offset)  # tarfile takes a damaged header for the end, which is a block of zeros
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise ArchiveError(f"{archive}: a damaged archive: no header and no end at byte {tar.offset:,}")


# tarfile's own data filter is weaker: it turns /a into a, and accepts a/../b, a\b, C:/a and links inside the folder.
def _safe(archive: Path, name: str) -> str:
    """Return the name of a file in an archive. Raises ArchiveError for one that could end up outside the folder, that
    is too long, or that does not belong on a terminal."""
    path = PurePosixPath(name)
    long = any(len(part.encode("utf-8", "replace")) > 250 for part in path.parts)
    if path.is_absolute() or ".." in path.parts or re.search(r"[\\:]", name) or not name.isprintable() or long:
        raise ArchiveError(
            f"{archive}: holds {name[:300]!r}, which is not the name of a file inside a folder; nothing was unpacked"
        )
    return name
