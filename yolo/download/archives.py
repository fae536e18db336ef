"""Official archives: downloaded, checked, read without trusting the names inside, unpacked without replacing files.

An archive is kept in the folder of its data set while it is unpacked. Each file appears there once it is complete.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os.path import isfile
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from yolo.download.fetch import OfficialFile, check_address, fetch
from yolo.files.atomic import alone, replacing
from yolo.files.disk import need_room
from yolo.files.members import ArchiveError, Reader, members_of


def mirrored(url: str, mirror: str | None) -> str:
    """Return the address of a file at a mirror: the mirror's own beginning and the official path, `MIRROR/a/b.zip`."""
    return url if mirror is None else f"{mirror.rstrip('/')}/{urlsplit(url).path.lstrip('/')}"


def fetch_archive(official: OfficialFile, folder: Path, mirror: str | None = None) -> Path:
    """Return the archive in `folder`, after downloading it if necessary. A zip without checksum is tested by its CRCs.

    Raises DownloadError, OSError and ValueError as `fetch` does.
    """
    urls = dict.fromkeys(mirrored(url, mirror) for url in official.urls)
    check = _zip_fault if official.checksum is None and official.file.endswith(".zip") else None
    target, size, limit = folder / official.file, official.size, official.limit
    return fetch(list(urls), target, size=size, checksum=official.checksum, check=check, limit=limit)


@contextmanager
def alone_in(folder: Path, mirror: str | None) -> Iterator[None]:
    """Wait until no other process downloads a data set to `folder`, which is created.

    Raises ValueError for a mirror that has no address, OSError if the folder cannot be made.
    """
    check_address(mirrored("http://a/b", mirror))
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / "download"):
        yield


@contextmanager
def opened(archive: Path) -> Iterator[dict[str, Reader]]:
    """Yield the files of a zip or tar archive in its order: the name of each, and a function that reads it.

    Raises ArchiveError if the archive is damaged or encrypted, if its files are far larger than itself, if two have one
    name, or if anything in it could end up outside a folder: an absolute name, one with `..`, a link, a device. An
    ArchiveError of the block is treated alike: the archive is renamed to `ARCHIVE.rejected`.
    """
    try:
        with members_of(archive, archive.suffix) as files:
            yield files
    except ArchiveError as problem:
        raise rejected(archive, str(problem)) from None


def rejected(archive: Path, problem: str) -> ArchiveError:
    """Rename an archive to `ARCHIVE.rejected`, and return the error that says so, to be raised."""
    kept = archive.with_name(f"{archive.name}.rejected")
    archive.replace(kept)
    return ArchiveError(f"{problem}; the archive is now {kept}, and the same command downloads it again")


def unpack(archive: Path, pattern: str, folder: Path, last: str) -> None:
    """Write the files whose whole name matches `pattern` to `folder`, under the name in its group 1.

    Files whose new name matches `last` are written at the end: if they are there, so are all the others.
    Raises ArchiveError for an unsafe or damaged archive, for one without such files or with two of one name; ValueError
    as `put` does; OSError if the disk has no room for them.
    """
    with opened(archive) as files:
        found = [(match[1], read) for name, read in files.items() if (match := re.fullmatch(pattern, name))]
        if not found:
            raise ArchiveError(f"{archive}: none of its {len(files)} files is called {pattern}; is it another archive?")
        if len({unicodedata.normalize("NFC", name.casefold()) for name, _ in found}) < len(found):
            raise ArchiveError(f"{archive}: holds two files of one name, in upper and lower case; nothing was unpacked")
        size = sum(read.size for name, read in found if not (folder / name).exists())
        need_room(folder, size, f"the files of {archive.name}", "make room and start again")
        found.sort(key=lambda pair: bool(re.search(last, pair[0])))
        for name, read in tqdm(found, desc=f"unpacking {archive.name}", unit=" files", disable=None):
            put(folder / name, read())


def put(path: Path, data: bytes) -> None:
    """Write a file, completely or not at all, unless it exists. Raises ValueError if it exists with another content."""
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    elif path.read_bytes() != data:
        raise ValueError(f"{path}: exists and differs from the official file; nothing is replaced, so move it away")


def one(archive: Path, name: str) -> bytes:
    """Return the content of one file of an archive. Raises ArchiveError if there is no file of that name."""
    with opened(archive) as files:
        if name not in files:
            raise ArchiveError(f"{archive}: has no {name}; it holds {', '.join(map(repr, list(files)[:20]))}")
        return files[name]()


def missing(files: Sequence[Path]) -> int:
    """Return the number of files that do not exist."""
    return sum(not isfile(file) for file in files)


def _zip_fault(path: Path) -> str | None:
    """Return what is wrong with a zip file; None if nothing is."""
    try:
        with members_of(path, ".zip") as files:
            for read in files.values():
                read()
    except ArchiveError as problem:
        return str(problem).removeprefix(f"{path}: ")
    return None
