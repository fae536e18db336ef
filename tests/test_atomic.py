"""Files that are written whole: what is left after an error, and what the error says."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from yolo.commands.growing import GrowingFile
from yolo.files.atomic import naming, replacing


def fail(path: Path, problem: BaseException) -> None:
    """Write a little into a file, then fail."""
    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise problem


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES])
def test_an_error_of_writing_names_the_file(number: int, tmp_path: Path) -> None:
    """Python's `write` does not say which file was written."""
    path = tmp_path / "a.bin"
    with pytest.raises(OSError, match=r"a\.bin'$") as caught:
        fail(path, OSError(number, os.strerror(number)))
    assert (caught.value.errno, caught.value.filename) == (number, str(path))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_real_full_disk_is_named(tmp_path: Path) -> None:
    """As the system reports it; what names a file, names that file still."""
    with pytest.raises(OSError, match=r"No space left on device: '.*b\.csv'"), naming(tmp_path / "b.csv"):
        Path("/dev/full").write_text("text")
    with pytest.raises(FileNotFoundError, match="missing"), naming(tmp_path / "b.csv"):
        (tmp_path / "missing").read_bytes()


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    """The error names what was asked for, not the temporary file."""
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match=r"/a'") as caught, replacing(tmp_path / "a"):
        pass
    assert ".part" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("problem", [ValueError("no"), OSError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(problem: BaseException, tmp_path: Path) -> None:
    """No part of the file, and none of the folders that were made for it."""
    (tmp_path / "there").mkdir()
    with pytest.raises(type(problem)):
        fail(tmp_path / "there" / "new" / "deeper" / "a.bin", problem)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "é" * 125 + ".png"])
def test_the_longest_names_can_be_written(name: str, tmp_path: Path) -> None:
    """The temporary file has a shorter name than `.NAME.PID.part`."""
    with replacing(tmp_path / name) as temporary:
        temporary.write_bytes(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(os.name == "nt", reason="NOT TESTED: no named pipes there")
def test_a_pipe_stays(tmp_path: Path) -> None:
    """What is no file is not replaced by one, and neither is a link to it."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for place in (tmp_path / "pipe", tmp_path / "link"):
        with pytest.raises(OSError, match="is a pipe or a device"), replacing(place) as temporary:
            temporary.touch()
        with pytest.raises(OSError, match="is a pipe or a device"):
            GrowingFile(place)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert (tmp_path / "link").is_symlink()
