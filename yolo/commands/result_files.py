"""Detections as files: COCO json, YOLO txt, csv, crops."""

from __future__ import annotations

import csv
import itertools
import json
import re
import tempfile
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TextIO

import numpy as np

from yolo.atomic import replacing
from yolo.boxes import Detections, xyxy_to_cxcywh, xyxy_to_xywh
from yolo.images.files import write_image
from yolo.images.sources import Source
from yolo.names import category_ids

FileId = tuple[int, int]


class OutputName(NamedTuple):
    """Where the results of a source go: `stem` names its labels and crops, `drawing` is its drawn image or video."""

    stem: str
    drawing: Path


def inputs(sources: Sequence[Source]) -> set[FileId]:
    """The files that are looked at, whatever their names; results must not replace them."""
    return {known for source in sources if source.path and (known := _identity(source.path))}


def targets(sources: Sequence[Source], folder: Path) -> list[OutputName]:
    """A place in `folder` for the results of every source: no two have one, and none is a file that is looked at.

    The second `a.png` of a run becomes `a-2`; where the drawing would replace a source, it becomes `a-detected`. Upper
    and lower case count as equal, as on many disks.
    """
    looked_at = inputs(sources)
    stems: set[str] = set()
    drawings: set[str] = set()
    numbers: dict[str, int] = {}
    found = []
    for source in sources:
        base = Path(source.name).stem if source.path else re.sub(r"\W+", "-", source.name)[:100]
        for number in itertools.count(numbers.get(base, 1)):
            stem = base if number == 1 else f"{base}-{number}"
            if stem.casefold() not in stems:
                break
        numbers[base] = number + 1
        stems.add(stem.casefold())
        ending = ".mp4" if source.moving else source.path.suffix.lower() if source.path else ".png"
        ending = ending if ending in (".mp4", ".jpg", ".jpeg") else ".png"
        drawing = _spared(folder / f"{stem}{ending}", looked_at, drawings)
        drawings.add(drawing.name.casefold())
        found.append(OutputName(stem, drawing))
    return found


def coco_rows(name: str, detections: Detections, names: Sequence[str]) -> list[dict[str, Any]]:
    """COCO results of one image, by descending score: `image_id`, `file_name`, `category_id`, `category_name`,
    `bbox`, `score`.

    `image_id` is an integer when the stem of the file name is all digits, as COCO's are, else the file name; `bbox` is
    [left, top, width, height] in original pixels with every digit. JSON has no infinity, so a box that has one gets
    the largest float32. A frame, `2024.mp4#17`, keeps its name.
    """
    match = re.fullmatch(r"([0-9]+)(\.[^.#]*)?", name)
    image_id: int | str = int(match[1]) if match else name
    ids = category_ids(names)
    boxes = xyxy_to_xywh(detections.boxes)
    rows = zip(boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)
    return [
        {
            "image_id": image_id,
            "file_name": name,
            "category_id": ids[label],
            "category_name": names[label],
            "bbox": box,
            "score": score,
        }
        for box, score, label in rows
    ]


class ResultFiles:
    """The files that were asked for, in one folder; written row by row, so memory stays flat over many images.

    `detections.json` and `detections.csv` take their names when the run ends. `spare` are files that crops must not
    replace. A context manager; OSError where the folder cannot be written.
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
        with tempfile.TemporaryFile(dir=self.folder):
            pass  # better now than after the first image
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
        """A file that gets its name when the stack ends well. Bytes of file names that are no text are escaped."""
        temporary = stack.enter_context(replacing(self.folder / name))
        return stack.enter_context(temporary.open("w", encoding="utf-8", errors="backslashreplace", newline=""))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # An interrupted run keeps what it has found, and so does one that nobody reads any more.
        interrupted = kind is not None and issubclass(kind, (KeyboardInterrupt, BrokenPipeError))
        self._stack.__exit__(*((None, None, None) if interrupted else (kind, error, traceback)))

    def add(self, name: str, stem: str, image: np.ndarray, detections: Detections) -> None:
        """The detections of one image `[h, w, C]`. `stem` is unique in the run and names its own files.

        The frames of a video have a folder of their own: their stems are `clip/0`, `clip/1`, ...
        """
        if self.as_json:
            for row in coco_rows(name, detections, self.names):
                self._json.write((",\n" if self._rows else "\n") + json.dumps(row, ensure_ascii=False))
                self._rows += 1
        if self.as_csv:
            for box, score, label in _rows(detections):
                self._csv.writerow((name, label, self.names[label], score, *box))
        if self.as_txt:
            self._write_txt(stem, image, detections)
        if self.crops:
            self._write_crops(stem, image, detections)

    def _write_txt(self, stem: str, image: np.ndarray, detections: Detections) -> None:
        """`class cx cy w h score` per line, boxes as fractions of the image; an empty file for nothing found."""
        size = detections.boxes.new_tensor([*image.shape[1::-1], *image.shape[1::-1]])
        boxes = (xyxy_to_cxcywh(detections.boxes) / size).tolist()
        rows = zip(detections.labels.tolist(), boxes, detections.scores.tolist(), strict=True)
        text = "".join(f"{label} {' '.join(f'{x:.6g}' for x in box)} {score:.6g}\n" for label, box, score in rows)
        with replacing(self.folder / "txt" / f"{stem}.txt") as temporary:
            temporary.write_text(text)

    def _write_crops(self, stem: str, image: np.ndarray, detections: Detections) -> None:
        """Each object alone, `crops/CLASS/STEM-N.png`; boxes are cut at the border, empty ones left out."""
        height, width = image.shape[:2]
        boxes = detections.boxes.nan_to_num().tolist()
        for number, (box, label) in enumerate(zip(boxes, detections.labels.tolist(), strict=True)):
            left, top = max(int(box[0]), 0), max(int(box[1]), 0)
            right, bottom = min(round(box[2]), width), min(round(box[3]), height)
            if left < right and top < bottom:
                path = self.folder / "crops" / folder_name(self.names[label]) / f"{stem}-{number}.png"
                write_image(_spared(path, self.spare), image[top:bottom, left:right])


def folder_name(name: str) -> str:
    """A class name as the name of a folder: what a disk may not take becomes `_`, dots at the ends go, 60 characters
    stay."""
    plain = "".join("_" if c in '<>:"/\\|?*' or not c.isprintable() else c for c in name)
    return plain[:60].strip(" .") or "_"


def _identity(path: Path) -> FileId | None:
    """What is the same for all names of a file; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _spared(path: Path, spare: AbstractSet[FileId], taken: AbstractSet[str] = frozenset()) -> Path:
    """The path, or one beside it, that is none of the files in `spare` and no name in `taken` (in lower case)."""
    first = path
    for number in itertools.count(1):
        if path.name.casefold() not in taken and _identity(path) not in spare:
            break
        path = first.with_stem(f"{first.stem}-detected" + (f"-{number}" if number > 1 else ""))
    return path


def _rows(detections: Detections) -> list[tuple[list[float], float, int]]:
    boxes, scores, labels = detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist()
    return list(zip(boxes, scores, labels, strict=True))
