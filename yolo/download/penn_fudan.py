"""The pedestrians of Penn-Fudan: 170 street images in which every person has a mask, in COCO's layout.

    FOLDER/annotations/instances_{train,val}.json    FOLDER/images/{train,val}/*.png

The set has no official splits. Here every fifth image, in the order of names, belongs to val.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from yolo.data.formats.coco_json import read_annotations
from yolo.data.formats.masks import instances
from yolo.download.archives import alone_in, fetch_archive, missing, opened, put
from yolo.download.fetch import OfficialFile
from yolo.files.members import ArchiveError, Reader, naming

PENN_FUDAN = OfficialFile(
    "PennFudanPed.zip",
    ("https://www.cis.upenn.edu/~jshi/ped_html/PennFudanPed.zip",),
    53_723_336,  # no checksum is published
)

SPLITS = ("train", "val")


def get_penn_fudan(folder: Path, mirror: str | None = None) -> Path:
    """Download the set to `folder`, with boxes and areas from the masks, and return `folder`.

    Args:
        folder: the folder of the data set. The archive is removed from it at the end.
        mirror: the beginning of the address, instead of https://www.cis.upenn.edu.

    Raises ValueError if a file exists that differs from the official one, or if a mask does not fit its image;
    DownloadError; OSError.
    """
    if _is_whole(folder):
        return folder
    with alone_in(folder, mirror):
        if not _is_whole(folder):  # another process may have made it while this one waited
            _get(folder, mirror)
    return folder


def _get(folder: Path, mirror: str | None) -> None:
    """Download the archive, write images and annotation files, remove the archive."""
    archive = fetch_archive(PENN_FUDAN, folder, mirror)
    with opened(archive) as files:
        names = [match[1] for file in sorted(files) if (match := re.fullmatch(r".*/PNGImages/([^/]+)\.png", file))]
        if not names:
            raise ArchiveError(f"{archive}: has no images in PNGImages/; is it another archive?")
        sets = {"train": [name for k, name in enumerate(names) if k % 5 != 4], "val": names[4::5]}
        contents = {split: _unpack(archive, files, folder / "images" / split, chosen) for split, chosen in sets.items()}
    for split, content in contents.items():  # last: if both files exist, so do all images
        put(folder / "annotations" / f"instances_{split}.json", json.dumps(content).encode())
    archive.unlink()


def _unpack(archive: Path, files: dict[str, Reader], folder: Path, names: list[str]) -> dict[str, Any]:
    """Write these images, and return the content of their annotation file."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for k, name in enumerate(names, 1):
        image = _read(archive, files, f"PNGImages/{name}.png")
        with naming(archive):
            w, h = Image.open(io.BytesIO(image)).size
            drawn = Image.open(io.BytesIO(_read(archive, files, f"PedMasks/{name}_mask.png")))
            mask = np.asarray(drawn) if drawn.size == (w, h) else np.empty(0)  # the size before it is decoded
        if mask.shape != (h, w):
            raise ArchiveError(f"{archive}: the mask of {name!r} is {drawn.size}, expected {w, h} in one channel")
        # Ids count from 1, those of the annotations over all images.
        put(folder / f"{name}.png", image)
        images.append({"id": k, "file_name": f"{name}.png", "width": w, "height": h})
        annotations += [{"id": len(annotations) + n, "image_id": k, **entry} for n, entry in enumerate(people(mask), 1)]
    return {
        "info": {"description": "Penn-Fudan pedestrians", "url": "https://www.cis.upenn.edu/~jshi/ped_html/"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
    }


def people(mask: np.ndarray) -> list[dict[str, Any]]:
    """Return COCO's annotations of a mask `[h, w]`, in which 0 is background and every other value is a person."""
    entries = []
    _, boxes, areas = instances(mask)
    for (left, top, right, bottom), area in zip(boxes.tolist(), areas.tolist(), strict=True):
        box = [left, top, right - left, bottom - top]
        entries.append({"category_id": 1, "bbox": box, "area": area, "iscrowd": 0, "segmentation": []})
    return entries


def _read(archive: Path, files: dict[str, Reader], ending: str) -> bytes:
    """Return the content of the file with this ending. Raises ValueError if there is none."""
    found = next((read for name, read in files.items() if name.endswith(f"/{ending}")), None)
    if found is None:
        raise ArchiveError(f"{archive}: has no {ending!r}")
    return found()


def _is_whole(folder: Path) -> bool:
    """Return whether both annotation files, and every image that they list, exist."""
    files = [folder / "annotations" / f"instances_{split}.json" for split in SPLITS]
    if missing(files):
        return False
    return not any(
        missing([folder / "images" / split / name for name in read_annotations(file).file_names])
        for split, file in zip(SPLITS, files, strict=True)
    )
