"""Detections as files: COCO's or darknet's JSON, a data set with YOLO labels, CSV, crops."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
import yaml
from torch import Tensor

from yolo.boxes import Detections, xyxy_to_cxcywh
from yolo.commands.growing import GrowingFile
from yolo.commands.result_folder import ResultFolder
from yolo.files.atomic import replacing
from yolo.files.harmless import Distinct, csv_lines, cut, folders_of, seen_alike
from yolo.images.files import image_ending, write_image
from yolo.images.sources import Source, stem_of
from yolo.models.coco_rows import coco_rows, image_id

FileId = tuple[int, int]

CSV_COLUMNS = ("file", "class_id", "class", "score", "x1", "y1", "x2", "y2")

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

    Names keep the folders of their sources' names; those that are too long for a disk are cut. A second `a` of the same
    folder becomes `a-2`. A drawing that would replace an input becomes `a-detected`. Upper and lower case count as
    equal, as on many disks.
    """
    spare = inputs(sources)
    stems, drawings = Distinct(), set[str]()
    found = []
    for source in sources:
        # Streams and cameras have addresses for names, which may hold slashes.
        plain = re.sub(r"\W+", "-", source.name)[:100].strip("-")
        above, slash, last = (stem_of(source.name) if source.path else plain).rpartition("/")
        stem = stems.take(f"{above}{slash}{cut(last)}")
        # A JPEG is drawn as a JPEG, every other image as a PNG.
        ending = ".png"
        if source.moving:
            ending = ".mp4"
        elif source.path and source.path.suffix.lower() in (".jpg", ".jpeg"):
            ending = source.path.suffix.lower()
        drawing = _spared(folder / f"{stem}{ending}", spare, drawings)
        drawings.add(seen_alike(str(drawing)))
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
    """A context manager that writes the requested files to one folder, image by image, so memory does not grow.

    All of them are whole after each image. `detections.json`, `detections.csv` and the lists of the data set get their
    names with the first image; a call that fails before it leaves those of an earlier call.

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
        self.tidies = True  # False keeps the files of an earlier call, as an error does
        self._images = self._samples = 0
        self._any_rows, self._keeps = False, False
        self._growing: list[GrowingFile] = []
        self._folders = folders_of(names)

    def __enter__(self) -> Self:
        # If opening one file fails, the stack closes the others.
        with ExitStack() as stack:
            stack.enter_context(self._own)
            if self.as_json:
                self._json = self._open(stack, "detections.json", "[", "\n]\n")
            if self.as_csv:
                self._csv = self._open(stack, "detections.csv", csv_lines([CSV_COLUMNS]))
            if self.as_txt:
                self._lists = [self._open(stack, f"{split}.txt") for split in ("train", "val")]
                self.claim(self.folder / "data.yaml")
            self._stack = stack.pop_all()
        return self

    def _open(self, stack: ExitStack, name: str, begin: str = "", end: str = "") -> GrowingFile:
        """Open a file that is kept if the run ends well, or has had an image."""
        file = GrowingFile(self.claim(self.folder / name), begin, end)
        stack.callback(lambda: file.close(keep=self._keeps))
        self._growing.append(file)
        return file

    def claim(self, path: Path) -> Path:
        """Return the path of a file in the folder that is about to be written. Raises as `ResultFolder.claim`."""
        return self._own.claim(path)

    def _describe(self) -> None:
        """Write the data.yaml. A few images have no validation split of their own."""
        val = "val.txt" if self._samples >= EVERY else "train.txt"
        content = {"train": "train.txt", "val": val, "names": dict(enumerate(self.names))}
        text: str = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
        with replacing(self.folder / "data.yaml") as temporary:
            temporary.write_text(f"# These labels are detections, not truths.\n{text}", "utf-8", "backslashreplace")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Whatever ends the run, it keeps its detections so far.
        stopped = kind is not None and issubclass(kind, (KeyboardInterrupt, SystemExit, BrokenPipeError))
        self._own.tidies = kind is None and self.tidies
        self._keeps = kind is None or stopped or self._images > 0
        try:
            if self.as_txt and self._keeps:
                self._describe()
        finally:
            self._stack.__exit__(kind, error, traceback)

    def add(self, name: str, stem: str, image: np.ndarray, detections: Detections, file: Path | None = None) -> None:
        """Write the detections of one image `[h, w, C]`. `stem` is unique in the run and names the image's own files.

        The frames of a video have a folder of their own: their stems are `clip/0`, `clip/1`, ... An image that is a
        `file` becomes part of a data set as it is. After an OSError all files are whole, and others can be added.
        """
        rows: list[dict[str, Any]] = []
        self._images += 1
        if self.as_json and self.json_format == "coco":
            rows = coco_rows(name, detections, self.names, name if self.by_name else None)
        elif self.as_json:
            rows = [darknet_row(self._images, str(file or name), image.shape, detections, self.names)]
        if rows:
            text = ",".join(f"\n{json.dumps(row, ensure_ascii=False)}" for row in rows)
            self._json.add("," * self._any_rows + text)
            self._any_rows = True
        if self.as_csv:
            found = _rows(detections.boxes, detections)
            lines = [(name, label, self.names[label], score, *box) for box, score, label in found]
            self._csv.add(csv_lines(lines))
        if self.as_txt:
            self._write_sample(stem, image, detections, file)
        if self._images == 1:
            for growing in self._growing:
                growing.show()
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
        split = self._lists[(self._samples + 1) % EVERY == 0]
        split.add(f"./{copy.relative_to(self.folder).as_posix()}\n")
        self._samples += 1
        if self._samples == 1:  # so a killed process leaves a data set too
            self._describe()

    def _write_crops(self, stem: str, image: np.ndarray, detections: Detections) -> None:
        """Write each object as `crops/CLASS/STEM-N.png`. Boxes are clipped to the image, empty ones are left out."""
        height, width = image.shape[:2]
        for number, (box, _, label) in enumerate(_rows(detections.boxes.nan_to_num(), detections)):
            left, top = max(int(box[0]), 0), max(int(box[1]), 0)
            right, bottom = min(round(box[2]), width), min(round(box[3]), height)
            if left < right and top < bottom:
                path = self.folder / "crops" / self._folders[label] / f"{stem}-{number}.png"
                write_image(self.claim(_spared(path, self.spare)), image[top:bottom, left:right])


def _identity(path: Path) -> FileId | None:
    """Return the identity of a file, equal for all its names; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _spared(path: Path, spare: AbstractSet[FileId], taken: AbstractSet[str] = frozenset()) -> Path:
    """Return `path`, or one beside it, that is not a file in `spare`, and whose `seen_alike` is not in `taken`."""
    first = path
    for number in itertools.count(1):
        if seen_alike(str(path)) not in taken and _identity(path) not in spare:
            break
        path = first.with_stem(f"{first.stem}-detected" + (f"-{number}" if number > 1 else ""))
    return path


def _rows(boxes: Tensor, detections: Detections) -> Iterator[tuple[list[float], float, int]]:
    """Return rows of box, score and class index; `boxes` `[D, 4]` are those of the detections in any format."""
    return zip(boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)
