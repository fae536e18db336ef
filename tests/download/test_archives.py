"""Archives that want to harm: bombs, links, names, lies. Nothing is unpacked, and the next call gets another one."""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import struct
import threading
import zipfile
from pathlib import Path
from tarfile import GNU_FORMAT, GNUTYPE_LONGNAME, GNUTYPE_SPARSE, REGTYPE, TarInfo
from tarfile import open as open_tar

import pytest

from tests.download.test_data_sets import Site, mirror, server, tarred, voc_files, zipped  # noqa: F401
from tests.download.test_fetch import Server
from yolo.download import voc as get_voc
from yolo.download.archives import _zip_fault, one, unpack
from yolo.files.members import ArchiveError


def refused(archive: Path, folder: Path, pattern: str = "(.*)") -> str:
    """Fail to unpack, and check that nothing but the archive is there, put aside. Returns the message."""
    size = archive.stat().st_size
    with pytest.raises(ArchiveError, match=rf"{archive}: .*\.rejected") as caught:
        unpack(archive, pattern, folder / "out", last="x")
    assert not archive.exists()
    assert [file.name for file in folder.rglob("*")] == [f"{archive.name}.rejected"]
    assert (folder / f"{archive.name}.rejected").stat().st_size == size
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1500
    return message


def packed(content: bytes, method: int = zipfile.ZIP_DEFLATED, name: str = "a/b.txt") -> bytes:
    """A zip archive of one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def declared(data: bytes, size: int) -> bytes:
    """The archive of one file with another size of the inflated file in its directory and header."""
    at, header = data.rindex(b"PK\x01\x02") + 24, data.index(b"PK\x03\x04") + 22
    for place in (at, header):
        data = data[:place] + struct.pack("<I", size) + data[place + 4 :]
    return data


def with_flags(data: bytes, flags: int) -> bytes:
    """The archive of one file with other flags: 1 means encrypted."""
    for place in (data.rindex(b"PK\x01\x02") + 8, data.index(b"PK\x03\x04") + 6):
        data = data[:place] + struct.pack("<H", flags) + data[place + 2 :]
    return data


def with_method(data: bytes, method: int) -> bytes:
    """The archive of one file that says to be compressed in another way."""
    for place in (data.rindex(b"PK\x01\x02") + 10, data.index(b"PK\x03\x04") + 8):
        data = data[:place] + struct.pack("<H", method) + data[place + 2 :]
    return data


ZEROS = packed(bytes(30_000_000))  # 30 kB

ZIPS = {
    "a bomb": (ZEROS, "30,000,000"),
    "a bomb that states a small size": (declared(ZEROS, 1000), "cannot be read|not the stated"),
    "a bomb that states 4 GB": (declared(ZEROS, 2**32 - 2), "4,294,967,294"),
    "a larger size than it has": (declared(packed(b"abc"), 900), "not the stated 900"),
    "a file before the start": (zipped({"a": b"1"})[:-6] + b"\xff\xff\0\0\0\0", "a damaged archive"),
    "encrypted": (with_flags(packed(b"abc"), 1), "encrypted"),
    "strongly encrypted": (with_flags(packed(b"abc"), 0x41), "encrypted"),
    "bzip2": (packed(b"abc", zipfile.ZIP_BZIP2), "method 12"),
    "lzma": (packed(b"abc", zipfile.ZIP_LZMA), "method 14"),
    "an unknown method": (with_method(packed(b"abc"), 99), "method 99"),
    "no deflated data": (packed(b"abc" * 99).replace(packed(b"abc" * 99)[37:42], b"\xff" * 5), "cannot be read"),
    "half of it": (ZEROS[: len(ZEROS) // 2], "not a zip|cannot be read"),
    "a name of 300 bytes": (packed(b"abc", name="a/" + "b" * 300), "not the name of a file"),
    "a name with an escape": (packed(b"abc", name="a/\x1b]0;owned\x07"), "not the name of a file"),
    "twins": (zipped({"a/B.txt": b"1", "A/b.TXT": b"2"}), "of one name"),
    "twins in two spellings of an accent": (zipped({"\xe9": b"1", "e\u0301": b"2"}), "of one name"),
}


@pytest.mark.parametrize("kind", ZIPS)
def test_a_zip(kind: str, tmp_path: Path) -> None:
    """Refused with its name and the reason."""
    data, reason = ZIPS[kind]
    (tmp_path / "1.zip").write_bytes(data)
    assert re.search(reason, refused(tmp_path / "1.zip", tmp_path))
    if not kind.startswith("twins"):  # what counts there are the names on the disk
        (tmp_path / "1.part").write_bytes(data)
        assert re.search(reason, str(_zip_fault(tmp_path / "1.part")))


def test_two_files_of_one_name_in_a_zip(tmp_path: Path) -> None:
    """One of them would win."""
    (tmp_path / "1.zip").write_bytes(zipped({"a/b.txt": b"1", "a/c.txt": b"2"}).replace(b"a/c.txt", b"a/b.txt"))
    assert "of one name" in refused(tmp_path / "1.zip", tmp_path)


def test_two_folders_with_one_file(tmp_path: Path) -> None:
    """Names that differ in the archive and not on the disk."""
    (tmp_path / "1.zip").write_bytes(zipped({"a/c.txt": b"1", "b/c.txt": b"2"}))
    assert "of one name" in refused(tmp_path / "1.zip", tmp_path, "[ab]/(.*)")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_link_in_a_zip(kind: int, tmp_path: Path) -> None:
    """Links, devices, pipes."""
    info = zipfile.ZipInfo("a/evil")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "1.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "'a/evil', which is a link or a device" in refused(tmp_path / "1.zip", tmp_path)


def test_an_archive_in_an_archive(tmp_path: Path) -> None:
    """It is a file like any other: nothing opens it."""
    (tmp_path / "1.zip").write_bytes(zipped({"a/inner.zip": ZEROS}))
    unpack(tmp_path / "1.zip", "(.*)", tmp_path / "out", last="x")
    assert (tmp_path / "out" / "a" / "inner.zip").read_bytes() == ZEROS


# tar


def sparse() -> bytes:
    """A file with a hole of 8 GB."""
    member = TarInfo("a/hole")
    member.type, member.size = GNUTYPE_SPARSE, 512
    header = bytearray(member.tobuf(GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (0, 512)  # one piece of data at 0
    header[483:495] = b"%011o\0" % (2**33 - 1)  # the real size
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(512) + bytes(1024)


def sized(size: int, kind: bytes = REGTYPE) -> bytes:
    """A file of any size: of -512 bytes it begins again at its own end, as a name (L) it is read at once."""
    member = TarInfo("a/b.txt")
    member.type = kind
    header = bytearray(member.tobuf(GNU_FORMAT))
    header[124:136] = (b"\xff" if size < 0 else b"\x80") + (size % 2**88).to_bytes(11, "big")
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def compressed() -> bytes:
    """A tar archive inside gzip, 30 MB in 30 kB."""
    buffer = io.BytesIO()
    with open_tar(fileobj=buffer, mode="w:gz") as archive:
        member = TarInfo("a/b.txt")
        member.size = 30_000_000
        archive.addfile(member, io.BytesIO(bytes(30_000_000)))
    return buffer.getvalue()


TARS = {
    "sparse": (sparse(), "not a plain file"),
    "negative": (sized(-512), "has -512 bytes"),
    "a long name": (sized(2**50, GNUTYPE_LONGNAME), "a header of 1125899906842624 bytes"),
    "a negative name": (sized(-512, GNUTYPE_LONGNAME), "a header of -512 bytes"),
    "compressed": (compressed(), "cannot be read"),
    "cut": (tarred({"a/b.txt": b"x" * 5000, "a/c.txt": b"x" * 900_000})[:800_000], "end of data"),
    "cut in a header": (tarred({"a/b.txt": b"x" * 512, "a/c.txt": b"y"})[:1200], "no header and no end at byte 1,024"),
    "damaged in a header": (tarred({"a/b.txt": b"", "a/c.txt": b"y"}).replace(b"a/c", b"a/d"), "no header .* 512"),
    "a name of 300 bytes": (tarred({"a/" + "b" * 300: b"x"}), "not the name of a file"),
    "twins": (tarred({"a/b.txt": b"1", "a/B.txt": b"2"}), "of one name"),
    "empty": (b"", "cannot be read"),
}


@pytest.mark.parametrize("kind", TARS)
def test_a_tar(kind: str, tmp_path: Path) -> None:
    """Refused with its name and the reason."""
    data, reason = TARS[kind]
    (tmp_path / "1.tar").write_bytes(data)
    assert re.search(reason, refused(tmp_path / "1.tar", tmp_path))


def test_a_file_that_is_a_folder_as_well(tmp_path: Path) -> None:
    """An error that names the file."""
    (tmp_path / "1.tar").write_bytes(tarred({"a": b"1", "a/b": b"2"}))
    with pytest.raises(OSError, match=str(tmp_path / "out" / "a")):
        unpack(tmp_path / "1.tar", "(.*)", tmp_path / "out", last="x")


# the disk, and other processes


def test_room_is_asked_for_before_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is not to blame, and stays."""
    usage = shutil.disk_usage(tmp_path)
    (tmp_path / "1.zip").write_bytes(zipped({"a.txt": b"x" * 5000}))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4000))
    with pytest.raises(OSError, match="4 kB free, needs 5 kB for the files of 1.zip"):
        unpack(tmp_path / "1.zip", "(.*)", tmp_path, last="x")
    assert [file.name for file in tmp_path.iterdir()] == ["1.zip"]


def test_the_members_of_the_archive_are_harmless_in_messages(tmp_path: Path) -> None:
    """Also where the names are listed."""
    (tmp_path / "1.zip").write_bytes(zipped({f"{'x' * 200}{k}": b"" for k in range(1000)}))
    with pytest.raises(ArchiveError, match="has no y; it holds 'xxx") as caught:
        one(tmp_path / "1.zip", "y")
    assert len(str(caught.value)) < 5000


@pytest.fixture
def bccd(server: Server) -> Site:  # noqa: F811
    """A site with a small BCCD."""
    lists = {"train": [1], "val": [2], "trainval": [1, 2], "test": [3]}
    files = {
        name.replace("VOCdevkit/VOC2007", "BCCD_Dataset-master/BCCD"): content
        for name, content in voc_files(2007, lists).items()
    }
    site = Site({"/Shenggan/BCCD_Dataset/archive/refs/heads/master.zip": zipped(files)})
    server.play(site)
    return site


def test_four_at_once(bccd: Site, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """One downloads, the others wait and find the set. The file that they lock is removed."""
    bccd.hold_from = 1
    waiting = threading.Semaphore(0)
    monkeypatch.setattr("logging.Logger.warning", lambda *_: waiting.release())
    ends: list[object] = []

    def get() -> None:
        try:
            ends.append(get_voc.get_bccd(tmp_path, mirror(server)))
        except BaseException as problem:
            ends.append(problem)

    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        assert waiting.acquire(timeout=30)
    bccd.released.set()
    for thread in threads:
        thread.join()
    assert ends == [tmp_path] * 4
    assert bccd.asked.total() == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["Annotations", "ImageSets", "JPEGImages"]


def test_what_a_killed_process_left(bccd: Site, server: Server, tmp_path: Path) -> None:  # noqa: F811
    """Its lock is free, and half an archive is continued or replaced."""
    (tmp_path / "download.part").touch()
    (tmp_path / "BCCD_Dataset.zip.part").write_bytes(b"half")
    get_voc.get_bccd(tmp_path, mirror(server))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["Annotations", "ImageSets", "JPEGImages"]


def test_a_lying_archive_is_not_tried_for_ever(bccd: Site, server: Server, tmp_path: Path) -> None:  # noqa: F811
    """A whole zip file that is another one is put aside, and the next call downloads again."""
    path, right = next(iter(bccd.files.items()))
    for wrong in ({"a.txt": b"1"}, {"x/BCCD/ImageSets/Main/train.txt": b"1\n"}):
        bccd.files[path] = zipped(wrong)
        with pytest.raises(ArchiveError, match="rejected"):
            get_voc.get_bccd(tmp_path, mirror(server))
    shutil.rmtree(tmp_path / "ImageSets")
    bccd.files[path] = right
    get_voc.get_bccd(tmp_path, mirror(server))
    assert bccd.asked.total() == 3
    assert "BCCD_Dataset.zip.rejected" in os.listdir(tmp_path)
