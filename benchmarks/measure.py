"""What several benchmarks measure alike. Standard library only: competitors run in environments of their own."""

from __future__ import annotations

from pathlib import Path


def peak_memory() -> float:
    """Peak resident memory of this process in MB (10^6 bytes), NaN where the system does not tell.

    Not `ru_maxrss`: Linux counts the parent's memory at the fork into it.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
