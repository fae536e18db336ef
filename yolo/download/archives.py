"""Official archives: downloaded, checked, read without trusting the names inside, unpacked without replacing files.

An archive is kept in the folder of its data set while it is unpacked. Each file appears there once it is complete.
"""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from tqdm import tqdm

from yolo.atomic import replacing
from yolo.download.fetch import OfficialFile, fetch

Reader = Callable[[], bytes]


def mirrored(url: str, mirror: str | None) -> str:
    """Return the address of a file at a mirror: the mirror's own beginning and the official path, `MIRROR/a/b.zip`."""
    return url if mirror is None else f"{mirror.rstrip('/')}/{urlsplit(url).path.lstrip('/')}"


def fetch_archive(official: OfficialFile, folder: Path, mirror: str | None = None) -> Path:
    """Return the archive in `folder`, after downloading it if necessary. A zip without checksum is tested by its CRCs.

    Raises DownloadError, OSError and ValueError as `fetch` does.
    """
    urls = dict.fromkeys(mirrored(url, mirror) for url in official.urls)
    check = _zip_fault if official.checksum is None and official.file.endswith(".zip") else None
    return fetch(list(urls), folder / official.file, size=official.size, checksum=official.checksum, check=check)


@contextmanager
def opened(archive: Path) -> Iterator[dict[str, Reader]]:
    """Yield the files of a zip or tar archive in its order: the name of each, and a function that reads it.

    Raises ValueError if the archive is damaged, or if anything in it could end up outside a folder: an absolute name,
    one with `..`, a link, a device.
    """
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as zipped:
                names = [info.filename for info in zipped.infolist() if not info.is_dir()]
                yield {_safe(archive, name): partial(zipped.read, name) for name in names}
        else:
            with tarfile.open(archive) as tar:
                members = [member for member in tar.getmembers() if not member.isdir()]
                yield {_safe(archive, m.name, m.isreg()): partial(_read, tar, m) for m in members}
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as problem:
        raise ValueError(
            f"{archive}: a damaged archive ({problem}); remove it and run the same command again"
        ) from None


def unpack(archive: Path, pattern: str, folder: Path, last: str) -> None:
    """Write the files whose whole name matches `pattern` to `folder`, under the name in its group 1.

    Files whose new name matches `last` are written at the end: if they are there, so are all the others.
    Raises ValueError for an unsafe or damaged archive, for one without such files, and as `put` does.
    """
    with opened(archive) as files:
        found = {match[1]: read for name, read in files.items() if (match := re.fullmatch(pattern, name))}
        if not found:
            raise ValueError(f"{archive}: none of its {len(files)} files is called {pattern}; is it another archive?")
        order = sorted(found, key=lambda name: bool(re.search(last, name)))
        for name in tqdm(order, desc=f"unpacking {archive.name}", unit=" files", disable=None):
            put(folder / name, found[name]())


def put(path: Path, data: bytes) -> None:
    """Write a file, completely or not at all, unless it exists. Raises ValueError if it exists with another content."""
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    elif path.read_bytes() != data:
        raise ValueError(f"{path}: exists and differs from the official file; nothing is replaced, so move it away")


def one(archive: Path, name: str) -> bytes:
    """Return the content of one file of an archive. Raises ValueError if there is no file of that name."""
    with opened(archive) as files:
        if name not in files:
            raise ValueError(f"{archive}: has no {name}; it holds {', '.join(list(files)[:20])}")
        return files[name]()


def missing(files: Sequence[Path]) -> int:
    """Return the number of files that do not exist."""
    return sum(not file.is_file() for file in files)


# tarfile's own data filter is weaker: it turns /a into a, and accepts a/../b, a\b, C:/a and links inside the folder.
def _safe(archive: Path, name: str, regular: bool = True) -> str:
    """Return the name of a file in an archive. Raises ValueError for one that could end up outside the folder."""
    path = PurePosixPath(name)
    if not regular or path.is_absolute() or ".." in path.parts or re.search(r"[\\:\0]", name):
        raise ValueError(f"{archive}: holds {name!r}, which is not a file inside a folder; nothing was unpacked")
    return name


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # true for regular files, and `_safe` refuses all others
    return file.read()


def _zip_fault(path: Path) -> str | None:
    """Return what is wrong with a zip file; None if nothing is."""
    try:
        with zipfile.ZipFile(path) as zipped:
            damaged = zipped.testzip()
    except (zipfile.BadZipFile, EOFError) as problem:
        return f"not a complete zip file ({problem})"
    return None if damaged is None else f"{damaged} in it is damaged"
