"""keep_large_blocks, each time in a process of its own: it cannot be undone."""

from __future__ import annotations

import ctypes
import platform
import sys

import pytest

from tests.support import warm
from yolo.training.allocator import keep_large_blocks

FAULTS = """
import resource, sys
import torch
from yolo.training.allocator import keep_large_blocks
torch.set_num_threads(1)
kept = keep_large_blocks() if sys.argv[1] == "tuned" else False
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    block = torch.ones(9 * 2**20)  # 36 MiB
    return int(block.sum())
counts = [faults()]
for _ in range(40):
    assert work() == 9 * 2**20
    counts.append(faults())
print(int(kept), counts[40] - counts[20])  # the heap has found its size by then
"""


def measure(mode: str) -> tuple[bool, int]:
    """What the function returned, and page faults while a block of 36 MiB was taken and freed twenty times."""
    done = warm.run("-c", FAULTS, mode)
    done.check_returncode()
    kept, faults = map(int, done.stdout.split())
    return bool(kept), faults


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc: there is nothing to tune")
def test_blocks_are_kept() -> None:
    """A freed block is taken again without a page fault for each of its pages; allocation still works."""
    plain, tuned = measure("plain"), measure("tuned")
    assert (plain[0], tuned[0]) == (False, True)
    assert plain[1] >= 20 * 18, "the block was not mapped afresh each time, so this test shows nothing"
    assert tuned[1] < plain[1] / 10


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_left_alone(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """False, and the C library is not even opened."""
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("the C library was opened"))
    assert keep_large_blocks() is False


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """musl has a `mallopt` in no version; whoever has one without being glibc is not called either."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: type("Musl", (), {"mallopt": lambda *_: pytest.fail("called")})())
    assert keep_large_blocks() is False


def test_refused_by_the_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    """glibc returns 0 for an unknown parameter: the result is False, after all were tried."""
    calls: list[tuple[int, int]] = []

    class Refusing:
        def gnu_get_libc_version(self) -> bytes:
            return b"2.0"

        def mallopt(self, parameter: int, value: int) -> int:
            calls.append((parameter, value))
            return 0 if parameter == -4 else 1

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Refusing())
    assert keep_large_blocks() is False
    assert calls == [(-4, 0), (-1, 2**31 - 1), (-2, 64 * 2**20)]
