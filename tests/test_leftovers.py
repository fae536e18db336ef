"""Temporary files of processes that were killed: who removes them, and which are never removed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from yolo.darknet.safetensors_file import save_tensors
from yolo.files.atomic import remove_leftovers, replacing
from yolo.training.checkpoint import save_checkpoint
from yolo.training.owner import owned


def names(folder: Path) -> list[str]:
    """Return the names in a folder."""
    return sorted(path.name for path in folder.iterdir())


def write(path: Path) -> None:
    """Write a file whole."""
    with replacing(path) as temporary:
        temporary.write_bytes(b"x")


def test_the_next_start_removes_them(tmp_path: Path) -> None:
    """Whatever process has their number now: it may have been one of another machine or container.

    Files of others stay, such as a download that is not complete.
    """
    others = [".a.part", "a.7.part", "a.zip.part", ".a.7.part.txt"]
    for folder in ("run", "out"):
        (tmp_path / folder).mkdir()
        for name in (".last.pt.1.part", f".last.pt.{os.getpid()}.part", ".b.csv.999999999.part", *others):
            (tmp_path / folder / name).write_bytes(b"half")
    with owned(tmp_path / "run"):
        assert names(tmp_path / "run") == sorted([*others, ".owner"])
    write(tmp_path / "out" / "last.pt")
    assert names(tmp_path / "out") == sorted([*others, "last.pt"])


WRITERS: list[Callable[[Path], None]] = [
    write,
    lambda path: save_checkpoint(path, {"a": torch.zeros(9)}),
    lambda path: save_tensors(path, {"a": torch.zeros(9)}, {}),
]


@pytest.mark.parametrize("writer", WRITERS, ids=["bytes", "checkpoint", "tensors"])
def test_a_file_that_is_being_written_stays(
    writer: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one of this process, and one whose content another package writes. No other name is ever in the folder."""
    seen = []

    def tidy(number: int, fsync: Callable[[int], None] = os.fsync) -> None:
        fsync(number)
        remove_leftovers(tmp_path)
        seen.append(names(tmp_path))

    monkeypatch.setattr(os, "fsync", tidy)
    writer(tmp_path / "a")
    assert seen == [[f".a.{os.getpid()}.part"]]
    assert names(tmp_path) == ["a"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """What a link leads to is somebody's work."""
    (tmp_path / "mine").write_text("work")
    (tmp_path / ".a.7.part").symlink_to(tmp_path / "mine")
    remove_leftovers(tmp_path)
    assert (tmp_path / "mine").read_text() == "work"


def test_tensors_are_written_as_the_package_writes_them(tmp_path: Path) -> None:
    """The same header and the same bytes; the package's own order of metadata is a matter of chance."""
    tensors = {
        "b.weight": torch.arange(6.0).reshape(2, 3),
        "a.count": torch.tensor(7),
        "a.half": torch.arange(5).to(torch.bfloat16),
        "a.mask": torch.tensor([True, False, True]),
        "empty": torch.zeros(0, 4),
    }
    save_tensors(tmp_path / "ours", tensors, {"names": '["ü"]'})
    save_file(tensors, tmp_path / "theirs", {"names": '["ü"]', "format": "exact-yolov3"})
    found = []
    for name in ("ours", "theirs"):
        data = (tmp_path / name).read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        found.append((start % 8, json.loads(data[8:start]), data[start:]))
    assert found[0] == found[1]
