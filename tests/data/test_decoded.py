"""The check of images before they are needed: what it finds, what it remembers, and what makes it look again."""

from __future__ import annotations

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.small_sets import DrawnImage, write_coco
from yolo.data import decoded
from yolo.data.datasets import open_data
from yolo.data.decoded import Checked, checked
from yolo.images.files import decode_image


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return forty small images in two folders, with a cache folder of their own."""
    monkeypatch.setenv("EXACT_YOLOV3_CACHE", str(tmp_path / "cache"))
    files = [tmp_path / "set" / f"{k % 2}" / f"{k}.png" for k in range(40)]
    for k, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.full((5 + k, 4, 3), k, np.uint8))
    return files


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that are decoded from here on, as they are decoded."""
    names: list[str] = []

    def decode(data: bytes, name: str) -> np.ndarray:
        names.append(name)
        return decode_image(data, name)

    monkeypatch.setattr(decoded, "decode_image", decode)
    return names


def memory(folder: Path) -> Path:
    """Return the only file in the cache folder; an unfinished one would be a second."""
    (file,) = (folder / "cache" / "decoded").iterdir()
    return file


def test_what_is_found(files: list[Path], tmp_path: Path) -> None:
    """Bytes, checksum and size as displayed, in the order of the paths; what is wrong with a file, by its name."""
    files[3].write_bytes(files[3].read_bytes()[:40])
    files[4].unlink()
    found = checked([*files, files[0], tmp_path])
    data = files[2].read_bytes()
    assert found[2] == Checked(len(data), zlib.crc32(data), 4, 7, "")
    assert found[40] == found[0]
    assert found[3].fault.startswith(f"{files[3]}: PNG that OpenCV")
    assert found[3][2:4] == (0, 0)
    assert found[4].fault == f"{files[4]}: No such file or directory"
    assert found[41].fault == f"{tmp_path}: Is a directory"
    assert [result.fault for k, result in enumerate(found) if k not in (3, 4, 41)] == [""] * 39
    assert checked([]) == []


def test_only_changed_files_are_read_again(files: list[Path], reads: list[str], tmp_path: Path) -> None:
    """The same files are not read again, nor is a damaged one; changed, new and touched ones are."""
    files[3].write_bytes(b"damaged")
    first = checked(files)
    assert sorted(reads) == sorted(map(str, files))
    reads.clear()
    assert checked(files) == first
    assert checked(files[::-3]) == first[::-3]
    assert reads == []
    # Other bytes of the same number, with the time set back: only the time of the change tells.
    before = files[5].stat()
    files[5].write_bytes(files[5].read_bytes()[:-1] + b"x")
    os.utime(files[5], ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(files[6], ns=(1, 1))
    files[0].rename(tmp_path / "set" / "0" / "new.png")
    again = checked([tmp_path / "set" / "0" / "new.png", *files[1:]])
    assert sorted(reads) == sorted([str(files[5]), str(files[6]), str(tmp_path / "set" / "0" / "new.png")])
    assert again[5].crc != first[5].crc
    assert again[0] == first[0]
    assert str(files[0]).encode() not in memory(tmp_path).read_bytes()


def test_a_file_that_cannot_be_read_is_tried_again(files: list[Path], reads: list[str]) -> None:
    """A server that was away, or a folder that was not mounted, is not remembered."""
    hidden = files[0].rename(files[0].with_name("away"))
    assert checked(files)[0].fault
    hidden.rename(files[0])
    reads.clear()
    assert checked(files)[0].fault == ""
    assert reads == [str(files[0])]


@pytest.mark.parametrize("damage", ["half", "one byte", "empty", "not ours", "other version"])
def test_a_damaged_memory_is_rewritten(
    damage: str, files: list[Path], reads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a file, a wrong byte, another version: the images are decoded again and the file is whole again."""
    first = checked(files)
    file = memory(tmp_path)
    whole = file.read_bytes()
    place = whole.index(b"[", 60) + 1
    wrong = {"half": whole[: len(whole) // 2], "empty": b"", "not ours": b"0\nnull"}
    wrong["one byte"] = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    if damage == "other version":
        monkeypatch.setattr(decoded, "VERSION", "another")
    else:
        file.write_bytes(wrong[damage])
    reads.clear()
    assert checked(files) == first
    assert len(reads) == len(files)
    reads.clear()
    assert checked(files) == first
    assert reads == []


def test_several_at_once(files: list[Path], reads: list[str]) -> None:
    """Writers of the same memory wait for each other: nothing that one of them found is lost."""
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(checked, [files[:20], files[10:30], files[20:], files[::2] + files[1:2]]))
    assert parts[1][:10] == parts[0][10:]
    reads.clear()
    checked(files)
    assert reads == []


def test_an_interrupted_check_keeps_what_it_has(
    files: list[Path], reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start continues."""
    real, broken = decoded._decoded, str(files[-1])

    def stop(names: list[str]) -> object:
        if broken in names:
            raise KeyboardInterrupt
        return real(names)

    monkeypatch.setattr(decoded, "_decoded", stop)
    with pytest.raises(KeyboardInterrupt):
        checked(files)
    monkeypatch.setattr(decoded, "_decoded", real)
    reads.clear()
    checked(files)
    assert sorted(reads) == sorted(map(str, files[32:]))


def test_a_set_is_checked_when_it_is_opened(files: list[Path], reads: list[str], tmp_path: Path) -> None:
    """All damaged images are named at once, or left out and counted; images without objects are checked as well."""
    root = write_coco(tmp_path / "coco", [DrawnImage((20, 20), [(0, 0, 0, 9, 9)])] * 3 + [DrawnImage((20, 20), [])] * 2)
    images = sorted((root / "images" / "train").iterdir())
    for k in (1, 4):
        images[k].write_bytes(images[k].read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"img_1\.jpg: truncated JPEG.*\n.*img_4\.jpg: truncated JPEG.*\n.*--bad skip"):
        open_data(root, decode=True)
    assert sorted(reads) == sorted(map(str, images))
    reads.clear()
    index = open_data(root, bad="skip").index
    assert ([index.path(k).stem for k in range(len(index))], index.left_out) == (["img_0", "img_2", "img_3"], 2)
    assert len(open_data(root)) == 5
    assert len(open_data(root, limit=1, decode=True)) == 1
    assert reads == []
    for image in images:
        image.write_bytes(b"no image")
    with pytest.raises(ValueError, match="no image can be used:\n.*img_0.jpg: not an image"):
        open_data(root, bad="skip")


def test_without_a_place_to_remember(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A cache folder that cannot be written is a warning; a name that is not text is remembered like any other."""
    odd = os.fsdecode(os.fsencode(tmp_path / "set") + b"/\xff.png")
    files[0].rename(odd)
    assert checked([odd])[0].fault == ""
    assert checked([odd])[0] == checked([odd])[0]
    assert not caplog.text
    (tmp_path / "file").touch()
    monkeypatch.setenv("EXACT_YOLOV3_CACHE", str(tmp_path / "file"))
    assert [result.fault for result in checked(files[1:])] == [""] * 39
    assert "cannot be written" in caplog.text
