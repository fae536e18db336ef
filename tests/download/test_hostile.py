"""Servers that want to harm: they wait, never end, lie, or write to the terminal. Each ends in a sentence, soon."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request

import pytest

from tests.download.test_fetch import Handler, Send, Server, listening, status, without_proxy
from yolo.download import connection
from yolo.download import fetch as download
from yolo.download.fetch import DownloadError, fetch
from yolo.download.weights import official_weights

CONTENT = b"what was wanted " * 1000

MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def server_of_the_module() -> Iterator[Server]:
    with listening() as server:
        yield server


@pytest.fixture
def server(server_of_the_module: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server, without a proxy."""
    without_proxy(monkeypatch)
    return server_of_the_module


def raw(pieces: Iterable[bytes], released: threading.Event | None = None) -> Callable[[Handler], None]:
    """An answer of these bytes, until they end or the other side hangs up. Each piece waits for 10 ms if there is an
    event, and for its end."""

    def answer(handler: Handler) -> None:
        handler.close_connection = True
        try:
            for piece in pieces:
                handler.wfile.write(piece)
                if released is not None and released.wait(0.01):
                    return
        except OSError:
            return

    return answer


def refused(url: str, target: Path, **options: Any) -> str:
    """Fail to download. Returns the message, which is harmless on a terminal."""
    with pytest.raises(DownloadError) as caught:
        fetch([url], target, sleep=lambda _: None, **options)
    assert not target.exists()
    assert str(caught.value).replace("\n", "").isprintable()
    assert len(str(caught.value)) < 1000
    return str(caught.value)


HEAD = b"HTTP/1.0 200 OK\r\n"


@pytest.mark.parametrize(
    "start", [HEAD + b"\r\n", HEAD + b"Content-Length: 16000\r\n\r\n", b"", HEAD + b"X: "], ids=repr
)
def test_a_byte_now_and_then(start: bytes, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never silent for long, and never at the end: in the file, in the status line, in a header."""
    monkeypatch.setattr(connection, "PATIENCE", 0.1)
    over = threading.Event()
    server.play(raw(itertools.chain([start], itertools.repeat(b"x")), over))
    try:
        message = refused(server.url, tmp_path / "file", checksum=MD5, timeout=5)
    finally:
        over.set()
    assert "bytes a second" in message
    assert len(server.requests) == 1  # patience is not given twice


ENDLESS = {
    "headers": (HEAD, b"A: b\r\n"),
    "one header": (HEAD + b"A: ", b"b" * 1000),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "folded header": (HEAD + b"A: ", b"b\r\n " * 100),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n" * 100),
    "chunks of nothing": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1;" + b"x" * 60_000 + b"\r\nx\r\n",
    ),
    "body of a redirection": (b"HTTP/1.0 302 Found\r\nLocation: /there\r\n\r\n", b"x" * 10_000),
    "body": (HEAD + b"\r\n", b"x" * 10_000),
}


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("known", [True, False])
def test_an_answer_without_end(kind: str, known: bool, server: Server, tmp_path: Path) -> None:
    """In each part of an answer, whether the size is known or not."""
    start, piece = ENDLESS[kind]
    server.play(raw(itertools.chain([start], itertools.repeat(piece))))
    size = {"size": 16_000, "checksum": MD5} if known else {"limit": 200_000}
    refused(server.url, tmp_path / "file", timeout=5, **size)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 16_000  # the beginning of a file may be kept
    assert len(server.requests) <= 2


def test_a_size_beyond_the_limit(server: Server, tmp_path: Path) -> None:
    """Refused before the first byte."""
    server.play(Send(CONTENT, length=10**15))
    assert "1,000,000,000,000,000 bytes, expected at most 4,294,967,296" in refused(server.url, tmp_path / "file")
    assert len(server.requests) == 1


@pytest.mark.parametrize("place", ["bytes " + "9" * 5000 + "-1/2", "bytes 0-1/" + "9" * 5000, "bytes ٣-1/2"])
def test_ranges_of_odd_numbers(place: str, server: Server, tmp_path: Path) -> None:
    """Numbers that Python does not read, and digits of other scripts."""
    answer = f"HTTP/1.0 206 Partial\r\nContent-Range: {place}\r\n\r\n".encode()
    server.play(raw([answer]))
    assert "does not continue" in refused(server.url, tmp_path / "file")


@pytest.mark.parametrize("size", ["-5", "-9223372036854775809", "f" * 30, "f" * 5000, "x", ""])
def test_chunks_of_odd_sizes(size: str, server: Server, tmp_path: Path) -> None:
    """Negative ones, and some beyond every memory."""
    server.play(raw([f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nabc".encode()]))
    refused(server.url, tmp_path / "file", checksum=MD5)


def test_a_redirection_of_any_length(server: Server, tmp_path: Path) -> None:
    """Its page is read and not wanted."""
    for length in (10**15, 10**300):
        server.play(
            raw([f"HTTP/1.0 302 Found\r\nLocation: /a\r\nContent-Length: {length}\r\n\r\nabc".encode()]), status(404)
        )
        refused(server.url, tmp_path / "file")


def test_no_range_is_ever_right(server: Server, tmp_path: Path) -> None:
    """Status 416 whatever is asked for: it ends after the last pause."""
    server.play(status(416))
    (tmp_path / "file.part").write_bytes(b"some")
    assert "(6 attempts)" in refused(server.url, tmp_path / "file", checksum=MD5)


@pytest.mark.parametrize("kind", ["gzip", "br", "\x1b[31m"])
def test_a_file_in_another_encoding(kind: str, server: Server, tmp_path: Path) -> None:
    """Nothing was asked for but the file itself."""
    server.play(raw([HEAD, f"Content-Encoding: {kind}\r\n\r\n".encode(), CONTENT]))
    assert "encoded" in refused(server.url, tmp_path / "file")
    server.play(raw([HEAD, b"Content-Encoding: identity\r\n\r\n", CONTENT]))
    assert fetch([server.url], tmp_path / "file", checksum=MD5).read_bytes() == CONTENT


# redirections


def redirection(target: str) -> Callable[[Handler], None]:
    return raw([f"HTTP/1.0 302 Found\r\nLocation: {target}\r\n\r\n".encode()])


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:text/plain,a", "gopher://a", "//", "http://[", "http://127.0.0.1:x/",
     "\x1b]0;owned\x07", "file:///\x1b[2J", "http://\x1b[31m/"],
)  # fmt: skip
def test_redirections_to_other_places(target: str, server: Server, tmp_path: Path) -> None:
    """Refused in a sentence."""
    server.play(redirection(target), status(404))
    refused(server.url, tmp_path / "file")


def test_redirections_without_end(server: Server, tmp_path: Path) -> None:
    """To itself, or from one address to the next."""
    server.play(redirection("/file"))
    refused(server.url, tmp_path / "file")
    assert len(server.requests) < 20
    server.play(*[redirection(f"/{k}") for k in range(50)])
    refused(server.url, tmp_path / "file")
    assert len(server.requests) < 20


def test_a_safe_connection_stays_safe() -> None:
    """No redirection leads from https to http; the other way is allowed."""
    safe, plain = "https://127.0.0.1/a", "http://127.0.0.1/a"
    redirects = connection.Redirects()
    for old, new in [(safe, safe), (plain, safe), (plain, plain)]:
        assert redirects.redirect_request(Request(old), None, 302, "Found", {}, new).full_url == new  # type: ignore[union-attr]
    for new in (plain, "HTTP://127.0.0.1/a"):
        with pytest.raises(URLError, match="from https"):
            redirects.redirect_request(Request(safe), None, 302, "Found", {}, new)


# overloaded servers


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("7", 7),
        ("0", 0.5),
        ("", 0.5),
        ("soon", 0.5),
        ("-3", 0.5),
        ("DATE", 100),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.5),
    ],
)
def test_retry_after_is_obeyed(
    code: int, value: str, pause: float, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A number of seconds, or a date. It is said, and is never shorter than the pause without it."""
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.0)
    value = formatdate(1_000_000_100, usegmt=True) if value == "DATE" else value
    server.play(raw([f"HTTP/1.0 {code} No\r\nRetry-After: {value}\r\n\r\n".encode()]), Send(CONTENT))
    pauses: list[float] = []
    fetch([server.url], tmp_path / "file", checksum=MD5, sleep=pauses.append)
    assert pauses == [pause]
    assert f"trying again in {pause:g} s" in caplog.text


@pytest.mark.parametrize("value", ["86400", "9" * 5000, "Thu, 01 Jan 9999 00:00:00 GMT"])
def test_retry_after_is_bounded(value: str, server: Server, tmp_path: Path) -> None:
    """Nobody waits for an hour: the command ends and says when to come back."""
    server.play(raw([f"HTTP/1.0 429 No\r\nRetry-After: {value}\r\n\r\n".encode()]))
    assert "to wait" in refused(server.url, tmp_path / "file")
    assert len(server.requests) == 1


# what the user sees, and what lies on the disk


@pytest.mark.parametrize("code", [200, 404, 503])
def test_no_escapes_on_the_terminal(
    code: int, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever the server puts them: status, headers."""
    nasty = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202e" + "x" * 10_000
    head = f"HTTP/1.0 {code} {nasty}\r\nContent-Range: {nasty}\r\nETag: {nasty}\r\nRetry-After: {nasty}\r\n\r\n"
    server.play(raw([head.encode()]))
    refused(server.url, tmp_path / "file", checksum=MD5)
    server.play(raw([nasty.encode()]))
    refused(server.url, tmp_path / "file", checksum=MD5)
    seen = caplog.text + "".join(capsys.readouterr())
    assert seen.replace("\n", "").isprintable()


@pytest.mark.parametrize("note", [b"URL\n\x1b[2J", b"URL\n\r\n a: b", b"URL\n" + b"x" * 100_000, b"\xff", b""])
def test_a_damaged_note(note: bytes, server: Server, tmp_path: Path) -> None:
    """The checksum decides; what cannot be a validator is not sent."""
    (tmp_path / "file.part").write_bytes(CONTENT[:100])
    (tmp_path / "file.part.from").write_bytes(note.replace(b"URL", server.url.encode()))
    server.play(Send(CONTENT))
    assert fetch([server.url], tmp_path / "file", checksum=MD5).read_bytes() == CONTENT
    assert [headers.get("If-Range") for _, headers in server.requests] == [None]


def test_a_note_that_is_a_pipe(server: Server, tmp_path: Path) -> None:
    """Nothing waits for its writer."""
    (tmp_path / "file.part").write_bytes(CONTENT[:100])
    os.mkfifo(tmp_path / "file.part.from")
    server.play(Send(CONTENT))
    assert fetch([server.url], tmp_path / "file", checksum=MD5).read_bytes() == CONTENT


def test_a_target_that_is_no_file(server: Server, tmp_path: Path) -> None:
    """A pipe is neither read nor replaced."""
    os.mkfifo(tmp_path / "file")
    server.play(Send(CONTENT))
    with pytest.raises(OSError, match="file: is not a file"):
        fetch([server.url], tmp_path / "file", checksum=MD5)
    assert server.requests == []


def test_room_is_asked_for_first(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that does not fit is not begun."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=15_000))
    server.play(Send(CONTENT))
    with pytest.raises(OSError, match="15 kB free, needs 16 kB for file; make room") as caught:
        fetch([server.url], tmp_path / "file", checksum=MD5)
    assert not isinstance(caught.value, DownloadError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["cache", "cache/below", "/proc/nowhere"])
def test_a_cache_that_cannot_be_made(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, the reason and what to set, before any connection."""
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("EXACT_YOLOV3_CACHE", str(tmp_path / place))
    with pytest.raises(OSError, match=r"yolov3\.weights: cannot be written \(.*\); set EXACT_YOLOV3_CACHE") as caught:
        official_weights("yolov3")
    assert not isinstance(caught.value, DownloadError)


def test_the_pauses_of_this_test_are_those_of_the_program() -> None:
    """The shortest pause, which is expected above."""
    assert download.PAUSES[0] == 0.5
