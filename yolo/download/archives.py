"""Official archives: fetched and checked, read without trust in the names inside, unpacked without replacing anything.

An archive lies in the folder that its set goes to. Its files get their names one by one, each when it is whole.
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
    """The address at which a mirror has the file: its own beginning, then the official path, `MIRROR/a/b.zip`."""
    return url if mirror is None else f"{mirror.rstrip('/')}/{urlsplit(url).path.lstrip('/')}"


def fetch_archive(official: OfficialFile, folder: Path, mirror: str | None = None) -> Path:
    """The archive in `folder`, downloaded if it is not there. A zip without known checksum is tested by its CRCs.

    Raises DownloadError, OSError and ValueError as `fetch` does.
    """
    urls = dict.fromkeys(mirrored(url, mirror) for url in official.urls)
    check = _zip_fault if official.checksum is None and official.file.endswith(".zip") else None
    return fetch(list(urls), folder / official.file, size=official.size, checksum=official.checksum, check=check)


@contextmanager
def opened(archive: Path) -> Iterator[dict[str, Reader]]:
    """The files in a zip or tar archive, in its order: their names, and what reads each.

    ValueError where it is no archive, or holds what could land outside a folder: a name that is absolute or has `..`,
    a link, a device.
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
    """The files whose whole name matches `pattern`, in `folder` under the name in its group 1.

    Those whose name there matches `last` are written at the end: where they are, all the others are.
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
    """Writes a file, whole or not at all, unless it is there. ValueError if it is there with another content."""
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    elif path.read_bytes() != data:
        raise ValueError(f"{path}: is there and differs from the official file; nothing is replaced, so move it away")


def one(archive: Path, name: str) -> bytes:
    """The content of one file of an archive. ValueError if it has none of that name."""
    with opened(archive) as files:
        if name not in files:
            raise ValueError(f"{archive}: has no {name}; it holds {', '.join(list(files)[:20])}")
        return files[name]()


def missing(files: Sequence[Path]) -> int:
    """How many of them are not there."""
    return sum(not file.is_file() for file in files)


# tarfile's own data filter is weaker: it turns /a into a, and accepts a/../b, a\b, C:/a and links inside the folder.
def _safe(archive: Path, name: str, regular: bool = True) -> str:
    """Return the name of a file in an archive. Raises ValueError for one that could end up outside the folder."""
    path = PurePosixPath(name)
    if not regular or path.is_absolute() or ".." in path.parts or re.search(r"[\\:\0]", name):
        raise ValueError(f"{archive}: holds {name!r}, which is no file inside a folder; nothing was unpacked")
    return name


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # regular files only, see `_safe`
    return file.read()


def _zip_fault(path: Path) -> str | None:
    """What is wrong with a zip file; None if nothing is."""
    try:
        with zipfile.ZipFile(path) as zipped:
            damaged = zipped.testzip()
    except (zipfile.BadZipFile, EOFError) as problem:
        return f"no whole zip file ({problem})"
    return None if damaged is None else f"{damaged} in it is damaged"
