"""Class names: `.names` files, COCO's 80 names and their category ids, names matched by name."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

from yolo.files.text import lines_of, read_text

log = logging.getLogger("yolo")

# fmt: off
COCO: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""The 80 categories of COCO 2017 in the order of their ids, in COCO's spelling."""

# fmt: off
COCO_IDS: tuple[int, ...] = (
    *range(1, 12), *range(13, 26), 27, 28, *range(31, 45), *range(46, 66), 67, 70, *range(72, 83), *range(84, 91),
)
# fmt: on
"""COCO's category ids of these names: 1 to 90 with ten gaps."""

MANY = 100_000
"""Class names in a file at most; ImageNet's 21,841 are the most that we know of."""

ALIASES = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}
"""The six old spellings of darknet and Pascal VOC, with COCO's."""


def did_you_mean(word: str, known: Iterable[str], n: int = 1) -> str:
    """Return "did you mean X or Y?" with up to `n` of the `known` words, those spelled most like `word`.

    Only the first 60 characters of `word` are compared. Without a similar word the result is empty.
    """
    near = difflib.get_close_matches(word[:60], known, n)
    return f"did you mean {' or '.join(near)}?" if near else ""


def category_ids(names: Sequence[str]) -> list[int]:
    """Return the category ids for result files: COCO's if the names are COCO's 80 in either spelling, else 1, 2, ...

    Some of COCO's names may as well be a data set's own classes, whose ids are not COCO's.
    """
    ids = dict(zip(COCO, COCO_IDS, strict=True))
    known = [ids[common] for name in names if (common := ALIASES.get(name, name)) in ids]
    return known if len(set(known)) == len(names) == len(COCO) else list(range(1, len(names) + 1))


def is_background(name: str) -> bool:
    """Return whether a class is what is not labelled, as in data sets that were made for other programs."""
    return name.strip("_ ").lower() == "background"


def class_index(name: str, names: Sequence[str]) -> int | None:
    """Return the first class of this name, in this spelling or else in COCO's or darknet's. None if there is none."""
    return next(iter(_same(name, names)), None)


def chosen(wanted: str | Iterable[str | int], names: Sequence[str]) -> list[int]:
    """Return the class indices of comma-separated names in either spelling, or of a list of names and indices.

    Raises ValueError for an unknown name and for an index that no class has, TypeError for neither text nor list.
    """
    if not isinstance(wanted, Iterable):
        raise TypeError(f"classes={wanted!r}: expected comma-separated names or a list, such as [{wanted!r}]")
    indices = []
    for name in (part.strip() for part in wanted.split(",")) if isinstance(wanted, str) else wanted:
        if not isinstance(name, str):
            if name not in range(len(names)):
                raise ValueError(f"no class has the index {name!r}; expected a name, or 0 to {len(names) - 1}")
            indices.append(int(name))
            continue
        same = _same(name, names)
        if not same:
            hint = did_you_mean(name, names, n=3) or f"they are {', '.join(list(names)[:100])}"
            raise ValueError(f"no class is called {name!r}; {hint}")
        indices += same
    return indices


def _same(name: str, names: Sequence[str]) -> list[int]:
    """Return all classes of this name in this spelling; if there is none, those in the other spelling."""
    same = [k for k, own in enumerate(names) if own == name]
    return same or [k for k, own in enumerate(names) if ALIASES.get(own, own) == ALIASES.get(name, name)]


def read_names(path: str | Path) -> list[str]:
    """Read a darknet `.names` file: one class name per line, the class index is the line number - 1.

    Empty lines at the end are ignored. Raises ValueError for one between names, because it would shift the indices,
    for a file whose encoding is unknown, and for more than `MANY` names.
    """
    path = Path(path)
    lines = [line.strip() for line in lines_of(read_text(path).rstrip())]
    if len(lines) > MANY:
        raise ValueError(f"{path}: {len(lines):,} lines, expected at most {MANY:,} class names; is it another file?")
    if lines == [""]:
        raise ValueError(f"{path}: no names; expected one class name per line")
    if "" in lines:
        number = lines.index("") + 1
        raise ValueError(f"{path}:{number}: an empty line between names would shift the class indices; remove it")
    return lines


def class_names(names: Sequence[str] | str | Path | None, classes: int) -> list[str]:
    """Return the names of `classes` classes, as given by a list or a `.names` file, or else assumed.

    Without names, 80 classes are COCO's, which is logged. Any other number are `class 0`, `class 1`, ...
    Raises ValueError if the number of names is not `classes`.
    """
    if names is None:
        if classes == len(COCO):
            log.warning("no class names were given: 80 classes are taken for COCO's, person to toothbrush")
            return list(COCO)
        return [f"class {k}" for k in range(classes)]
    found = read_names(names) if isinstance(names, (str, Path)) else [str(name) for name in names]
    if len(found) != classes:
        source = f"{names}: " if isinstance(names, (str, Path)) else ""
        raise ValueError(f"{source}{len(found)} class names for a network of {classes} classes; give one per class")
    return found


def matched(own: Sequence[str], given: Sequence[str] | None, source: str) -> tuple[list[str], list[int]]:
    """Return the class names to use, and for each of the data's `own` classes its index in them.

    For formats that store class names. `given` may have more names, another order and darknet's spelling.
    Raises ValueError with every class that `given` lacks.
    """
    if given is None:
        return list(own), list(range(len(own)))
    # As `class_index`, for many names at once.
    there = {name: k for k, name in reversed(list(enumerate(given)))}
    common = {ALIASES.get(name, name): k for name, k in there.items()}
    table = [there.get(name, common.get(ALIASES.get(name, name))) for name in own]
    lacking = [name for name, k in zip(own, table, strict=True) if k is None]
    if lacking:
        raise ValueError(
            f"{source}: {len(lacking)} classes of the data are not among the {len(given)} class names: "
            f"{', '.join(map(repr, lacking))}; the names are {', '.join(map(repr, given))}; if only the spelling "
            f"differs, give other --names"
        )
    return list(given), [k for k in table if k is not None]


def agreed(own: Sequence[str] | None, given: Sequence[str] | None, source: str) -> list[str]:
    """Return the class names for data that stores only numbers: `own`, found beside the data, or `given`.

    `class 0`, `class 1`, ... in `own` only count the classes: other names may replace them.
    Raises ValueError if there are none, or with every name that differs, by number.
    """
    names = own if given is None else given
    if names is None:
        raise ValueError(f"{source}: no class names; expected classes.txt or data.yaml beside the images, or --names")
    # Names are missing on one side or the other where their numbers differ.
    pairs = zip_longest(names if own is None else own, names, fillvalue="")
    differ = [
        (k, a, b) for k, (a, b) in enumerate(pairs)
        if ALIASES.get(a, a) != ALIASES.get(b, b) and (not b or a != f"class {k}")
    ]  # fmt: skip
    if differ:
        lines = [f"  class {k}: {a or 'none'} in the data, {b or 'none'} given" for k, a, b in differ[:20]]
        more = [f"  ... and {len(differ) - 20} more"] if len(differ) > 20 else []
        raise ValueError("\n".join([f"{source}: the class names that were given are others:", *lines, *more]))
    return list(names)
