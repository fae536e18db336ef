"""Detections as files: COCO JSON, YOLO txt, CSV, crops."""

from __future__ import annotations

import csv
import itertools
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TextIO

import numpy as np
from torch import Tensor

from yolo.atomic import replacing
from yolo.boxes import Detections, xyxy_to_cxcywh, xyxy_to_xywh
from yolo.images.files import write_image
from yolo.images.sources import Source
from yolo.names import category_ids

FileId = tuple[int, int]


class OutputName(NamedTuple):
    """The names for the results of a source: `stem` of its labels and crops, `drawing` of its drawn image or video."""

    stem: str
    drawing: Path


def inputs(sources: Sequence[Source]) -> set[FileId]:
    """Return the identities of the input files, which results must not replace, whatever their names."""
    return {known for source in sources if source.path and (known := _identity(source.path))}


def targets(sources: Sequence[Source], folder: Path) -> list[OutputName]:
    """Return names in `folder` for the results of every source. All names differ, and none is an input file.

    The second `a.png` of a run becomes `a-2`. A drawing that would replace an input becomes `a-detected`. Upper and
    lower case count as equal, as on many disks.
    """
    spare = inputs(sources)
    stems: set[str] = set()
    drawings: set[str] = set()
    numbers: dict[str, int] = {}
    found = []
    for source in sources:
        # Streams and cameras have addresses for names, which may hold slashes and be too long.
        base = Path(source.name).stem if source.path else re.sub(r"\W+", "-", source.name)[:100]
        # The next free number. It is kept for each base, or many equal names would be counted from the start each time.
        for number in itertools.count(numbers.get(base, 1)):
            stem = base if number == 1 else f"{base}-{number}"
            if stem.casefold() not in stems:
                break
        numbers[base] = number + 1
        stems.add(stem.casefold())
        # A JPEG is drawn as a JPEG, every other image as a PNG.
        ending = ".png"
        if source.moving:
            ending = ".mp4"
        elif source.path and source.path.suffix.lower() in (".jpg", ".jpeg"):
            ending = source.path.suffix.lower()
        drawing = _spared(folder / f"{stem}{ending}", spare, drawings)
        drawings.add(drawing.name.casefold())
        found.append(OutputName(stem, drawing))
    return found


def coco_rows(name: str, detections: Detections, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the detections of one image in COCO's results format, by descending score.

    Each has `image_id`, `file_name`, `category_id`, `category_name`, `bbox` and `score`. `image_id` is an integer if
    the stem of the file name consists of digits, as COCO's do. Else it is the file name, also for a frame such as
    `2024.mp4#17`. `bbox` is [left, top, width, height] in original pixels with every digit. JSON has no infinity, so
    infinite coordinates become the largest float32.
    """
    match = re.fullmatch(r"([0-9]+)(\.[^.#]*)?", name)
    image_id: int | str = int(match[1]) if match else name
    ids = category_ids(names)
    return [
        {
            "image_id": image_id,
            "file_name": name,
            "category_id": ids[label],
            "category_name": names[label],
            "bbox": box,
            "score": score,
        }
        for box, score, label in _rows(xyxy_to_xywh(detections.boxes), detections)
    ]


class ResultFiles:
    """A context manager that writes the requested files to one folder, row by row, so memory does not grow.

    `detections.json` and `detections.csv` get their names when the run ends.

    Args:
        folder: the folder of the files, created if missing.
        names: the class names.
        as_json, as_txt, as_csv, crops: which files to write.
        spare: the files that crops must not replace, from `inputs`.

    Raises OSError if the folder is not writable.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        *,
        as_json: bool = False,
        as_txt: bool = False,
        as_csv: bool = False,
        crops: bool = False,
        spare: AbstractSet[FileId] = frozenset(),
    ) -> None:
        self.folder, self.names, self.spare = folder, names, spare
        self.as_json, self.as_txt, self.as_csv, self.crops = as_json, as_txt, as_csv, crops
        self._rows = 0

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Fail now if the folder is not writable, and not after the first image.
        with tempfile.TemporaryFile(dir=self.folder):
            pass
        # If opening one file fails, the stack closes the others.
        with ExitStack() as stack:
            if self.as_json:
                self._json = self._open(stack, "detections.json")
                self._json.write("[")
                stack.callback(lambda: self._json.write("\n]\n" if self._rows else "]\n"))
            if self.as_csv:
                self._csv = csv.writer(self._open(stack, "detections.csv"))
                self._csv.writerow(("file", "class_id", "class", "score", "x1", "y1", "x2", "y2"))
            self._stack = stack.pop_all()
        return self

    def _open(self, stack: ExitStack, name: str) -> TextIO:
        """Open a file that gets its name when the stack ends well. Bytes that are not valid text are escaped."""
        temporary = stack.enter_context(replacing(self.folder / name))
        return stack.enter_context(temporary.open("w", encoding="utf-8", errors="backslashreplace", newline=""))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # An interrupted run keeps its detections so far, and so does one whose output is no longer read.
        interrupted = kind is not None and issubclass(kind, (KeyboardInterrupt, BrokenPipeError))
        self._stack.__exit__(*((None, None, None) if interrupted else (kind, error, traceback)))

    def add(self, name: str, stem: str, image: np.ndarray, detections: Detections) -> None:
        """Write the detections of one image `[h, w, C]`. `stem` is unique in the run and names the image's own files.

        The frames of a video have a folder of their own: their stems are `clip/0`, `clip/1`, ...
        """
        if self.as_json:
            for row in coco_rows(name, detections, self.names):
                self._json.write((",\n" if self._rows else "\n") + json.dumps(row, ensure_ascii=False))
                self._rows += 1
        if self.as_csv:
            for box, score, label in _rows(detections.boxes, detections):
                self._csv.writerow((name, label, self.names[label], score, *box))
        if self.as_txt:
            self._write_txt(stem, image, detections)
        if self.crops:
            self._write_crops(stem, image, detections)

    def _write_txt(self, stem: str, image: np.ndarray, detections: Detections) -> None:
        """Write a line `class cx cy w h score` per detection, boxes as fractions of the image, if any."""
        size = detections.boxes.new_tensor([*image.shape[1::-1], *image.shape[1::-1]])
        rows = _rows(xyxy_to_cxcywh(detections.boxes) / size, detections)
        text = "".join(f"{label} {' '.join(f'{x:.6g}' for x in box)} {score:.6g}\n" for box, score, label in rows)
        with replacing(self.folder / "txt" / f"{stem}.txt") as temporary:
            temporary.write_text(text)

    def _write_crops(self, stem: str, image: np.ndarray, detections: Detections) -> None:
        """Write each object as `crops/CLASS/STEM-N.png`. Boxes are clipped to the image, empty ones are left out."""
        height, width = image.shape[:2]
        for number, (box, _, label) in enumerate(_rows(detections.boxes.nan_to_num(), detections)):
            left, top = max(int(box[0]), 0), max(int(box[1]), 0)
            right, bottom = min(round(box[2]), width), min(round(box[3]), height)
            if left < right and top < bottom:
                path = self.folder / "crops" / folder_name(self.names[label]) / f"{stem}-{number}.png"
                write_image(_spared(path, self.spare), image[top:bottom, left:right])


def folder_name(name: str) -> str:
    """Return a class name as the name of a folder that every disk accepts.

    Characters that some disks refuse become `_`, spaces and dots at the ends are removed, 60 characters are kept.
    """
    plain = "".join("_" if c in '<>:"/\\|?*' or not c.isprintable() else c for c in name)
    return plain[:60].strip(" .") or "_"


def _identity(path: Path) -> FileId | None:
    """Return the identity of a file, equal for all its names; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _spared(path: Path, spare: AbstractSet[FileId], taken: AbstractSet[str] = frozenset()) -> Path:
    """Return `path`, or one beside it, that is not a file in `spare` and whose lower-case name is not in `taken`."""
    first = path
    for number in itertools.count(1):
        if path.name.casefold() not in taken and _identity(path) not in spare:
            break
        path = first.with_stem(f"{first.stem}-detected" + (f"-{number}" if number > 1 else ""))
    return path


def _rows(boxes: Tensor, detections: Detections) -> Iterator[tuple[list[float], float, int]]:
    """Return rows of box, score and class index; `boxes` `[D, 4]` are those of the detections in any format."""
    return zip(boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)
