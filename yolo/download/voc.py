"""Sets in Pascal VOC's layout from their archives: VOC 2007 and 2012, and the blood cells of BCCD.

    FOLDER/Annotations/*.xml    FOLDER/JPEGImages/*.jpg    FOLDER/ImageSets/Main/*.txt

The lists in ImageSets are unpacked last, so a set that has them is complete. Then the archive is removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yolo.download.archives import alone_in, fetch_archive, missing, rejected, unpack
from yolo.download.fetch import OfficialFile
from yolo.files.text import lines_of, read_text


def _voc(year: int, file: str, md5: str) -> OfficialFile:
    """Return an archive with its addresses at the two hosts of the challenge and at the author of darknet.

    The organisers publish no checksums. These are torchvision's.
    """
    hosts = (f"https://{name}.robots.ox.ac.uk/pascal/VOC/voc{year}" for name in ("thor", "host"))
    urls = (*(f"{host}/{file}" for host in hosts), f"https://pjreddie.com/media/files/{file}")
    return OfficialFile(file, urls, None, md5)


VOC = {
    "trainval2007": _voc(2007, "VOCtrainval_06-Nov-2007.tar", "c52e279531787c972589f7e41ab4ae64"),
    "test2007": _voc(2007, "VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f"),
    "trainval2012": _voc(2012, "VOCtrainval_11-May-2012.tar", "6cd6e144f989b92b3379bac3b3de84fd"),
}
"""The archives with boxes, by split."""

# GitHub packs this archive on request, so neither its size nor its checksum is known.
BCCD = OfficialFile(
    "BCCD_Dataset.zip",
    ("https://github.com/Shenggan/BCCD_Dataset/archive/refs/heads/master.zip",),
    limit=2**26,  # it has 8 MB
)

PARTS = r"(?:Annotations|JPEGImages|ImageSets/Main)/[^/]+\.(?:xml|jpg|txt)"

LISTS = "ImageSets/"


def get_voc(folder: Path, split: str | None = None, mirror: str | None = None) -> list[Path]:
    """Download VOC2007 and VOC2012, images and boxes without masks, and return the folders of the years.

    Args:
        folder: the folder that gets `VOC2007` and `VOC2012`.
        split: "trainval2007" (0.5 GB), "test2007" (0.5 GB) or "trainval2012" (2 GB). None means all three.
        mirror: the beginning of the addresses, instead of the official ones.

    Raises ValueError for another split, or if a file exists that differs from the official one; DownloadError; OSError.
    """
    if split is not None and split not in VOC:
        raise ValueError(f"split {split!r}: expected one of {', '.join(VOC)}, or none for all of them")
    years: list[Path] = []
    for name in VOC if split is None else [split]:
        year = folder / f"VOC{name[-4:]}"
        lists = ("test",) if name.startswith("test") else ("train", "val", "trainval")
        _get(VOC[name], folder, rf"VOCdevkit/(VOC\d{{4}}/{PARTS})", year, lists, mirror)
        years += [year] if year not in years else []
    return years


def get_bccd(folder: Path, mirror: str | None = None) -> Path:
    """Download the blood cells of BCCD (364 images, 3 classes, 8 MB) to `folder`. Raises as `get_voc` does."""
    _get(BCCD, folder, rf"[^/]+/BCCD/({PARTS})", folder, ("train", "val", "trainval", "test"), mirror)
    return folder


def _get(
    official: OfficialFile, folder: Path, pattern: str, root: Path, lists: Sequence[str], mirror: str | None
) -> None:
    """Download the archive and unpack it in `folder`, unless the set in `root` is complete."""
    if _is_whole(root, lists):
        return
    with alone_in(folder, mirror):
        if _is_whole(root, lists):  # by another process, for which this one waited
            return
        archive = fetch_archive(official, folder, mirror)
        unpack(archive, pattern, folder, LISTS)
        if not _is_whole(root, lists):
            raise rejected(archive, f"{archive}: is unpacked, but {root} lacks files that {', '.join(lists)} list")
        archive.unlink()


def _is_whole(root: Path, lists: Sequence[str]) -> bool:
    """Return whether the lists, and every image and xml file that they name, exist."""
    files = [root / "ImageSets" / "Main" / f"{name}.txt" for name in lists]
    if missing(files):
        return False
    names = {line.split()[0] for file in files for line in lines_of(read_text(file)) if line.strip()}
    return not missing([root / "JPEGImages" / f"{name}.jpg" for name in names]) and not missing(
        [root / "Annotations" / f"{name}.xml" for name in names]
    )
