"""glibc's memory allocator, told to keep what training frees: the same blocks are asked for again a moment later."""

from __future__ import annotations

import ctypes
import sys

# The parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_large_blocks() -> bool:
    """From now on large blocks come from the heap and stay there when they are freed; False where nothing changed.

    Left alone, glibc maps every block above a bound (32 MiB at most) afresh from the system and unmaps it when it is
    freed, and gives the end of the heap back. Activations of a training step are such blocks, so in every step the
    system hands out gigabytes of zeroed pages, 4 KiB at a time, which takes a large part of a small network's step on a
    CPU. The price is that the process keeps the most that it ever had. Detection gains nothing from it.

    For training on a CPU, before the first step; it lasts as long as the process. It needs glibc: with musl, macOS or
    Windows, whose allocators work in other ways, it does nothing and says so.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt")):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    accepted = [libc.mallopt(parameter, value) == 1 for parameter, value in settings]
    return all(accepted)
