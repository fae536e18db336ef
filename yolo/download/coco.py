"""COCO 2017: the annotations in one archive, then only the wanted images, each from its own address.

    FOLDER/annotations_trainval2017.zip    FOLDER/annotations/instances_SPLIT.json    FOLDER/images/SPLIT/*.jpg

The annotation file is written last, so all images that it lists are there.
"""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from yolo.data.formats.coco_json import read_json
from yolo.download.archives import alone_in, fetch_archive, mirrored, one
from yolo.download.fetch import DownloadError, OfficialFile, fetch
from yolo.files.atomic import replacing
from yolo.images.files import read_image

SPLITS = ("val2017", "train2017")

HOST = "http://images.cocodataset.org"

CONNECTIONS = 16

IMAGE = 2**26
"""Bytes of an image file at most."""

SUBSET = "subset"  # the key in `info` that marks an annotation file as written here

# COCO publishes neither a size nor a checksum. These are the ones that third-party scripts agree on.
ANNOTATIONS = OfficialFile(
    "annotations_trainval2017.zip",
    (f"{HOST}/annotations/annotations_trainval2017.zip",),
    252_907_541,
    "f4bbac642086de4f52a3fdda2de5fa2c",
)


def get_coco(folder: Path, split: str = "val2017", images: int | None = None, mirror: str | None = None) -> Path:
    """Download COCO 2017, or its first `images` images, and return the path of the annotation file.

    Complete files are kept: a second call continues after a failure and downloads nothing after a success. Damaged
    images are downloaded again.

    Args:
        folder: the folder of the data set.
        split: "val2017" (5,000 images, 1 GB with the annotations) or "train2017" (118,287, 19 GB).
        images: the number of images, in the order of the annotation file. None means all.
        mirror: the beginning of the addresses, instead of http://images.cocodataset.org.

    Raises ValueError for an unknown split, an impossible number of images, or an existing annotation file that has
    another content and was not written here; DownloadError that names every image that did not arrive; OSError, for
    example for a full disk.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    with alone_in(folder, mirror):
        return _get(folder, split, images, mirror)


def _get(folder: Path, split: str, images: int | None, mirror: str | None) -> Path:
    """Download what is missing and return the path of the annotation file, in one process at a time."""
    archive = fetch_archive(ANNOTATIONS, folder, mirror)
    whole = one(archive, f"annotations/instances_{split}.json")
    content = json.loads(whole)

    # All images have COCO's own file, byte for byte. A subset has a file of its own.
    count = len(content["images"])
    if images is not None and not 1 <= images <= count:
        raise ValueError(f"{images} images: {split} has {count:,}; expected 1 to {count}")
    if images is not None and images < count:
        content = first_images(content, images)
        whole = json.dumps(content).encode()

    # Before the images are downloaded: may the annotation file be replaced?
    target = folder / "annotations" / f"instances_{split}.json"
    there = target.exists() and _is_there(target, whole)
    _fetch_images(content["images"], folder / "images" / split, f"{HOST}/{split}", mirror)
    if not there:
        with replacing(target) as temporary:
            temporary.write_bytes(whole)
    return target


def first_images(content: dict[str, Any], count: int) -> dict[str, Any]:
    """Return the first `count` images of an annotation file with their annotations and all categories."""
    images = content["images"][:count]
    ids = {image["id"] for image in images}
    note = f"the first {count} of {len(content['images'])} images"
    return {
        **content,
        "info": {**content.get("info", {}), SUBSET: note},
        "images": images,
        "annotations": [entry for entry in content["annotations"] if entry["image_id"] in ids],
    }


def _is_there(target: Path, whole: bytes) -> bool:
    """Return whether the annotation file already has this content. Raises ValueError if it must not be replaced."""
    if target.read_bytes() == whole:
        return True
    there = read_json(target)
    if not isinstance(there, dict) or SUBSET not in there.get("info", {}):
        raise ValueError(
            f"{target}: exists and is not a subset that was written here; it is not replaced: use another --out"
        )
    return False


def _fetch_images(images: list[dict[str, Any]], folder: Path, address: str, mirror: str | None) -> None:
    """Download every image to `folder`. Raises DownloadError at the end for all that failed, other errors at once."""
    for image in images:
        name = image["file_name"]
        if Path(name).name != name or name == ".." or "\\" in name:
            raise ValueError(f"image {image['id']} is called {name!r}; expected a file name without folder")

    # After an error in one thread the others must not sleep until their next attempt.
    failures: list[str] = []
    stop = threading.Event()

    def pause(seconds: float) -> None:
        if stop.wait(seconds):
            raise DownloadError("interrupted")

    def get(image: dict[str, Any]) -> None:
        url = mirrored(image.get("coco_url") or f"{address}/{image['file_name']}", mirror)
        size = image["width"], image["height"]
        target = folder / image["file_name"]
        fetch([url], target, check=lambda path: _fault(path, size), limit=IMAGE, progress=False, sleep=pause)

    bar = tqdm(total=len(images), desc=folder.name, unit=" images", disable=None)
    with ThreadPoolExecutor(CONNECTIONS) as pool, bar, logging_redirect_tqdm([logging.getLogger()]):
        jobs = [pool.submit(get, image) for image in images]
        try:
            for job in as_completed(jobs):
                try:
                    job.result()
                except DownloadError as problem:
                    failures.append(str(problem))
                bar.update()
        except BaseException:  # a full disk, an interruption: no other download is started
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    if failures:
        named = "\n".join(sorted(failures))
        raise DownloadError(
            f"{len(failures)} of {len(images)} images did not arrive:\n{named}\nRun the same command again."
        )


def _fault(path: Path, size: tuple[int, int]) -> str | None:
    """Return what is wrong with an image file of `size` (w, h) or turned by 90 degrees; None if nothing is."""
    try:
        h, w, _ = read_image(path).shape
    except ValueError as problem:
        return str(problem).removeprefix(f"{path}: ")
    return None if sorted((w, h)) == sorted(size) else f"{w}x{h} pixels, expected {size[0]}x{size[1]}"
