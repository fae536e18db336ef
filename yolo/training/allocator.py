"""glibc's memory allocator: keep the blocks that training frees, because the next step needs the same ones again."""

from __future__ import annotations

import ctypes
import sys

# The parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_large_blocks() -> bool:
    """Serve large blocks from the heap and keep them there when they are freed. Returns False where nothing changed.

    By default glibc maps every block above a threshold (32 MiB at most) from the system, unmaps it when it is freed,
    and gives free memory at the end of the heap back. The activations of a training step are such blocks. In every step
    the system then hands out gigabytes of zeroed pages, 4 KiB at a time, which takes a large part of a small network's
    step on a CPU. The price: the process keeps its peak memory. Detection gains nothing from it.

    Call it before the first step of a training on a CPU; it lasts as long as the process. It needs glibc. With musl, on
    macOS and on Windows, whose allocators work in other ways, it does nothing and returns False.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt")):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    # Each setting helps on its own, so all are tried even if one is refused.
    return [libc.mallopt(parameter, value) for parameter, value in settings] == [1, 1, 1]
