"""Memory without a name, which processes share: it is gone with the last one that uses it, however that ends."""

from __future__ import annotations

import mmap
import os
import pickle
import re
import tempfile
import weakref
from collections.abc import Sequence
from io import BytesIO
from math import inf
from multiprocessing import reduction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO

LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Where a container reads its limit and what it uses, in version 2 and 1 of the kernel's control groups."""

ALIGNED = 64
"""Arrays begin at multiples of this number of bytes."""


def memory_file(owner: object) -> Path:
    """Return the path of a new file in memory, which has no name and is gone with `owner` or this process.

    Other processes read it by the same path, as long as this one lives. Where there are no such files, it is a
    temporary one that is deleted with `owner`.
    """
    try:
        handle = os.memfd_create("exact-yolov3")
    except (AttributeError, OSError):
        handle, name = tempfile.mkstemp(prefix="exact-yolov3-")
        os.close(handle)
        weakref.finalize(owner, Path(name).unlink, missing_ok=True)
        return Path(name)
    weakref.finalize(owner, os.close, handle)
    return Path(f"/proc/{os.getpid()}/fd/{handle}")


def free_memory() -> float:
    """Return the bytes of memory that processes can still get: of the machine, or of the container if it has a limit.

    Infinite where it is unknown.
    """
    free = [float(kb) * 1024 for kb in re.findall(r"^MemAvailable:\s+(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)]
    for limit, used in LIMITS:
        if (most := _text(limit).strip()).isdigit() and (now := _text(used).strip()).isdigit():
            # Copies of files on the disk count as used, and are given up when memory is short.
            folder = os.path.dirname(limit)
            cached = re.findall(r"^(?:total_)?inactive_file (\d+)$", _text(f"{folder}/memory.stat"), re.MULTILINE)
            free.append(float(most) - float(now) + float(cached[-1] if cached else 0))
    return max(0.0, min(free, default=inf))


def _text(file: str) -> str:
    """Return the text of a file of the system, "" where there is none."""
    try:
        return Path(file).read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


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
