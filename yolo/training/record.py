"""What a run keeps of its data, so that a resume can tell what changed. Pure functions of arrays and text, no torch.

Letters: `I` images, `G` objects of all images.

`data.json` has one *part* for training and one for evaluation. A part has its conditions (path, split, what was left
out), the class names, and a line for each image: its name, a digest of its objects, size and CRC-32 of its file. Names
are relative to the data's own folder, so a set that moved has the same lines.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from yolo.data.index import Index
from yolo.files.reading import read_bytes

FORMAT = 1
"""The format of data.json."""

SHOWN = 3
"""Images, or other changes of one kind, that a message names."""


class ImageLine(NamedTuple):
    """What is kept of an image: its name, the digest of its objects, bytes and CRC-32 of its file."""

    name: str
    objects: str
    size: int
    crc: int


class Part(NamedTuple):
    """What is kept of the images to train on, or of those to evaluate on.

    `conditions` say what was opened and how. `names` are the class names in the order of the labels, `listed` the same
    in the order of the data.
    """

    conditions: dict[str, Any]
    names: list[str]
    listed: list[str]
    images: list[ImageLine]


class Record(NamedTuple):
    """What data.json holds: both parts, `val` None if the run evaluates on its training images, and accepted changes.

    Each of the accepted changes has the epoch, the step and the sentences of the message.
    """

    train: Part
    val: Part | None
    accepted: list[dict[str, Any]]


def part_of(
    index: Index, path: Path, listed: Sequence[str], files: Iterable[tuple[int, int]], conditions: Mapping[str, Any]
) -> Part:
    """Return the part of a data set.

    Args:
        index: its images and objects.
        path: the file or folder of the data.
        listed: its class names in its own order.
        files: I pairs, bytes and CRC-32 of the image files.
        conditions: what was opened and how.
    """
    counts = {"images": len(index), "objects": len(index.labels), "left_out": index.left_out}
    lines = zip(names_of(index, path), digests(index), files, strict=True)
    kept = [ImageLine(name, objects, *file) for name, objects, file in lines]
    return Part({**conditions, **counts}, list(index.names), list(listed), kept)


def names_of(index: Index, path: Path) -> list[str]:
    """Return I names of images, relative to the folder of the data at `path` or else to the one that holds them all."""
    paths = [os.path.abspath(os.fsdecode(one)) for one in index.paths.tolist()]
    folder = os.path.abspath(path if path.is_dir() else path.parent)
    if not all(one.startswith(folder + os.sep) for one in paths):
        folder = os.path.commonpath([os.path.dirname(one) for one in paths])
    return [PurePath(one[len(folder) :].lstrip(os.sep)).as_posix() for one in paths]


def digests(index: Index) -> list[str]:
    """Return I digests, each of the image's size and its objects in their order: class, box as read, area, crowd."""
    # An image's objects are neighbours in one array, so its digest is that of a slice of bytes.
    columns = (index.labels, index.read, index.area, index.crowd)
    rows = np.column_stack(columns).astype("<f8")
    objects, sizes = memoryview(rows.tobytes()), memoryview(index.sizes.astype("<f8").tobytes())
    ends = (index.offsets * rows.shape[1] * 8).tolist()
    return [
        hashlib.blake2b(b"".join((sizes[16 * k : 16 * k + 16], objects[first:last])), digest_size=8).hexdigest()
        for k, (first, last) in enumerate(pairwise(ends))
    ]


def text_of(record: Record) -> str:
    """Return the text of data.json; every image has a line of its own."""
    text = f'{{"format": {FORMAT}, "accepted": {json.dumps(record.accepted)}'
    for name, part in (("train", record.train), ("val", record.val)):
        about = part and {**part.conditions, "names": part.names, "listed": part.listed}
        images = ",\n".join(json.dumps(line) for line in part.images) if part else ""
        text += f',\n"{name}": {json.dumps(about)},\n"{name}_images": [\n{images}]'
    return text + "}\n"


def read_record(file: Path) -> Record | None:
    """Return what data.json holds, None if there is none. Raises ValueError for a damaged one or another format."""
    if not file.is_file():
        return None
    try:
        content = json.loads(read_bytes(file))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}; this program reads format {FORMAT}")
        train, val = (_part(content, name) for name in ("train", "val"))
        if train is None:
            raise ValueError("it has no part of the name train")
        accepted = content["accepted"]
        if not isinstance(accepted, list) or not all(_is_texts(entry["changes"]) for entry in accepted):
            raise ValueError("its accepted changes are not lists of sentences")
        return Record(train, val, accepted)
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise ValueError(
            f"{file}: not what a run keeps of its data ({problem!s:.100}); without the file nothing is compared"
        ) from None


def _part(content: dict[str, Any], name: str) -> Part | None:
    """Return a part of what data.json holds."""
    if content[name] is None:
        return None
    conditions = dict(content[name])
    names, listed = conditions.pop("names"), conditions.pop("listed")
    lines = [ImageLine(*line) for line in content[f"{name}_images"]]
    kinds = {tuple(map(type, line)) for line in lines}
    if not isinstance(conditions.get("path", ""), str) or not (_is_texts(names) and _is_texts(listed)):
        raise ValueError(f"{name}: expected a path and lists of class names")
    if not kinds <= {(str, str, int, int)} or any(line.name.startswith("/") for line in lines):
        raise ValueError(f"{name}_images: expected a relative path, a digest, bytes and a checksum for each image")
    return Part(conditions, names, listed, lines)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def changes(before: Part, now: Part) -> list[str]:
    """Return what changed in a part of the data, as sentences that name the first few of each kind; [] for nothing."""
    found = _class_changes(before.names, now.names)
    if not found and before.listed != now.listed:
        found = [f"the data lists the classes as {', '.join(now.listed)}; it was {', '.join(before.listed)}"]
    # The same names in both where the data moved from one place to another.
    old, new = _by_name(before.images), _by_name(now.images)
    if not old.keys() & new.keys():
        old, new = _by_name(_without_folder(before.images)), _by_name(_without_folder(now.images))
    both = [name for name in new if name in old]
    kinds = {
        "{} was removed|{} were removed": [name for name in old if name not in new],
        "{} was added|{} were added": [name for name in new if name not in old],
        "labels of {} changed": [name for name in both if old[name].objects != new[name].objects],
        "the image file of {} changed": [name for name in both if old[name][2:] != new[name][2:]],
    }
    found += [_sentence(kind, names) for kind, names in kinds.items() if names]
    if both != [name for name in old if name in new]:
        found.append("the order of the images changed")
    return found


def same_images(before: Part, now: Part) -> bool:
    """Return whether both have as many images, of the same names in the same order."""
    names = [[line.name for line in _without_folder(part.images)] for part in (before, now)]
    return names[0] == names[1]


def cfg_changes(before: str, now: str) -> list[str]:
    """Return how the text of a cfg changed, as sentences: the first few lines with their sections."""
    old, new = _placed(before), _placed(now)
    one, other = ([line for _, line in lines] for lines in (old, new))
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    found = []
    for what, a, b, c, d in matcher.get_opcodes():
        if what != "equal":
            was, is_ = ("; ".join(line for _, line in lines)[:100] or "nothing" for lines in (old[a:b], new[c:d]))
            found.append(f"the cfg changed: {(old[a:b] or new[c:d])[0][0]}: {was} became {is_}")
    return _first(found)


def _placed(text: str) -> list[tuple[str, str]]:
    """Return the lines of a cfg, each with its section and the number of the layer."""
    place, layer, lines = "", -2, []
    for line in text.splitlines():
        if line.startswith("["):
            layer += 1
            place = f"{line} (layer {layer})" if layer >= 0 else line
        if line:
            lines.append((place, line))
    return lines


def _class_changes(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """Return which class is another one now."""
    pairs = [(k, *pair) for k, pair in enumerate(zip(before, now, strict=False)) if pair[0] != pair[1]]
    found = [f"class {k} was {was}, is {is_}" for k, was, is_ in pairs]
    found += [f"class {k}, {name}, is new" for k, name in enumerate(now) if k >= len(before)]
    found += [f"class {k}, {name}, is gone" for k, name in enumerate(before) if k >= len(now)]
    return _first(found)


def _first(sentences: list[str]) -> list[str]:
    """Return the first few sentences, and the number of the others."""
    more = len(sentences) - SHOWN
    return [*sentences[:SHOWN], f"... and {more} more of this kind"] if more > 0 else sentences


def _sentence(kind: str, names: Sequence[str]) -> str:
    """Return a sentence about images, `of one|of several`: all their names, or their number and the first of them."""
    one, _, several = kind.partition("|")
    kind = one if len(names) == 1 else several or one
    if len(names) <= SHOWN:
        return kind.format(", ".join(names))
    return kind.format(f"{len(names):,} images") + f", such as {', '.join(names[:SHOWN])}"


def _by_name(lines: Sequence[ImageLine]) -> dict[str, ImageLine]:
    """Return the lines by name; a second image of one name gets a number, as in `a.jpg (2)`."""
    if len({line.name for line in lines}) == len(lines):
        return {line.name: line for line in lines}
    seen: Counter[str] = Counter()
    found = {}
    for line in lines:
        seen[line.name] += 1
        found[line.name if seen[line.name] == 1 else f"{line.name} ({seen[line.name]})"] = line
    return found


def _without_folder(lines: Sequence[ImageLine]) -> list[ImageLine]:
    """Return the lines with names relative to the folder that holds all images."""
    folders = {line.name.rpartition("/")[0] for line in lines}
    common = os.path.commonpath(folders) if folders else ""
    return [line._replace(name=line.name[len(common) :].lstrip("/")) for line in lines]
