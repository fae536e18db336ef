"""Safetensors <-> Darknet: a network with all that detection needs to know of it.

The metadata holds the cfg, the class names, darknet's header and, of a trained network, the size of its input and how
images were placed in it. What was trained is what is detected with.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from yolo.atomic import replacing
from yolo.darknet.cfg import parse_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.weights import Header
from yolo.size import Size

NEEDED = ("cfg", "names", "darknet_header")


class Saved(NamedTuple):
    """What a file holds: `size` (h, w) of the input in pixels, `letterbox` False for images that are stretched."""

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
) -> None:
    """Writes the network with its metadata, whole or not at all; `size` is by default that of the cfg."""
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    metadata = {
        "format": "exact-yolov3",
        "cfg": network.cfg.to_text(),
        "names": json.dumps(names, ensure_ascii=False),
        "darknet_header": json.dumps(header or Header()),
        "size": json.dumps(size or network.size),
        "letterbox": json.dumps(letterbox),
    }
    with replacing(Path(path)) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as problem:
            raise OSError(f"{path}: not written, {problem}") from None


def load_safetensors(path: str | os.PathLike[str]) -> Saved:
    """What `save_safetensors` wrote.

    Raises ValueError for other and damaged files: missing metadata, missing or surplus tensors, other shapes.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    cfg = parse_cfg(metadata["cfg"], f"{path}, cfg in its metadata")
    network = Darknet(cfg, file_bytes=path.stat().st_size, init=None)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as problem:
        raise ValueError(f"{path}: its tensors do not fit its own cfg: {problem}") from None
    try:
        h, w = json.loads(metadata.get("size", json.dumps(network.size)))
        return Saved(
            network,
            list(map(str, json.loads(metadata["names"]))),
            Header(*json.loads(metadata["darknet_header"])),
            Size(int(h), int(w)),
            bool(json.loads(metadata.get("letterbox", "true"))),
        )
    except (TypeError, ValueError) as problem:
        raise ValueError(f"{path}: {', '.join(NEEDED)} or size in its metadata are damaged: {problem}") from None


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a file of this program. FileNotFoundError, ValueError for another file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except SafetensorError as problem:
        raise ValueError(f"{path}: not a whole safetensors file ({problem}); was the copy cut short?") from None
    if not metadata.keys() >= set(NEEDED):
        raise ValueError(f"{path}: a safetensors file without this program's metadata ({', '.join(NEEDED)})")
    return tensors, metadata
