"""Memory without a name, which processes share: it is gone with the last one that uses it, however that ends."""

from __future__ import annotations

import mmap
import os
import pickle
from collections.abc import Sequence
from io import BytesIO
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any, BinaryIO

ALIGNED = 64
"""Arrays begin at multiples of this number of bytes."""


def send(pipe: Connection, answer: object) -> None:
    """Send an answer: arrays in a file without a name that is only in memory, or in the pipe where there is none."""
    arrays: list[pickle.PickleBuffer] = []
    head = pickle.dumps(answer, protocol=5, buffer_callback=arrays.append)
    views = [array.raw() for array in arrays]
    sizes = [len(view) for view in views]
    memory = _in_memory(views) if any(sizes) else None
    pipe.send((head, sizes, memory is not None))
    if memory is not None:
        with memory:
            reduction.send_handle(pipe, memory.fileno(), None)
    elif sizes:
        content = BytesIO()
        _write(content, views)
        pipe.send_bytes(content.getbuffer())


def _in_memory(views: Sequence[memoryview]) -> BinaryIO | None:
    """Return a file without a name that holds the arrays; None where there is no such file, or no room for it."""
    try:
        file = open(os.memfd_create("exact-yolov3"), "wb", buffering=0)  # noqa: SIM115
    except (AttributeError, OSError):  # not Linux, or not allowed here
        return None
    try:
        _write(file, views)  # written, not mapped: then a lack of memory is an error
    except OSError:
        file.close()
        return None
    return file


def _write(file: BinaryIO | Any, views: Sequence[memoryview]) -> None:
    """Write arrays one after the other, each at a multiple of ALIGNED bytes."""
    for view in views:
        rest = memoryview(view)
        while len(rest):
            rest = rest[file.write(rest) :]
        file.write(bytes(-len(view) % ALIGNED))


def received(pipe: Connection) -> Any:
    """Return what `send` has sent. Its arrays can be written, and keep the memory as long as they are used."""
    head, sizes, in_memory = pipe.recv()
    if not sizes:
        return pickle.loads(head)
    if in_memory:
        handle = reduction.recv_handle(pipe)
        try:
            content = memoryview(mmap.mmap(handle, sum(size + -size % ALIGNED for size in sizes)))
        finally:
            os.close(handle)
    else:
        content = memoryview(bytearray(pipe.recv_bytes()))
    views, start = [], 0
    for size in sizes:
        views.append(content[start : start + size])
        start += size + -size % ALIGNED
    return pickle.loads(head, buffers=views)
