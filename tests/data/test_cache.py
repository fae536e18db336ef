"""Files of decoded images that are damaged, cut while they are used, or made by two processes at once."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.data.test_batches import SIZE, yolo_folder
from yolo.data.cache import Cached
from yolo.data.datasets import ImageDataset, open_data
from yolo.data.loader import Loader
from yolo.data.sampler import Batches
from yolo.data.transforms import Augmented
from yolo.process.memory import free_memory


@pytest.fixture
def data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> ImageDataset:
    """Six images; what is logged is kept."""
    caplog.set_level(logging.WARNING)
    return open_data(yolo_folder(tmp_path / "set"))


def same(one: Cached, other: Cached) -> bool:
    """Return whether all images of two caches are equal."""
    return all(torch.equal(one.sample(k)[0], other.sample(k)[0]) for k in range(len(one)))


def cut(file: Path) -> None:
    """Leave half of the file."""
    os.truncate(file, file.stat().st_size // 2)


def emptied(file: Path) -> None:
    """Fill the file with zeros, as a disk that lost its power can."""
    file.write_bytes(bytes(file.stat().st_size))


def flipped(file: Path) -> None:
    """Change a bit of the last image."""
    content = bytearray(file.read_bytes())
    content[-4 * 7 - 1] ^= 1
    file.write_bytes(content)


DAMAGE: list[Callable[[Path], None]] = [cut, emptied, flipped, Path.unlink]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_while_it_is_used(
    damage: Callable[[Path], None], data: ImageDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Images are right nevertheless, one sentence is logged by all workers, and the next start makes the file anew."""
    right = Cached(data, SIZE, "ram", tmp_path)
    used = Cached(data, SIZE, "disk", tmp_path / "cache")
    damage(used.file)
    caplog.clear()
    assert same(used, right)
    assert same(used, right)
    (record,) = caplog.records
    assert f"{used.file}: damaged at {data.path(0) if damage is emptied else ''}" in record.getMessage()
    caplog.clear()
    again = Cached(data, SIZE, "disk", tmp_path / "cache")
    expected = "" if damage is Path.unlink else "damaged, or of another version: "
    assert [r.getMessage().startswith(f"{expected}images are decoded once") for r in caplog.records] == [True]
    caplog.clear()
    assert same(again, right)
    assert caplog.records == []


@pytest.mark.parametrize("damage", DAMAGE[:2])
def test_damage_between_two_runs(
    damage: Callable[[Path], None], data: ImageDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is cut or lost its checksums is made anew by the next start, with a sentence."""
    file = Cached(data, SIZE, "disk", tmp_path / "cache").file
    right = file.read_bytes()
    damage(file)
    caplog.clear()
    Cached(data, SIZE, "disk", tmp_path / "cache")
    (record,) = caplog.records
    assert "damaged" in record.getMessage()
    assert file.read_bytes() == right


def test_workers_see_damage_too(data: ImageDataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Those of all epochs share what was compared, and log the damage once."""
    logging.getLogger("yolo").addHandler(handler := logging.StreamHandler())
    cached = Cached(data, SIZE, "disk", tmp_path / "cache")
    emptied(cached.file)
    capfd.readouterr()
    plain, batches = Augmented(data), Batches(len(data), 2, SIZE, shuffle=False)
    loaders = [Loader(Augmented(images), batches, workers=2) for images in (cached, data)]
    for _ in range(2):
        for a, b in zip(*loaders, strict=True):
            assert a.images.equal(b.images)
    logging.getLogger("yolo").removeHandler(handler)
    assert len(plain) == len(data)
    assert 1 <= capfd.readouterr().err.count("damaged at") <= 2  # two workers may see it in the same moment


def test_checksums_are_compared_once(data: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each image, not once for each epoch or process; a process that is not forked compares for itself."""
    cached, compared = Cached(data, SIZE, "disk", tmp_path / "cache"), []
    crc32 = zlib.crc32
    monkeypatch.setattr(zlib, "crc32", lambda content: compared.append(len(content)) or crc32(content))  # type: ignore[func-returns-value]
    seen = Augmented(cached)
    assert len(list(Loader(seen, Batches(len(data), 2, SIZE), workers=2))) == 3
    assert same(cached, cached)
    assert compared == []
    other = pickle.loads(pickle.dumps(cached))
    assert same(other, cached)
    assert len(compared) == len(data)


def test_two_that_start_at_once(data: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second process waits for the first, and makes nothing."""
    fill, made = Cached._fill, tmp_path / "made"

    def slow(cached: Cached, file: Path) -> None:
        with made.open("a") as log:
            log.write("x")
        time.sleep(0.3)
        fill(cached, file)

    monkeypatch.setattr(Cached, "_fill", slow)
    child = os.fork()
    if not child:
        try:
            Cached(data, SIZE, "disk", tmp_path / "cache")
        finally:
            os._exit(0)
    cached = Cached(data, SIZE, "disk", tmp_path / "cache")
    os.waitpid(child, 0)
    assert made.read_text() == "x"
    assert [file.name for file in (tmp_path / "cache").iterdir()] == [cached.file.name]


def test_what_killed_processes_left(data: ImageDataset, tmp_path: Path) -> None:
    """Half a file of a process that was killed while it made this one is removed."""
    file = Cached(data, SIZE, "disk", tmp_path / "cache").file
    left = file.with_name(f".{file.name}.12345.part")
    left.write_bytes(b"half")
    file.unlink()
    Cached(data, SIZE, "disk", tmp_path / "cache")
    assert not left.exists()


def test_no_room(data: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for before an image is decoded."""
    monkeypatch.setattr("yolo.data.cache.free_memory", lambda: 1000.0)
    with pytest.raises(OSError, match=r"no room in memory for .* GB of images, 0.0 GB are free; use the disk cache"):
        Cached(data, SIZE, "ram", tmp_path / "cache")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(OSError, match=r"cache: no room for .* GB of images, 0.0 GB are free; make room"):
        Cached(data, SIZE, "disk", tmp_path / "cache")


def test_a_cache_in_memory_has_no_name(data: ImageDataset, tmp_path: Path) -> None:
    """So nothing of it outlives the process: nothing is in /dev/shm, and its file is gone with the object."""
    cached = Cached(data, SIZE, "ram", tmp_path)
    assert cached.file.parent == Path(f"/proc/{os.getpid()}/fd")
    assert "memfd:" in str(cached.file.readlink())
    file = cached.file
    del cached
    assert not file.exists()


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, float("inf")),
        ({"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    7 kB\n"}, 7 * 1024),
        (
            {
                "/proc/meminfo": "MemAvailable:    7 kB\n",
                "/sys/fs/cgroup/memory.max": "5000\n",
                "/sys/fs/cgroup/memory.current": "4000\n",
                "/sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 500\n",
            },
            1500,
        ),
        ({"/sys/fs/cgroup/memory.max": "max\n", "/sys/fs/cgroup/memory.current": "4000\n"}, float("inf")),
    ],
)
def test_free_memory(files: dict[str, str], free: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least of what the machine and the container have."""
    monkeypatch.setattr("yolo.process.memory._text", lambda file: files.get(file, ""))
    assert free_memory() == free
