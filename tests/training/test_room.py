"""Room on the disk is asked for before a run begins."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.train_problems import shapes, tiny_cfg, words
from yolo.__main__ import main
from yolo.files.disk import need_room
from yolo.training.run_folder import BEST, LAST


def set_free(patch: pytest.MonkeyPatch, free: int) -> None:
    """Let every disk have that many bytes free."""
    patch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=free) if place.is_dir() else None)


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence has the existing folder, what is there, what is needed, for what, and what to do."""
    set_free(monkeypatch, 20_000_000)
    need_room(tmp_path / "a" / "b", 20e6, "images", "make room")
    with pytest.raises(OSError, match=rf"^{tmp_path}: 20 MB free, needs 1,234 MB for images; make room$"):
        need_room(tmp_path / "a" / "b", 1.234e9, "images", "make room")


def test_room_for_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is asked for is about what the files have; a resumed run has half of it. Nothing is written without it."""
    data, cfg, run = shapes(tmp_path), tiny_cfg(tmp_path), tmp_path / "run"
    given = words(data, cfg, "--out", run, "--no-check")
    set_free(monkeypatch, 1000)
    assert main(["train", *given, "--epochs", "1"]) == 1
    assert f"{run}: 1 kB free, needs " in capsys.readouterr().err
    assert [file for file in run.glob("*") if not file.name.startswith(".")] == []
    set_free(monkeypatch, 10**12)
    assert main(["train", *given, "--epochs", "1"]) == 0
    sizes = (run / LAST).stat().st_size + (run / BEST).stat().st_size
    set_free(monkeypatch, 1000)
    before = (run / LAST).read_bytes()
    assert main(["train", "--resume", str(run), "--epochs", "2"]) == 1
    assert "make room" in capsys.readouterr().err
    assert (run / LAST).read_bytes() == before
    set_free(monkeypatch, sizes)
    assert main(["train", "--resume", str(run), "--epochs", "2"]) == 0
