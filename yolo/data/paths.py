"""Paths of another machine, found again below the folder of a data set. No torch.

Exporters write backslashes, drives, servers, `data/` in front of every path, or the folder where they ran. Such a path
means the file that agrees with the longest end of it. Two files that agree equally are an error that names both.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from yolo.data.split_names import kind
from yolo.images.files import IMAGE_SUFFIXES

LOOKED_AT = 20  # number of paths that decide in which folder all of them begin
DEEPEST = 64  # names at the end of a path that are looked for; each end is looked for on its own


def files_below(folder: str | os.PathLike[str], endings: Collection[str] = ()) -> Iterator[str]:
    """Yield the files in a folder, then those in its subfolders, relative to it, in the order of their names.

    Hidden files are left out, so are those that macOS adds to archives. `endings`: only these, in lower case.
    """
    waiting = [""]
    for prefix in waiting:  # grows as subfolders are found
        names, deeper = [], []
        for entry in listed(os.path.join(folder, prefix)):
            if entry.is_dir():
                deeper += [f"{prefix}{entry.name}/"] if not _is_loop(entry, folder, prefix) else []
            elif not endings or os.path.splitext(entry.name)[1].lower() in endings:
                names.append(prefix + entry.name)
        yield from sorted(names)
        waiting += sorted(deeper)


def listed(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    """Return the entries of a folder without hidden ones (`._a.jpg`, `.DS_Store`); empty if it is not a folder.

    Links that lead to themselves are left out too.
    """
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]
            return [entry for entry in shown if _leads_somewhere(entry)]
    except (OSError, ValueError):  # the latter for a zero byte or half of a letter in its name
        if os.path.isdir(folder):  # one that cannot be read
            raise
        return []


def _leads_somewhere(entry: os.DirEntry[str]) -> bool:
    """Return False for a link that leads to itself."""
    try:
        entry.is_dir()
    except OSError:
        return False
    return True


def _is_loop(entry: os.DirEntry[str], folder: str | os.PathLike[str], prefix: str) -> bool:
    """Return whether a folder is a link to one of those on the way to it from `folder`, or to one that holds these."""
    if not entry.is_symlink():
        return False
    real, names = os.path.join(os.path.realpath(entry.path), ""), prefix.split("/")
    ways = (os.path.join(folder, *names[:length]) for length in range(len(names)))
    return any(os.path.join(os.path.realpath(way), "").startswith(real) for way in ways)


def components(path: str) -> list[str]:
    """Return the names in a path of any machine, without drive, server, `.` and `..`."""
    if "://" in path:
        path = unquote(urlsplit(path).path)
    return [name for name in re.split(r"[/\\]+", path) if name not in ("", ".", "..") and not name.endswith(":")]


class Tails:
    """Files by the ends of their paths. Letter case and the two ways to write an accent do not matter."""

    def __init__(self, files: Iterable[str]) -> None:
        self.by_name: defaultdict[str, list[str]] = defaultdict(list)
        for file in files:
            self.by_name[_folded(file.rpartition("/")[2])].append(file)

    def find(self, path: str) -> list[str]:
        """Return the files that agree with the longest end of `path`: one, none, or several."""
        wanted = [_folded(name) for name in components(path)]
        found = self.by_name.get(wanted[-1], []) if wanted else []
        if len(found) > 1:
            agreeing = [_agreement(wanted, _folded(file).split("/")) for file in found]
            found = [file for file, length in zip(found, agreeing, strict=True) if length == max(agreeing)]
        # Of a.jpg and A.JPG the one in the same spelling.
        return [file for file in found if file.endswith(components(path)[-1])] or found if len(found) > 1 else found


def _agreement(one: list[str], other: list[str]) -> int:
    """Return how many names at the end of two paths are the same."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _folded(name: str) -> str:
    return name.casefold() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def locate(
    written: Sequence[str], folders: Sequence[Path], root: Path, source: Path, split: str
) -> tuple[list[str], list[str]]:
    """Return the files that the paths of an annotation file or list mean, and notes of what was not where it should be.

    Args:
        written: the paths as in the file.
        folders: where they may begin, best first; the first that holds one of the first paths counts for all.
        root: the folder of the data set, searched if no path is as it was written.
        source: the file, for messages.
        split: name of the split: images in a folder of another split are not taken for its images.

    A path without a file is returned as it would be. Raises ValueError if no path leads to a file, or one to several.
    """
    first = [path for path in written if path][:LOOKED_AT]
    base = next((folder for folder in folders if any(os.path.isfile(folder / path) for path in first)), None)
    start = base or folders[0]
    found = [_joined(str(start), path) for path in written]
    listings: dict[str, set[str]] = {}
    lost = []
    for k, file in enumerate(found):
        parent, _, name = file.rpartition(os.sep)
        if parent not in listings:
            listings[parent] = {entry.name for entry in listed(parent or os.curdir)}
        if name not in listings[parent]:
            lost.append(k)
    if not lost:
        return found, []
    # By the end of the path, of the images of this split.
    below = base or root
    tails = Tails(file for file in files_below(below, IMAGE_SUFFIXES) if not _is_of_another(file, split))
    moved = []
    for k in lost:
        files = tails.find(written[k])
        if len(files) > 1:
            raise ValueError(
                f"{source}: {written[k]} may be {' or '.join(str(below / file) for file in files[:3])}; "
                f"which one is not clear: write more of the path, or remove the file that is not meant"
            )
        if files:
            found[k] = str(below / files[0])
            moved.append(k)
    if base is None and not moved:
        raise ValueError(
            f"{source}: its images are not found: {', '.join(first[:3]) or 'no entry has a file_name'}; "
            f"looked in {', '.join(map(str, dict.fromkeys(folders)))}, and for files of these names below {root}"
        )
    return found, [_moved(source, len(moved), len(written), written[moved[0]], found[moved[0]])] if moved else []


def _joined(start: str, path: str) -> str:
    """Return `start / path` as text, ten times as fast as with `Path` where the path has nothing odd."""
    odd = start in (os.curdir, os.sep) or not path or "./" in path or "//" in path or path[0] == os.sep
    return str(Path(start, path)) if odd else f"{start}{os.sep}{path}"


def _moved(source: Path, count: int, of: int, written: str, found: str) -> str:
    return f"{source}: {count:,} of {of:,} paths are not as written, such as {written}; found by their ends: {found}"


def _is_of_another(file: str, split: str) -> bool:
    """Return whether a file is in a folder that is named like another split."""
    own = kind(split)
    others = {"train", "val", "test"} - {own}
    return own in ("train", "val", "test") and any(kind(name) in others for name in file.split("/")[:-1])


def place(written: str, roots: Sequence[Path]) -> tuple[Path, bool]:
    """Return the folder or file that a path of a description means, and whether it is where the path says.

    The longest end that exists below one of `roots` counts, if it keeps the word for the split: of `../test/images`,
    the end `images` would be other images. A path without any such end is returned below the first root.
    """
    for root in roots:
        if os.path.exists(root / written):
            return root / written, True
    names = components(written)[-DEEPEST:]
    last = max((k for k, name in enumerate(names) if kind(name)), default=len(names) - 1)
    for k in range(last + 1):
        for root in roots:
            if os.path.exists(found := root.joinpath(*names[k:])):
                return found, False
    return roots[0] / written, True
