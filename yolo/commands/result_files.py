"""Detections as files: COCO's or darknet's JSON, a data set with YOLO labels, CSV, crops."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TextIO

import numpy as np
import torch
import yaml
from torch import Tensor

from yolo.atomic import replacing
from yolo.boxes import Detections, xyxy_to_cxcywh
from yolo.commands.result_folder import ResultFolder
from yolo.images.files import image_ending, write_image
from yolo.images.sources import Source, stem_of
from yolo.models.coco_rows import coco_rows, image_id

FileId = tuple[int, int]

EVERY = 10
"""Every tenth image of a data set that `detect` writes is in its validation split."""


class OutputName(NamedTuple):
    """The names for the results of a source: `stem` of its labels and crops, `drawing` of its drawn image or video."""

    stem: str
    drawing: Path


def inputs(sources: Sequence[Source]) -> set[FileId]:
    """Return the identities of the input files, which results must not replace, whatever their names."""
    return {known for source in sources if source.path and (known := _identity(source.path))}


def targets(sources: Sequence[Source], folder: Path) -> list[OutputName]:
    """Return names in `folder` for the results of every source. All names differ, and none is an input file.

    Names keep the folders of their sources' names. A second `a` of the same folder becomes `a-2`. A drawing that would
    replace an input becomes `a-detected`. Upper and lower case count as equal, as on many disks.
    """
    spare = inputs(sources)
    stems: set[str] = set()
    drawings: set[str] = set()
    numbers: dict[str, int] = {}
    found = []
    for source in sources:
        # Streams and cameras have addresses for names, which may hold slashes and be too long.
        plain = re.sub(r"\W+", "-", source.name)[:100].strip("-")
        base = stem_of(source.name) if source.path else plain
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
        drawings.add(str(drawing).casefold())
        found.append(OutputName(stem, drawing))
    return found


def ids_differ(sources: Sequence[Source]) -> bool:
    """Return whether all images have ids of their own. `1.jpg` and `000001.jpg` do not."""
    stills = [source.name for source in sources if not source.moving]
    return len(set(map(image_id, stills))) == len(set(stills))


def darknet_row(number: int, name: str, size: Sequence[int], found: Detections, names: Sequence[str]) -> dict[str, Any]:
    """Return an image of `size` [h, w] as darknet's `detector test -out` writes it; `number` counts images from 1."""
    keys = ("center_x", "center_y", "width", "height")
    objects = [
        {
            "class_id": label,
            "name": names[label],
            "relative_coordinates": dict(zip(keys, (round(value, 6) for value in box), strict=True)),
            "confidence": round(score, 6),
        }
        for box, score, label in _rows(fractions(found.boxes, size), found)
    ]
    return {"frame_id": number, "filename": name, "objects": objects}


def fractions(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Return boxes xyxy `[D, 4]` in pixels as centre and size, in fractions of an image of `size` [h, w]."""
    largest = torch.finfo(boxes.dtype).max
    return xyxy_to_cxcywh(boxes.nan_to_num(0, largest, -largest)) / boxes.new_tensor([size[1], size[0]] * 2)


class ResultFiles:
    """A context manager that writes the requested files to one folder, row by row, so memory does not grow.

    `detections.json`, `detections.csv` and the lists of the data set get their names when the run ends.

    Args:
        folder: the folder of the files: new, empty, or of an earlier call (see `ResultFolder`).
        names: the class names.
        as_json: write `detections.json`, in the `json_format`.
        as_txt: write a data set for training: images, labels, `data.yaml`. Every tenth image is for validation.
        scores: give every line of a label a sixth column, the score.
        as_csv, crops: write `detections.csv`; every object as an image.
        by_name: images have their names as ids.
        spare: the files that crops must not replace, from `inputs`.

    Raises OSError if the folder is not writable, or has other files.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        *,
        as_json: bool = False,
        json_format: Literal["coco", "darknet"] = "coco",
        as_txt: bool = False,
        scores: bool = False,
        as_csv: bool = False,
        crops: bool = False,
        by_name: bool = False,
        spare: AbstractSet[FileId] = frozenset(),
    ) -> None:
        self.folder, self.names, self.spare, self.by_name = folder, names, spare, by_name
        self.as_json, self.as_txt, self.as_csv, self.crops = as_json, as_txt, as_csv, crops
        self.json_format, self.scores = json_format, scores
        self._own = ResultFolder(folder, spare)
        self._rows = self._images = 0

    def __enter__(self) -> Self:
        # If opening one file fails, the stack closes the others.
        with ExitStack() as stack:
            stack.enter_context(self._own)
            if self.as_json:
                self._json = self._open(stack, "detections.json")
                self._json.write("[")
                stack.callback(lambda: self._json.write("\n]\n" if self._rows else "]\n"))
            if self.as_csv:
                self._csv = csv.writer(self._open(stack, "detections.csv"))
                self._csv.writerow(("file", "class_id", "class", "score", "x1", "y1", "x2", "y2"))
            if self.as_txt:
                self._lists = [self._open(stack, f"{split}.txt") for split in ("train", "val")]
                described = self._open(stack, "data.yaml")
                stack.callback(lambda: described.write(self._described()))
            self._stack = stack.pop_all()
        return self

    def _open(self, stack: ExitStack, name: str) -> TextIO:
        """Open a file that gets its name when the stack ends well. Bytes that are not valid text are escaped."""
        temporary = stack.enter_context(replacing(self.claim(self.folder / name)))
        return stack.enter_context(temporary.open("w", encoding="utf-8", errors="backslashreplace", newline=""))

    def claim(self, path: Path) -> Path:
        """Return the path of a file in the folder that is about to be written. Raises as `ResultFolder.claim`."""
        return self._own.claim(path)

    def _described(self) -> str:
        """Return the data.yaml. A few images have no validation split of their own."""
        val = "val.txt" if self._images >= EVERY else "train.txt"
        content = {"train": "train.txt", "val": val, "names": dict(enumerate(self.names))}
        text: str = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
        return f"# These labels are detections, not truths.\n{text}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # An interrupted run keeps its detections so far, and so does one whose output is no longer read.
        interrupted = kind is not None and issubclass(kind, (KeyboardInterrupt, BrokenPipeError))
        self._own.tidies = kind is None
        self._stack.__exit__(*((None, None, None) if interrupted else (kind, error, traceback)))

    def add(self, name: str, stem: str, image: np.ndarray, detections: Detections, file: Path | None = None) -> None:
        """Write the detections of one image `[h, w, C]`. `stem` is unique in the run and names the image's own files.

        The frames of a video have a folder of their own: their stems are `clip/0`, `clip/1`, ... An image that is a
        `file` becomes part of a data set as it is.
        """
        rows: list[dict[str, Any]] = []
        self._images += 1
        if self.as_json and self.json_format == "coco":
            rows = coco_rows(name, detections, self.names, name if self.by_name else None)
        elif self.as_json:
            rows = [darknet_row(self._images, str(file or name), image.shape, detections, self.names)]
        for row in rows:
            self._json.write((",\n" if self._rows else "\n") + json.dumps(row, ensure_ascii=False))
            self._rows += 1
        if self.as_csv:
            for box, score, label in _rows(detections.boxes, detections):
                self._csv.writerow((name, label, self.names[label], score, *box))
        if self.as_txt:
            self._write_sample(stem, image, detections, file)
        if self.crops:
            self._write_crops(stem, image, detections)

    def _write_sample(self, stem: str, image: np.ndarray, detections: Detections, file: Path | None) -> None:
        """Write an image of the data set and its labels, lines `class cx cy w h` in fractions of the image.

        The boxes are clipped to the image. Those without area, which are no labels, are left out.
        """
        # Readers find the labels of an image by the last folder of its path that is called so.
        stem = re.sub(r"\b(images|JPEGImages)(?=/)", r"\1_", stem)
        ending = (file and image_ending(file)) or ".jpg"
        copy = self.claim(self.folder / "images" / f"{stem}{ending}")
        if file:
            with replacing(copy) as temporary:
                shutil.copyfile(file, temporary)
        else:
            write_image(copy, image)
        found = detections.clipped(image.shape)
        rows = _rows(fractions(found.boxes.double(), image.shape), found)  # to a thousandth of a pixel in large images
        with replacing(self.claim(self.folder / "labels" / f"{stem}.txt")) as temporary:
            temporary.write_text(
                "".join(
                    f"{label} {' '.join(f'{x:.8g}' for x in box)}{f' {score:.6g}' * self.scores}\n"
                    for box, score, label in rows
                    if min(box[2:]) > 0
                )
            )
        split = self._lists[self._images % EVERY == 0]
        split.write(f"./{copy.relative_to(self.folder).as_posix()}\n")

    def _write_crops(self, stem: str, image: np.ndarray, detections: Detections) -> None:
        """Write each object as `crops/CLASS/STEM-N.png`. Boxes are clipped to the image, empty ones are left out."""
        height, width = image.shape[:2]
        for number, (box, _, label) in enumerate(_rows(detections.boxes.nan_to_num(), detections)):
            left, top = max(int(box[0]), 0), max(int(box[1]), 0)
            right, bottom = min(round(box[2]), width), min(round(box[3]), height)
            if left < right and top < bottom:
                path = self.folder / "crops" / folder_name(self.names[label]) / f"{stem}-{number}.png"
                write_image(self.claim(_spared(path, self.spare)), image[top:bottom, left:right])


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
    """Return `path`, or one beside it, that is not a file in `spare` and whose lower-case path is not in `taken`."""
    first = path
    for number in itertools.count(1):
        if str(path).casefold() not in taken and _identity(path) not in spare:
            break
        path = first.with_stem(f"{first.stem}-detected" + (f"-{number}" if number > 1 else ""))
    return path


def _rows(boxes: Tensor, detections: Detections) -> Iterator[tuple[list[float], float, int]]:
    """Return rows of box, score and class index; `boxes` `[D, 4]` are those of the detections in any format."""
    return zip(boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)
