"""Commands write their files before they print, so that a closed pipe loses none of them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.test_umask import convert, doctor, evaluate, explain, home, plot_lr, show_data
from yolo.__main__ import main

__all__ = ["home"]


def anchors(home: Path) -> int:
    """A cfg."""
    words = ["--cfg", str(home / "tiny.cfg"), "--out", "new.cfg", "--split", "train"]
    return main(["anchors", "--data", str(home / "shapes"), *words])


def table(home: Path) -> int:
    """Contact sheets and a csv file."""
    words = ["--cfg", str(home / "tiny.cfg"), "--out", "out", "--images", "1"]
    return main(["show-data", str(home / "shapes"), "--csv", "boxes.csv", *words])


def check(home: Path) -> int:
    """Of a training that cannot be built."""
    words = ["--data", str(home / "shapes"), "--cfg", str(home / "tiny.cfg"), "--early-metric", "none"]
    return main(["check", *words, "--json", "check.json"])


class Unreadable(io.TextIOBase):
    """An output whose reader has ended."""

    encoding = "ascii"
    tried = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def write(self, text: str) -> int:
        """Fail."""
        self.tried += 1
        raise BrokenPipeError(32, "Broken pipe")

    def fileno(self) -> int:
        """Return the number of an open file."""
        return self.number


FILES = {
    evaluate: ["out/confusion.png", "out/errors.png", "out/f1.png", "out/metrics.json", "out/per_class.csv",
               "out/precision_recall.png"],
    explain: ["out/explain.json"],
    doctor: ["out/doctor.html", "out/doctor.json"],
    show_data: ["out/shapes-train-augmented.png", "out/shapes-val.png"],
    table: ["boxes-train.csv", "boxes-val.csv"],
    plot_lr: ["out.png"],
    convert: ["a.weights", "a.cfg", "a.names"],
    anchors: ["new.cfg"],
    check: ["check.json"],
}  # fmt: skip


@pytest.mark.parametrize("command", FILES, ids=lambda command: command.__name__)
def test_files_come_first(
    command: Callable[[Path], int], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files are there and whole, although nothing could be printed."""
    monkeypatch.chdir(tmp_path)
    with Path(os.devnull).open("w") as nothing, monkeypatch.context() as patch:
        output = Unreadable(nothing.fileno())
        patch.setattr("sys.stdout", output)
        command(home)
    assert output.tried
    found = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert found.issuperset(FILES[command])
    assert not [name for name in found if name.endswith(".part")]
