"""The published weights of darknet's networks: addresses, sizes, checksums, cfg and names, the copy in the cache.

No torch.

The authors publish no checksums. These are the ones that third-party download scripts use. Where none is known, the
size is the only check, and `fetch` logs a warning.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from yolo.download.fetch import DownloadError, OfficialFile, fetch
from yolo.files.user_cache import cache_folder
from yolo.names import COCO, did_you_mean


def _pjreddie(file: str, size: int, checksum: str | None = None) -> OfficialFile:
    """Return a file with its two addresses at the author of darknet, the newer one first."""
    urls = f"https://data.pjreddie.com/files/{file}", f"https://pjreddie.com/media/files/{file}"
    return OfficialFile(file, urls, size, checksum)


def _alexeyab(release: str, file: str, size: int, checksum: str | None = None) -> OfficialFile:
    """Return a file with its address among the releases of AlexeyAB's darknet."""
    urls = (f"https://github.com/AlexeyAB/darknet/releases/download/{release}/{file}",)
    return OfficialFile(file, urls, size, checksum)


_FILES = (
    _pjreddie("yolov3.weights", 248_007_048, "523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297"),
    _pjreddie("yolov3-tiny.weights", 35_434_956, "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c"),
    _pjreddie("yolov3-spp.weights", 252_209_544, "87a1e8c85c763316f34e428f2295e1db9ed4abcec59dd9544f8052f50de327b4"),
    _pjreddie("yolov3-openimages.weights", 259_229_388),
    _pjreddie("darknet53.conv.74", 162_482_580),
    _alexeyab(
        "darknet_yolo_v3_optimal",
        "yolov4.weights",
        257_717_640,
        "e8a4f6c62188738d86dc6898d82724ec0964d0eb9d2ae0f0a9d53d65d108d562",
    ),
    # The revision of December 2020. An older one of the same size, SHA-1 d110379b7b..., is refused.
    _alexeyab("darknet_yolo_v4_pre", "yolov4-tiny.weights", 24_251_276, "451caaab22fb9831aa1a5ee9b5ba74a35ffa5dcb"),
    _alexeyab("darknet_yolo_v4_pre", "yolov4x-mish.weights", 399_388_168, "a6f2879af2241de2e9730d317a55db6afd0af00b"),
    _pjreddie("yolov2.weights", 203_934_260),
    _pjreddie("yolov2-tiny.weights", 44_948_600),
    _pjreddie("yolov2-tiny-voc.weights", 63_471_556, "24b4bd049fc4fa5f5e95f684a8967e65c625dff9"),
    _pjreddie("yolo-voc.weights", 202_704_260, "1cc1a7f8ad12d563d85b76e9de025dc28ac397bb"),
)

WEIGHTS: dict[str, OfficialFile] = {file.file.removesuffix(".weights"): file for file in _FILES}
"""Every published file that `official_weights` can download, by name."""

VOC = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]  # fmt: skip
"""The 20 classes of Pascal VOC, in the order of darknet's `voc.names`."""


class Published(NamedTuple):
    """What belongs to a published file: its shipped cfg (None for a backbone), the class names if they are known."""

    cfg: Path | None
    names: list[str] | None


def published(name: str | Path) -> Published | None:
    """Return what belongs to the published file of this name; None for a path or another name. Downloads nothing.

    A file or folder of that name takes precedence.
    """
    return belonging(str(name)) if str(name) in WEIGHTS and not Path(name).exists() else None


def belonging(file: str) -> Published:
    """Return what belongs to a published file, by its name with or without `.weights`."""
    name = file.removesuffix(".weights")
    if not WEIGHTS[name].file.endswith(".weights"):
        return Published(None, None)
    return Published(Path(f"{name}.cfg"), {"voc": VOC, "openimages": None}.get(name.rpartition("-")[2], list(COCO)))


def located(weights: Path) -> Path:
    """Return the path itself, or for the name of a published file the file, downloaded if necessary."""
    return official_weights(str(weights)) if published(weights) else weights


def official_weights(name: str, progress: bool | None = None) -> Path:
    """Return the path of a published file in the cache, after downloading it if necessary.

    Args:
        name: a key of `WEIGHTS`, such as "yolov3".
        progress: as for `fetch`.

    Raises ValueError for a name that is not in the table; DownloadError, with the remedies, if no address gives the
    file; OSError if it cannot be written.
    """
    if name not in WEIGHTS:
        hint = did_you_mean(name.lower().removesuffix(".weights").removesuffix(".cfg"), WEIGHTS)
        hint = f"{hint} " if hint else ""
        raise ValueError(f"no published weights are called {name!r}; {hint}expected one of {', '.join(WEIGHTS)}")
    wanted = WEIGHTS[name]
    target = cache_folder() / wanted.file
    try:
        return fetch(wanted.urls, target, size=wanted.size, checksum=wanted.checksum, progress=progress)
    except DownloadError as error:
        raise DownloadError(
            f"{error}\n"
            f"Remedies: give --weights FILE; or download {wanted.file} from {wanted.urls[0]} on another machine and "
            f"put it at {target}; or set EXACT_YOLOV3_CACHE to a folder that has it."
        ) from None
    except (PermissionError, NotADirectoryError, FileExistsError, FileNotFoundError) as error:
        raise OSError(
            f"{target}: cannot be written ({error.strerror}); set EXACT_YOLOV3_CACHE to a folder that can"
        ) from None
