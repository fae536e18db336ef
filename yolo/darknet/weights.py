"""Darknet `.weights` files <-> Darknet. Every byte is accounted for.

A `.weights` file is a header (three int32: major, minor, revision; then the number of images seen, 64 bits
from version 0.2 on, 32 before), then float32 values without names, little endian: for every convolution in the
order of the cfg its biases, with batch norm also scales, means and variances, then its weights
`[filters, c / groups, size, size]`; for every weighted shortcut its weights. The file does not name its network. The
only possible check is its length, which must be right to the byte before anything is read.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from yolo.darknet.layers import Add, ConvBlock
from yolo.darknet.network import Darknet
from yolo.darknet.plan import Plan
from yolo.darknet.sections import Convolutional, HeadSection
from yolo.darknet.sound import check_sound
from yolo.files.atomic import replacing


class Header(NamedTuple):
    """Version of the program that wrote the file, number of images seen in training, bytes of that number (4 or 8)."""

    major: int = 0
    minor: int = 2
    revision: int = 5
    seen: int = 0
    seen_bytes: int = 8

    @property
    def length(self) -> int:
        """Bytes of the header: 16 or 20."""
        return 12 + self.seen_bytes

    def to_bytes(self) -> bytes:
        """Return the header as the bytes of a file."""
        return struct.pack("<3iQ" if self.seen_bytes == 8 else "<3iI", *self[:4])


class Row(NamedTuple):
    """What happened to the layers `first` to `last`: their floats in the network, `fate` in words."""

    first: int
    last: int
    floats: int
    fate: str


@dataclass(frozen=True)
class LoadReport:
    """What a weights file filled. `str()` gives the table."""

    file: str
    header: Header
    rows: tuple[Row, ...]

    @property
    def complete(self) -> bool:
        """Whether every layer that has weights was loaded."""
        return all(row.fate == "loaded" or not row.floats for row in self.rows)

    def __str__(self) -> str:
        h = self.header
        lines = [f"{self.file}: version {h.major}.{h.minor}.{h.revision}, {h.seen:,} images seen"]
        for row in self.rows:
            layers = f"layer {row.first}" if row.first == row.last else f"layers {row.first} to {row.last}"
            lines.append(f"  {layers:<18} {row.floats:>12,} floats  {row.fate}")
        return "\n".join(lines)


def read_header(data: bytes, file: str) -> Header:
    """Return the header of a `.weights` file from its first 20 bytes. Raises ValueError if darknet never writes it."""
    if len(data) < 16:
        raise ValueError(f"{file}: {len(data)} bytes; a darknet .weights file begins with a header of 16 or 20 bytes")
    major, minor, revision = struct.unpack("<3i", data[:12])
    if not (0 <= major < 1000 and 0 <= minor < 1000 and revision >= 0):
        raise ValueError(
            f"{file}: version {major}.{minor}.{revision} in the header, which darknet never writes; "
            f"expected a .weights file (0.1.0, 0.2.0 or 0.2.5), got another kind of file or a damaged one"
        )
    seen_bytes = 8 if major * 10 + minor >= 2 else 4
    if len(data) < 12 + seen_bytes:
        raise ValueError(f"{file}: the file ends in its header, after {len(data)} bytes of {12 + seen_bytes}")
    seen = int.from_bytes(data[12 : 12 + seen_bytes], "little")
    return Header(major, minor, revision, seen, seen_bytes)


def load_weights(
    network: Darknet, path: str | os.PathLike[str], *, cutoff: int | None = None, transfer: bool = False
) -> LoadReport:
    """Fill a network from a darknet `.weights` file.

    Args:
        network: filled in place; layers that the file does not hold get initial weights.
        path: the file. A name such as `darknet53.conv.74` means `cutoff=74`.
        cutoff: the file holds layers 0 to cutoff - 1 only (a backbone), as darknet's `partial` writes it.
        transfer: accept a file of the same network with another number of classes; its heads are skipped and
            those of the network get initial weights.

    Returns:
        The table of what was loaded, skipped and initialised.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is longer or shorter than the network needs; names the layer where it ends and both
            byte counts. Nothing is changed then. Or the weights are not finite, or have negative variances.
    """
    path = Path(path)
    cutoff = _cutoff(path, cutoff, len(network.layers))
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty; expected a darknet .weights file")
    # Mapped, so that 250 MB are not read twice. Copy on write: the file is never changed.
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    data = np.frombuffer(mapped, dtype=np.uint8)
    header = read_header(bytes(data[:20]), str(path))
    values = data[header.length :]
    # The length decides whether the file fits, before a parameter is touched.
    in_file = _layout(network.plan, values.size, cutoff, str(path), header, transfer)
    at = 0
    for layer, floats in zip(network.plan.layers, in_file, strict=True):
        if layer.floats and floats == layer.floats:
            _fill(_stored(network, layer.index), values[at : at + 4 * floats].view("<f4"))
        elif layer.floats:
            _stored(network, layer.index).initialise()
        at += 4 * floats
        _drop(mapped, header.length + at)
    assert at == values.size, "the layout and the length of the file disagree"
    check_sound(network, path)
    return LoadReport(str(path), header, _rows(network.plan, in_file, cutoff))


def save_weights(
    network: Darknet, path: str | os.PathLike[str], header: Header | None = None, *, cutoff: int | None = None
) -> None:
    """Write a darknet `.weights` file, whole or not at all.

    With `cutoff` only layers 0 to cutoff - 1 are written, and the number of images seen is set to 0, as darknet's
    `partial` does. A file that is loaded, and saved with its header, is the same byte for byte.
    """
    header = header or Header()
    if cutoff is not None:
        header = header._replace(seen=0)
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(header.to_bytes())
        for layer in network.plan.layers[:cutoff]:
            if layer.floats:
                for tensor in _tensors(_stored(network, layer.index)):
                    file.write(tensor.detach().cpu().contiguous().numpy().astype("<f4", copy=False).tobytes())


def _drop(mapped: mmap.mmap, end: int) -> None:
    """Take the first `end` bytes of a mapped file out of the memory of this process; they would be read again."""
    pages = end // mmap.PAGESIZE * mmap.PAGESIZE
    if pages and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        mapped.madvise(mmap.MADV_DONTNEED, 0, pages)


def _cutoff(path: Path, cutoff: int | None, layers: int) -> int:
    """Return the number of layers in the file: `cutoff`, else the number in its name, else all."""
    if cutoff is None:
        named = re.search(r"\.conv\.([0-9]{1,6})$", path.name)
        cutoff = int(named[1]) if named else layers
    if not 0 < cutoff <= layers:
        raise ValueError(f"{path}: cutoff {cutoff} for a network of {layers} layers; expected 1 to {layers}")
    return cutoff


def _layout(plan: Plan, size: int, cutoff: int, file: str, header: Header, transfer: bool) -> list[int]:
    """Return the floats that the file holds for every layer; `size` is its bytes after the header.

    Raises ValueError if the size does not fit.
    """
    floats = [layer.floats if layer.index < cutoff else 0 for layer in plan.layers]
    if size == 4 * sum(floats):
        return floats
    classes, others = _other_classes(plan, floats, size, cutoff)
    if transfer and others:
        return others
    raise ValueError(_misfit(plan, floats, size, file, header) + _remedy(plan, floats, size, classes))


def _other_classes(plan: Plan, floats: list[int], size: int, cutoff: int) -> tuple[int, list[int]]:
    """Return the class count, and floats per layer, with which the same network fills the file; else 0."""
    # The convolutions before heads: floats per filter, and anchors. Their floats are linear in the number of classes.
    heads = {}
    for layer in plan.layers[:cutoff]:
        before = plan.layers[max(layer.index - 1, 0)]
        if isinstance(layer.section, HeadSection) and isinstance(before.section, Convolutional):
            heads[before.index] = before.floats // before.section.filters, len(layer.section.pairs)
    per_class = sum(per_filter * anchors for per_filter, anchors in heads.values())
    rest = sum(count for index, count in enumerate(floats) if index not in heads)
    classes, remainder = divmod(size // 4 - rest, per_class) if per_class else (0, 1)
    classes -= 5
    if classes < 1 or remainder or size % 4:
        return 0, []
    others = {index: per_filter * anchors * (5 + classes) for index, (per_filter, anchors) in heads.items()}
    return classes, [others.get(index, count) for index, count in enumerate(floats)]


def _misfit(plan: Plan, floats: list[int], size: int, file: str, header: Header) -> str:
    """Return where the file ends, or how much of it is left."""
    needed, got = header.length + 4 * sum(floats), header.length + size
    with_weights = [index for index, count in enumerate(floats) if count]
    if size > 4 * sum(floats):
        last = plan.layers[with_weights[-1]] if with_weights else None
        end = f"layer {last.index} [{last.section.name}], the last one with weights" if last else "the header"
        return f"{file}: {got:,} bytes, but the network needs {needed:,}: {got - needed:,} bytes are left after {end}"
    read = 0
    for index in with_weights:
        if read + 4 * floats[index] > size:
            break
        read += 4 * floats[index]
    return (
        f"{file}: {got:,} bytes, but the network needs {needed:,}: the file ends in layer {index} "
        f"[{plan.layers[index].section.name}], {plan.cfg.file}:{plan.layers[index].section.source.line}, "
        f"which has {size - read:,} of its {4 * floats[index]:,} bytes"
    )


def _remedy(plan: Plan, floats: list[int], size: int, classes: int) -> str:
    """Return what to do: the file fits another number of classes, or ends with a layer, or neither."""
    if classes:
        have = next(layer.section.classes for layer in plan.layers if isinstance(layer.section, HeadSection))
        return f". It fits this network with {classes} classes, not {have}: use that cfg, or transfer all but the heads"
    ends = {4 * sum(floats[: k + 1]): k + 1 for k in range(len(floats)) if floats[k]}
    if size in ends:
        return f". It ends exactly after layer {ends[size] - 1}: if it is a backbone, load it with cutoff {ends[size]}"
    return ". Is it the file of another cfg, or was the copy cut short?"


def _stored(network: Darknet, index: int) -> ConvBlock | Add:
    layer = network.layers[index]
    assert isinstance(layer, ConvBlock | Add), f"layer {index} holds weights and is no convolution or shortcut"
    return layer


def _tensors(block: ConvBlock | Add) -> Iterator[Tensor]:
    """Yield the parameters of a layer in the order of the file."""
    if isinstance(block, Add):
        assert block.weights is not None
        yield block.weights
        return
    if block.bn is not None:
        assert block.bn.running_mean is not None
        assert block.bn.running_var is not None
        yield from (block.bn.bias, block.bn.weight, block.bn.running_mean, block.bn.running_var)
    else:
        assert block.conv.bias is not None
        yield block.conv.bias
    yield block.conv.weight


@torch.no_grad()
def _fill(block: ConvBlock | Add, values: np.ndarray) -> None:
    """Copy the floats of a layer into its parameters."""
    at = 0
    for tensor in _tensors(block):
        tensor.copy_(torch.from_numpy(values[at : at + tensor.numel()]).view(tensor.shape))
        at += tensor.numel()
    assert at == values.size, "the layout of a layer and its count disagree"


def _rows(plan: Plan, in_file: list[int], cutoff: int) -> tuple[Row, ...]:
    """Return one row for consecutive layers with the same fate."""
    rows: list[Row] = []
    for layer, floats in zip(plan.layers, in_file, strict=True):
        if layer.index >= cutoff:
            fate = "re-initialised: not in the file"
        elif floats != layer.floats:
            fate = f"re-initialised: the head has other classes, {floats:,} floats of the file skipped"
        else:
            fate = "loaded"
        if rows and rows[-1].fate == fate:
            rows[-1] = Row(rows[-1].first, layer.index, rows[-1].floats + layer.floats, fate)
        else:
            rows.append(Row(layer.index, layer.index, layer.floats, fate))
    return tuple(rows)
