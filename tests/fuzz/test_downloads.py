"""Damaged downloads: what a server answers, what an archive holds, what an earlier call left."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import socket
import tarfile
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.fuzz import damaged, survives
from yolo.download import fetch as download
from yolo.download.archives import unpack
from yolo.download.fetch import fetch
from yolo.files.shown import harmless, one_line

CONTENT = b"what was wanted " * 20
CHECKSUM = hashlib.md5(CONTENT).hexdigest()
URL = "http://127.0.0.1/file"


class Line:
    """A connection in memory: whatever is sent, the answers come one after the other."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers

    def __call__(self, *_: Any) -> Line:
        return self

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self.answers.pop(0) if self.answers else b""))

    def sendall(self, _: bytes) -> None: ...
    def setsockopt(self, *_: int) -> None: ...
    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, few attempts, and no waiting for the disk."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PAUSES", (0.0,) * 3)
    monkeypatch.setattr("os.fsync", lambda _: None)


def answer(status: str, body: bytes, *headers: str) -> bytes:
    """The bytes of an answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body


SEPARATOR = b"\n=== next answer ===\n"

CHUNKED = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (CONTENT[:100], CONTENT[100:], b""))

ANSWERS = [
    answer("200 OK", CONTENT, f"Content-Length: {len(CONTENT)}", 'ETag: "1"'),
    answer("200 OK", CHUNKED, "Transfer-Encoding: chunked", "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT"),
    answer("200 OK", CONTENT[:99], f"Content-Length: {len(CONTENT)}", 'ETag: "1"')
    + SEPARATOR
    + answer("206 Partial Content", CONTENT[99:], f"Content-Range: bytes 99-{len(CONTENT) - 1}/{len(CONTENT)}"),
    answer("302 Found", b"there", "Location: /there", "Content-Length: 5") + SEPARATOR + answer("200 OK", CONTENT),
    answer("503 Busy", b"", "Retry-After: 7") + SEPARATOR + answer("200 OK", CONTENT, "Content-Encoding: identity"),
    answer("416 No", b"") + SEPARATOR + answer("100 Continue", b"") + answer("200 OK", CONTENT),
]

WORDS = [b"\r\n", b"\r\n\r\n", SEPARATOR, b"HTTP/1.1 ", b"Location: ", b"Retry-After: ", b"Content-Range: bytes ",
         b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"file:///etc/passwd", b"https://[", b"200", b"206",
         b"301", b"416", b"429", b"ffffffffffffffff\r\n", b"100 Continue\r\n\r\n"]  # fmt: skip


def test_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a server: the right file or none, and no escape on the terminal."""
    folder = tmp_path / "got"

    def read(path: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        monkeypatch.setattr(socket, "create_connection", Line(path.read_bytes().split(SEPARATOR)))
        target = folder / "file"
        try:
            fetch([URL], target, checksum=CHECKSUM, limit=1 << 20, progress=False, sleep=lambda _: None)
        except OSError as problem:
            message = str(problem)
            assert not target.exists()
            assert harmless(message) == message
            raise
        assert target.read_bytes() == CONTENT

    survives(read, ANSWERS, tmp_path / "file", inputs=800, words=WORDS)


def test_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside half a file: whatever the note says, the file is right in the end."""
    whole, rest = ANSWERS[0], ANSWERS[2].split(SEPARATOR)[1]

    def read(path: Path) -> None:
        target = tmp_path / "file"
        target.with_name("file.part").write_bytes(CONTENT[:99])
        target.with_name("file.part.from").write_bytes(path.read_bytes())
        monkeypatch.setattr(socket, "create_connection", Line([rest, whole, whole]))
        fetch([URL], target, checksum=CHECKSUM, progress=False, sleep=lambda _: None)
        assert target.read_bytes() == CONTENT
        target.unlink()
        if b"1" not in path.read_bytes():  # `survives` wants an error as well as values
            raise ValueError(path)

    survives(
        read,
        [f'{URL}\n"1"'.encode(), f"{URL}\nThu, 01 Jan 2026".encode()],
        tmp_path / "note",
        inputs=800,
        words=[URL.encode()],
    )


def packed(draw: Random, kind: str) -> bytes:
    """A small archive of either kind, of two files."""
    names = ["a/b.txt", "d.txt"]
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            archive.writestr("a/", b"")
            for name in names:
                archive.writestr(zipfile.ZipInfo(name), name.encode() * 50, archive.compression)
    else:
        style = draw.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
        with tarfile.open(fileobj=buffer, mode="w", format=style) as tar:
            for name in [names[0], f"{'e' * 80}/{'f' * 90}.txt"]:
                member = tarfile.TarInfo(name)
                member.size = 600
                member.pax_headers = {"comment": "x", "mtime": "1.5"} if style == tarfile.PAX_FORMAT else {}
                tar.addfile(member, io.BytesIO(b"x" * 600))
    return buffer.getvalue()


def numbers(draw: Random, seeds: Any, words: Any) -> bytes:
    """Damage, one time in two to the numbers of a header, whose checksum in a tar archive is put right again."""
    data = bytearray(damaged(draw, seeds, words))
    if draw.random() < 0.5:
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.choice((1, 1, 3))):
            heads = [found.start() for found in re.finditer(b"PK", data[: max(len(data) - 45, 0)])]
            heads = heads or list(range(0, len(data), 512))
            at = draw.choice(heads)
            place = at + draw.randrange(4, 46) if data[:2] == b"PK" else at + draw.choice((*range(100, 148), 156, 345))
            piece = draw.choice(
                (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x80", draw.randbytes(1), draw.randbytes(2), b"7777")
            )
            data[place : place + len(piece)] = piece
            if data[:2] != b"PK":
                data[at + 148 : at + 156] = b" " * 8
                data[at + 148 : at + 156] = b"%06o\0 " % (sum(data[at : at + 512]) & 0o777777)
    return bytes(data)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives(kind: str, tmp_path: Path) -> None:
    """Whole files in the folder or an error, and an archive that is to blame is put aside."""
    folder = tmp_path / "deep" / "out"
    names: set[str] = set()

    def read(path: Path) -> None:
        archive = path.with_name(f"1.{kind}")
        path.replace(archive)
        try:
            unpack(archive, r"(.*)", folder, last="x")
        except (ValueError, OSError) as problem:
            message = str(problem)
            assert str(archive if archive.with_name(f"{archive.name}.rejected").exists() else tmp_path) in message, (
                message
            )
            assert one_line(message) == message
            raise ValueError(f"{path.name}: {message}") from problem
        finally:
            names.update(os.listdir(tmp_path))
            shutil.rmtree(tmp_path / "deep", ignore_errors=True)
            archive.with_name(f"{archive.name}.rejected").unlink(missing_ok=True)

    survives(read, [packed(Random(k), kind) for k in range(6)], tmp_path / "seed", inputs=800, damage=numbers)
    assert names <= {"deep", "seed", f"1.{kind}", f"1.{kind}.rejected"}
