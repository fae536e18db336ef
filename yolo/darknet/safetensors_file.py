"""Safetensors files: the tensors of any model with its metadata, and on top of that a Darknet network.

The metadata of a network holds its cfg, its class names, darknet's header and, of a trained network, the size of its
input and how images were placed in it. Detection uses the same size and placement as training.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from yolo.darknet.cfg import parse_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.plan import make_plan
from yolo.darknet.sound import check_sound
from yolo.darknet.weights import Header
from yolo.files.atomic import replacing
from yolo.files.reading import reading
from yolo.size import Size

FORMAT = "exact-yolov3"
"""Value of the metadata key `format` in every file of this program."""

NEEDED = ("cfg", "names", "darknet_header")
"""The metadata that every file of a Darknet network has. Old ones lack `size` and `letterbox`."""

_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""The names of dtypes in a safetensors file."""


class Saved(NamedTuple):
    """A network and its metadata.

    `size` is the input's height and width in pixels; `letterbox` is False if images are stretched.
    """

    network: Darknet
    names: list[str]
    header: Header
    size: Size
    letterbox: bool


def save_safetensors(
    network: Darknet,
    path: str | os.PathLike[str],
    names: list[str],
    header: Header | None = None,
    *,
    size: tuple[int, int] | None = None,
    letterbox: bool = True,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write the network with its metadata, whole or not at all.

    Args:
        network: only read.
        path: the .safetensors file.
        names: class names.
        header: header of the darknet file that the network came from; by default version 0.2.5, no images seen.
        size: height and width of the input in pixels; by default the cfg's.
        letterbox: whether images are letterboxed. False: stretched.
        extra: further metadata. Keys of the network's own metadata are not replaced.

    Raises OSError if the file cannot be written.
    """
    metadata = {
        "cfg": network.cfg.to_text(),
        "names": json.dumps(names, ensure_ascii=False),
        "darknet_header": json.dumps(header or Header()),
        "size": json.dumps(size or network.size),
        "letterbox": json.dumps(letterbox),
    }
    save_tensors(path, network.state_dict(), {**(extra or {}), **metadata})


def load_safetensors(path: str | os.PathLike[str]) -> Saved:
    """Return what `save_safetensors` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another or a damaged file: missing metadata, missing or surplus tensors, other shapes; weights that
            are not finite, or have negative variances.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    if lacking := [key for key in NEEDED if key not in metadata]:
        raise ValueError(f"{path}: not a Darknet network: its metadata lacks {', '.join(lacking)}")
    cfg = parse_cfg(metadata["cfg"], f"{path}, cfg in its metadata")
    # The metadata come first: they are small.
    values = json_in(path, metadata, {"names": list, "darknet_header": list})
    values |= json_in(path, {"letterbox": "true", **metadata}, {"letterbox": bool})
    header = [*values["darknet_header"], *Header()[len(values["darknet_header"]) :]]
    limits = (2**31, 2**31, 2**31, 2**64, 9)
    fits = len(header) == 5 and all(type(n) is int and 0 <= n < end for n, end in zip(header, limits, strict=True))
    if not fits or header[4] not in (4, 8) or header[3] >= 256 ** header[4]:
        raise ValueError(f"{path}: darknet_header in its metadata is {str(header)[:60]}, expected {list(Header())}")
    network = Darknet(cfg, file_bytes=path.stat().st_size, init=None)
    size = size_in(path, metadata) if "size" in metadata else network.size
    make_plan(cfg, size)  # raises where it does not fit
    check_types(tensors, network, path)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as problem:
        raise ValueError(f"{path}: its tensors do not fit its own cfg: {problem}") from None
    check_sound(network, path)
    return Saved(network, list(map(str, values["names"])), Header(*header), size, values["letterbox"])


def check_types(tensors: Mapping[str, Tensor], network: nn.Module, path: Path) -> None:
    """Raise ValueError for a tensor of another type than the network's, which PyTorch would convert in silence."""
    for name, own in network.state_dict().items():
        if name in tensors and tensors[name].dtype != own.dtype:
            raise ValueError(f"{path}: its tensor {name} has {tensors[name].dtype}, expected {own.dtype}")


def json_in(path: str | os.PathLike[str], metadata: Mapping[str, str], kinds: Mapping[str, type]) -> dict[str, Any]:
    """Return values of the metadata that are json, by key. Raises ValueError for another kind, KeyError for none."""
    found = {}
    for key, kind in kinds.items():
        text = metadata[key]
        with reading(path, f"a file with {key} in its metadata"):
            found[key] = json.loads(text)
        if type(found[key]) is not kind:
            raise ValueError(f"{path}: {key} in its metadata is {str(found[key])[:60]!r}, expected a {kind.__name__}")
    return found


def size_in(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> Size:
    """Return the network input in the metadata. Raises ValueError for what is not one."""
    value = json_in(path, metadata, {"size": list})["size"]
    try:
        return Size.of_json(value)
    except ValueError as problem:
        raise ValueError(f"{path}: its metadata: {problem}") from None


def save_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata of any model, whole or not at all; the key `format` is added.

    Not by the package's `save_file`: since version 0.8 it writes under a name of its own, which stays in the folder
    after a kill. Raises OSError if the file cannot be written.
    """
    # As the package orders them: every tensor begins at a multiple of the size of its numbers.
    order = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {**metadata, "format": FORMAT}}
    end = 0
    for name in order:
        start, end = end, end + tensors[name].nbytes
        kind = _DTYPES[tensors[name].dtype]
        header[name] = {"dtype": kind, "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            values = tensors[name].detach().cpu().contiguous()
            file.write(values.reshape(-1).view(torch.uint8).numpy().data)


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors, on the CPU, and the metadata of a file that `save_tensors` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another or a damaged file.
    """
    with _opened(path) as (file, metadata):
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118, not a dict


def save_checked(path: Path, tensor: Tensor) -> None:
    """Write a tensor with a checksum, whole or not at all. Raises OSError if the file cannot be written."""
    save_tensors(path, {"tensor": tensor}, {"crc": str(zlib.crc32(tensor.numpy().data))})


def read_checked(path: Path) -> Tensor | None:
    """Return the tensor that `save_checked` wrote; None if there is no such file, or it is not as it was written."""
    with suppress(OSError, ValueError, KeyError):
        tensors, metadata = read_tensors(path)
        tensor = tensors["tensor"].clone()  # what is read is mapped, and a mapped file that is cut ends the process
        if metadata["crc"] == str(zlib.crc32(tensor.numpy().data)):
            return tensor
    return None


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the metadata of a file that `save_tensors` wrote, without its tensors. Raises as `read_tensors`."""
    with _opened(path) as (_, metadata):
        return metadata


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[Any, dict[str, str]]]:
    """The open file and its metadata, checked."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with reading(path, "a safetensors file"):
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise ValueError(f"{path}: a safetensors file without this program's metadata (format: {FORMAT})")
                yield file, metadata
        except SafetensorError as problem:
            raise ValueError(f"{path}: not a whole safetensors file ({problem}); was the copy cut short?") from None
