"""What `detect` is given, as images: paths, folders and globs, arrays, Pillow's images, tensors, and many of these.

Letters: `B` images of a batch, `C` channels, `h, w` height and width in pixels.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from yolo.images.files import luminance, read_image
from yolo.images.sources import counted, find_sources

log = logging.getLogger("yolo")

ImageLike = str | os.PathLike[str] | np.ndarray | Image.Image | Tensor
"""One image: a path, RGB pixels uint8 `[h, w, C]`, a Pillow image in any mode, or a uint8 tensor `[C, h, w]`.

`C` is 3, or what the network has. A tensor `[B, C, h, w]` is a batch; the path of a folder or a glob are its images.
"""

HINTS: dict[type, str] = {
    type(None): "; cv2.imread returns None for a file that it cannot read",
    bytes: "; give the image in a file's bytes as PIL.Image.open(io.BytesIO(data))",
    int: "; model.stream takes the number of a camera",
}


class Given(NamedTuple):
    """One image: the path of its file, or pixels uint8 `[h, w, C]`; `name` and `path` are those of an image or video.

    Pixels of a caller have neither.
    """

    image: Path | np.ndarray
    name: str = ""
    path: Path | None = None


def images_in(given: ImageLike | Iterable[ImageLike], channels: int) -> tuple[bool, Iterator[Given]]:
    """Return whether one image was given, and the images; files are not read, and an iterator is only begun by use.

    Raises ValueError for what is not an image, in a list with its place there.
    """
    one = (str, os.PathLike, np.ndarray, Image.Image, Tensor)
    if isinstance(given, Iterable) and not isinstance(given, (*one, bytes, bytearray, Mapping)):
        return False, _each(given, channels)
    single, images = _taken(given, channels)
    return single, iter(images)


def pixels_of(image: Any, channels: int) -> np.ndarray:
    """Return the pixels of an image, uint8 `[h, w, channels]`.

    A Pillow image is turned upright as its EXIF says, palettes become RGB, 16 bits their high byte and alpha is dropped
    without blending, as `read_image` does. Arrays and tensors on the CPU are not copied.

    Raises FileNotFoundError or ValueError with the name of a file that is not an image, and ValueError for anything
    else that is not one: with its type, shape and dtype, what is expected and how to make it.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(Path(image), channels)
    if isinstance(image, Image.Image):
        return _of_pillow(image, channels)
    if not isinstance(image, (np.ndarray, Tensor)):
        expected = f"a path or pixels, uint8 [h, w, {channels}], a PIL image, or a uint8 tensor [{channels}, h, w]"
        hint = HINTS.get(type(image), "")
        raise ValueError(f"got {type(image).__name__} in place of an image; expected {expected}{hint}")
    shape, is_tensor = list(image.shape), isinstance(image, Tensor)
    fits = len(shape) == 3 and shape[0 if is_tensor else 2] == channels and 0 not in shape
    if not fits or image.dtype not in (np.uint8, torch.uint8):
        what, expected = ("a tensor", f"[{channels}, h, w]") if is_tensor else ("pixels", f"[h, w, {channels}]")
        raise ValueError(
            f"got {what} of shape {shape} and type {image.dtype}; "
            f"expected uint8 {expected}{_remedy(image, shape, channels)}"
        )
    if isinstance(image, Tensor):
        return image.as_subclass(Tensor).permute(1, 2, 0).cpu().numpy()
    return image


def _each(given: Iterable[Any], channels: int) -> Iterator[Given]:
    """Yield the images of a list or iterator; folders and batches in it are all of theirs."""
    for number, one in enumerate(given):
        try:
            _, images = _taken(one, channels)
        except ValueError as problem:
            raise ValueError(f"images[{number}]: {problem}") from problem
        yield from images


def _taken(one: Any, channels: int) -> tuple[bool, list[Given]]:
    """Return whether this is a single image, and the image, or those of a folder, a glob or a batch."""
    if isinstance(one, (str, os.PathLike)):
        return _files(os.fspath(one))
    if isinstance(one, Tensor) and one.ndim == 4:
        return False, [Given(pixels_of(image, channels)) for image in one]
    return True, [Given(pixels_of(one, channels))]


def _files(word: str) -> tuple[bool, list[Given]]:
    """Return whether a path is that of one file, and the images that it means; videos among them are left out.

    Raises ValueError for a video, a stream or a camera, and for a folder or a glob without images.
    """
    if not word:
        raise ValueError("got an empty path; expected that of an image file, a folder or a glob")
    sources = find_sources([word])
    images = [Given(source.path, source.name, source.path) for source in sources if source.path and not source.moving]
    videos = len(sources) - len(images)
    if not images:
        raise ValueError(f"{word}: is not an image but a video, a stream or a camera; model.stream yields its frames")
    if videos:
        log.warning("%s: left out %s; model.stream yields the frames", word, counted(videos, "video"))
    return [source.path for source in sources] == [Path(word)], images


def _of_pillow(image: Image.Image, channels: int) -> np.ndarray:
    """Return the pixels of a Pillow image, upright, uint8 `[h, w, channels]`. Raises ValueError for some rare modes."""
    what = f"got a PIL image of mode {image.mode}"
    if channels not in (1, 3):
        raise ValueError(f"{what}; networks with {channels} input channels take uint8 arrays [h, w, {channels}]")
    if image.mode in ("I", "F"):  # nothing tells which of their values is white
        raise ValueError(f'{what}, whose range is not known; give np.asarray(image) in 0 to 255 as .astype("uint8")')
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception as problem:  # Pillow reads the pixels only now, and has many kinds of errors for damage
        raise ValueError(f"{what} that cannot be read: {problem}; expected a whole file") from problem
    if upright.mode.startswith("I;16"):
        grey = (np.asarray(upright) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], channels, axis=2)
    # Palettes go by way of RGBA, since Pillow warns of transparent entries otherwise.
    try:
        rgb = np.array((upright.convert("RGBA") if upright.mode == "P" else upright).convert("RGB"))
    except ValueError as problem:
        raise ValueError(f"{what}: {problem}; convert it to RGB") from problem
    return rgb if channels == 3 else luminance(rgb)


def _remedy(image: np.ndarray | Tensor, shape: list[int], channels: int) -> str:
    """Return how to make pixels of other pixels, as the end of a message; empty if there is no likely way."""
    is_tensor = isinstance(image, Tensor)
    to_uint8 = "to(torch.uint8)" if is_tensor else 'astype("uint8")'
    floating = image.is_floating_point() if isinstance(image, Tensor) else image.dtype.kind == "f"
    turned = "permute(2, 0, 1)" if is_tensor else "transpose(1, 2, 0)"
    last, other = (0, 2) if is_tensor else (2, 0)
    three = len(shape) == 3
    rows = [
        (floating, f"for values from 0 to 1 give (x * 255).round().{to_uint8}"),
        (image.dtype not in (np.uint8, torch.uint8), f"for values from 0 to 255 give x.{to_uint8}"),
        (len(shape) == 4 and not is_tensor, "for a batch give list(x)"),
        (three and shape[other] == channels, f"give x.{turned}"),
        (three and shape[last] == channels + 1, f"without alpha give {'x[:-1]' if is_tensor else 'x[..., :-1]'}"),
        (
            len(shape) == 2,
            f"give {'torch' if is_tensor else 'np'}.stack([x] * {channels}{'' if is_tensor else ', -1'})",
        ),
    ]
    return next((f"; {text}" for fits, text in rows if fits), "")
