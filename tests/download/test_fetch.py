"""Downloads from our own server on 127.0.0.1: whatever breaks, lies or changes, there is the right file or none."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import resource
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.paths import ROOT
from yolo.darknet.cfg import read_cfg
from yolo.darknet.plan import make_plan
from yolo.download import weights as official
from yolo.download.fetch import PAUSES, DownloadError, OfficialFile, fetch
from yolo.download.partial import KINDS, own_partial
from yolo.download.weights import WEIGHTS, official_weights
from yolo.files.user_cache import cache_folder

CONTENT = np.random.default_rng(0).bytes(50_000)
OTHER = np.random.default_rng(1).bytes(50_000)
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """One request. It gets the server's first remaining answer; the last answer is never used up."""

    server: Server

    def do_GET(self) -> None:
        with self.server.turn:
            self.server.requests.append((self.path, dict(self.headers)))
            answers = self.server.answers
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self)

    def log_message(self, *_: Any) -> None:
        pass


class Server(socketserver.ThreadingTCPServer):
    """A server that records the requests and gives the `answers` in their order."""

    allow_reuse_address = True
    request_queue_size = 64  # with the default of 5, some of 16 connections at once wait a second for their turn

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.turn = threading.Lock()
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.answers: list[Callable[[Handler], None]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/file"

    def play(self, *answers: Callable[[Handler], None]) -> None:
        """Forget the requests and use these answers."""
        self.requests.clear()
        self.answers[:] = answers

    @property
    def ranges(self) -> list[str | None]:
        """The Range of every request so far."""
        return [headers.get("Range") for _, headers in self.requests]


@dataclass(frozen=True)
class Send:
    """An answer with `content`, or the part of it that a Range asks for. After `drop` bytes the connection ends.

    `length` is the Content-Length: None for the true one, an int for a wrong one, "chunked" and "none" for none. A
    `reset` connection ends with an error, others with an end of file.
    """

    content: bytes = CONTENT
    drop: int | None = None
    ranges: bool = True
    etag: str | None = None
    date: str | None = None
    length: int | str | None = None
    reset: bool = False

    def __call__(self, handler: Handler) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
        wanted = handler.headers["If-Range"] in (None, self.etag, self.date)
        start = int(asked[1]) if asked and self.ranges and wanted else 0
        if start and start >= len(self.content):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.etag:
            handler.send_header("ETag", self.etag)
        if self.date:
            handler.send_header("Last-Modified", self.date)
        body = self.content[start:]
        if self.length == "chunked":
            handler.send_header("Transfer-Encoding", "chunked")
        elif self.length != "none":
            handler.send_header("Content-Length", str(len(body) if self.length is None else self.length))
        handler.end_headers()
        if self.length == "chunked":
            parts = [body[k : k + 1000] for k in range(0, len(body), 1000)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])
        try:
            handler.wfile.write(body[: self.drop])
        except ConnectionError:  # the client has seen enough
            return
        if self.reset:
            handler.wfile.flush()
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()


def status(code: int) -> Callable[[Handler], None]:
    """An answer without a file."""
    return lambda handler: handler.send_error(code)


def hang_up(handler: Handler) -> None:
    """No answer at all."""
    handler.close_connection = True


@contextmanager
def listening() -> Iterator[Server]:
    """Yield a server that answers in a thread."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def without_proxy(patch: pytest.MonkeyPatch) -> None:
    """Have no proxy between the program and the server."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            patch.delenv(name)


@pytest.fixture(scope="module")
def server_of_the_module() -> Iterator[Server]:
    with listening() as server:
        yield server


@pytest.fixture
def server(server_of_the_module: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that gives CONTENT, without a proxy."""
    without_proxy(monkeypatch)
    server_of_the_module.play(Send())
    return server_of_the_module


@pytest.fixture
def closed(server: Server) -> str:
    """An address without a server."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/file"


def pull(url: str | list[str], target: Path, size: int | None = SIZE, checksum: str | None = SHA256) -> list[float]:
    """Download, and check that the file and nothing else is there. Returns the requested pauses."""
    pauses: list[float] = []
    urls = [url] if isinstance(url, str) else url
    assert fetch(urls, target, size=size, checksum=checksum, timeout=5, sleep=pauses.append) == target
    assert target.read_bytes() == CONTENT
    assert [file.name for file in target.parent.iterdir()] == [target.name]
    return pauses


def refused(
    url: str | list[str], target: Path, size: int | None = SIZE, checksum: str | None = SHA256, timeout: float = 5
) -> str:
    """Fail to download, and check that no file has the name. Returns the message."""
    urls = [url] if isinstance(url, str) else url
    with pytest.raises(DownloadError) as caught:
        fetch(urls, target, size=size, checksum=checksum, timeout=timeout, sleep=lambda _: None)
    assert not target.exists()
    for one in urls:
        assert f"\n  {one}: " in str(caught.value)
    return str(caught.value)


# downloads without trouble


@pytest.mark.parametrize("length", [None, "chunked", "none"])
@pytest.mark.parametrize("size", [SIZE, None])
@pytest.mark.parametrize("kind", ["sha256", "sha1", "md5", None])
def test_a_file_arrives(length: str | None, size: int | None, kind: Any, server: Server, tmp_path: Path) -> None:
    """With any knowledge of the file, in a folder that is created."""
    server.play(Send(length=length))
    checksum = hashlib.new(kind, CONTENT).hexdigest().upper() if kind else None
    assert pull(server.url, tmp_path / "a" / "b" / "file", size, checksum) == []
    assert server.ranges == [None]


def test_an_existing_file_is_not_downloaded(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No request, no lock, no message: neither with a checksum nor with less."""
    target = tmp_path / "file"
    target.write_bytes(CONTENT)
    tmp_path.chmod(0o500)
    for size, checksum in [(SIZE, SHA256), (SIZE, None), (None, None)]:
        pull(server.url, target, size, checksum)
    tmp_path.chmod(0o700)
    assert server.requests == []
    assert caplog.text == ""


def test_a_wrong_file_is_replaced(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """But not before the right one has arrived."""
    target = tmp_path / "file"
    target.write_bytes(OTHER)
    server.play(status(404))
    with pytest.raises(DownloadError):
        fetch([server.url], target, size=SIZE, checksum=SHA256)
    assert target.read_bytes() == OTHER
    server.play(Send())
    pull(server.url, target)
    assert f"file: sha256 {hashlib.sha256(OTHER).hexdigest()}, expected {SHA256}; it will be rep" in caplog.text
    target.write_bytes(b"short")
    pull(server.url, target)
    assert "file: 5 bytes, expected 50,000; it will be replaced" in caplog.text


def test_a_warning_without_a_checksum(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With only the size known, or nothing."""
    pull(server.url, tmp_path / "1" / "file", SIZE, None)
    assert "checked by size only, no checksum is known" in caplog.messages[0]
    pull(server.url, tmp_path / "2" / "file", None, None)
    assert "not checked, no checksum is known" in caplog.messages[1]
    pull(server.url, tmp_path / "3" / "file", None, SHA256)
    assert len(caplog.messages) == 2


def test_the_content_can_be_checked(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By a function, if no checksum is known. A file that fails is not accepted, an existing one is replaced, and no
    warning says that nothing was checked."""
    target = tmp_path / "file"

    def check(path: Path) -> str | None:
        return None if path.read_bytes() == CONTENT else "not what it should be"

    server.play(Send(OTHER))
    with pytest.raises(DownloadError, match=r"/file: a different file, not what it should be"):
        fetch([server.url], target, check=check)
    assert list(tmp_path.iterdir()) == []
    target.write_bytes(OTHER)
    server.play(Send(drop=1000, etag='"1"'), Send(etag='"1"'))
    assert fetch([server.url], target, check=check, sleep=lambda _: None) == target
    assert target.read_bytes() == CONTENT
    assert "file: not what it should be; it will be replaced" in caplog.text
    assert "checksum" not in caplog.text
    server.play(status(404))
    assert fetch([server.url], target, check=check) == target
    assert server.requests == []


def test_a_redirection_is_followed_with_its_range(server: Server, tmp_path: Path) -> None:
    """As for releases, whose files are on another host. But it is not followed out of HTTP."""

    def elsewhere(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "/there")
        handler.end_headers()

    def out(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "ftp://127.0.0.1/file")
        handler.end_headers()

    server.play(elsewhere, Send(drop=1000), elsewhere, Send())
    pull(server.url, tmp_path / "file")
    assert [path for path, _ in server.requests] == ["/file", "/there"] * 2
    assert server.ranges == [None, None, "bytes=1000-", "bytes=1000-"]
    server.play(out)
    assert "unknown url type: ftp" in refused(server.url, tmp_path / "2")


# connections that break


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, SIZE), max_size=len(PAUSES)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, "chunked"]),
    st.sampled_from([{}, {"etag": '"1"'}, {"etag": 'W/"1"'}, {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}]),
)
@example([0, 1, SIZE - 1, 10, 20_000], True, False, None, {})
@example([1000] * 5, False, True, "chunked", {"etag": '"1"'})
@example([7 * 1007, 43 * 1007 - 2, 0, 0, 0], False, True, "chunked", {})  # all bytes, but not the end of the chunk
def test_a_broken_connection_is_resumed(
    server_of_the_module: Server, drops: list[int], reset: bool, ranges: bool, length: str | None, extra: dict[str, str]
) -> None:
    """Wherever it breaks, the file is complete in the end, and no byte that arrived is requested again."""
    server = server_of_the_module
    sends = [Send(drop=drop, reset=reset, ranges=ranges, length=length, **extra) for drop in drops]  # type: ignore[arg-type]
    server.play(*sends, Send(ranges=ranges, length=length, **extra))  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        pauses = pull(server.url, Path(folder) / "file")
    assert pauses == list(PAUSES[: len(pauses)])
    if not reset and ranges and length is None:
        place = 0
        expected: list[str | None] = [None]
        for drop in drops:
            if place + drop >= SIZE:
                break
            place += drop
            expected.append(f"bytes={place}-" if place else None)
        assert server.ranges == expected
        validator = None if extra.get("etag") == 'W/"1"' else next(iter(extra.values()), None)
        for (_, headers), range_ in zip(server.requests, server.ranges, strict=True):
            assert headers.get("If-Range") == (validator if range_ else None)


def test_without_an_answer_it_is_tried_again(server: Server, tmp_path: Path) -> None:
    """After no status line, an overloaded server, a silent one."""
    release = threading.Event()

    def silent(handler: Handler) -> None:
        release.wait(10)

    server.play(hang_up, status(503), status(429), Send())
    assert pull(server.url, tmp_path / "1" / "file") == list(PAUSES[:3])
    server.play(silent, Send())
    urls, target = [server.url], tmp_path / "2"
    fetch(urls, target, size=SIZE, checksum=SHA256, timeout=0.05, sleep=lambda _: release.set())
    assert target.read_bytes() == CONTENT


@pytest.mark.usefixtures("server")  # no proxy
def test_a_network_that_comes_back(tmp_path: Path) -> None:
    """A refused connection is tried again if there was a connection before."""
    servers = []

    def serve_one(port: int, answer: Send) -> str:
        server = Server(port)
        server.play(answer)
        servers.append((server, threading.Thread(target=server.handle_request)))
        servers[-1][1].start()
        return server.url

    def close() -> None:
        server, thread = servers[-1]
        thread.join()
        server.server_close()

    def sleep(seconds: float) -> None:
        if seconds == PAUSES[0]:
            close()
        if seconds == PAUSES[2]:
            serve_one(servers[0][0].server_address[1], Send())

    url = serve_one(0, Send(drop=1000))
    fetch([url], tmp_path / "file", size=SIZE, checksum=SHA256, sleep=sleep)
    close()
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [server.ranges for server, _ in servers] == [[None], ["bytes=1000-"]]


def test_patience_ends(server: Server, tmp_path: Path) -> None:
    """After the last pause the next address is tried. The bytes so far are kept for the next call."""
    server.play(Send(drop=100))
    message = refused(server.url, tmp_path / "file")
    assert len(server.requests) == 1 + len(PAUSES)
    assert "broke off after 600 of 50,000 bytes (6 attempts)" in message
    assert f"600 bytes are kept in {tmp_path / 'file.part'}" in message
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:600]
    server.play(Send())
    pull(server.url, tmp_path / "file")
    assert server.ranges == ["bytes=600-"]


def test_patience_is_renewed_by_progress(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long file arrives over a bad line, in more attempts than there are pauses. One that restarts does not."""
    monkeypatch.setattr("yolo.download.fetch.GAIN", 4000)
    server.play(Send(drop=4000))
    assert set(pull(server.url, tmp_path / "1" / "file")) == {PAUSES[0]}
    assert len(server.requests) == 13
    server.play(*[Send(drop=drop, ranges=False) for drop in (4000, 100, 9000, 100, 9000, 100, 9000, 100, 12_000, 1)])
    assert "(8 attempts)" in refused(server.url, tmp_path / "2")


def test_an_end_without_a_length(server: Server, tmp_path: Path) -> None:
    """Without Content-Length, an end before the known size is a broken connection, too."""
    server.play(Send(drop=100, length="none"), Send())
    pull(server.url, tmp_path / "file")
    assert server.ranges == [None, "bytes=100-"]


# pieces that do not belong together


def start_with(server: Server, target: Path, answer: Send, size: int | None = SIZE) -> None:
    """Leave a part of the `answer` on the disk."""
    server.play(answer, status(404))
    refused(server.url, target, size, None)
    server.requests.clear()


@pytest.mark.parametrize("checksum", [SHA256, None])
@pytest.mark.parametrize("extra", [{"etag": '"{}"'}, {"date": "Thu, 01 Jan 2026 00:00:0{} GMT"}])
def test_a_file_that_changes_is_downloaded_again(
    extra: dict[str, str], checksum: str | None, server: Server, tmp_path: Path
) -> None:
    """If it changes between two attempts or two calls, also with a server that ignores If-Range."""
    old, new = ({key: text.format(k) for key, text in extra.items()} for k in (1, 2))
    changed = Send(**new)  # type: ignore[arg-type]
    server.play(Send(OTHER, drop=1000, **old), changed)  # type: ignore[arg-type]
    pull(server.url, tmp_path / "1" / "file", SIZE, checksum)
    assert server.ranges == [None, "bytes=1000-"]

    target = tmp_path / "2" / "file"
    start_with(server, target, Send(OTHER, drop=1000, **old))  # type: ignore[arg-type]
    assert target.with_name("file.part").read_bytes() == OTHER[:1000]
    server.play(changed)
    pull(server.url, target, SIZE, checksum)
    assert server.ranges == ["bytes=1000-"]

    def wrong(handler: Handler) -> None:
        del handler.headers["If-Range"]
        changed(handler)

    server.play(Send(OTHER, drop=1000, **old), wrong)  # type: ignore[arg-type]
    pull(server.url, tmp_path / "3" / "file", SIZE, checksum)
    assert server.ranges == [None, "bytes=1000-", None]


def test_without_a_validator_the_checksum_decides(server: Server, tmp_path: Path) -> None:
    """A piece of another file is noticed at the end, and the whole file is downloaded once more."""
    start_with(server, tmp_path / "file", Send(OTHER, drop=1000))
    server.play(Send())
    pull(server.url, tmp_path / "file")
    assert server.ranges == ["bytes=1000-", None]


def test_without_both_nothing_is_resumed(server: Server, tmp_path: Path) -> None:
    """Neither at the same address nor at another one, whose ETags are independent."""
    start_with(server, tmp_path / "1" / "file", Send(OTHER, drop=1000))
    server.play(Send())
    pull(server.url, tmp_path / "1" / "file", SIZE, None)
    assert server.ranges == [None]
    start_with(server, tmp_path / "2" / "file", Send(OTHER, drop=1000, etag='"1"'))
    server.play(Send(etag='"1"'))
    pull(f"{server.url}2", tmp_path / "2" / "file", SIZE, None)
    assert server.ranges == [None]


def test_the_part_survives_other_servers_that_fail(server: Server, closed: str, tmp_path: Path) -> None:
    """No connection, an error, or the page of a hotel: the bytes of the first address are kept for it."""
    target = tmp_path / "file"
    start_with(server, target, Send(drop=1000, etag='"1"'))
    page = b"<html>please log in</html>"
    server.play(status(403), Send(page, etag='"2"', ranges=False))
    assert f"{len(page)} bytes, expected 50,000" in refused(
        [closed, f"{server.url}2", f"{server.url}3"], target, SIZE, None
    )
    server.play(Send(etag='"1"'))
    pull(server.url, target, SIZE, None)
    assert server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize("answer", ["bytes 999-49999/50000", "bytes */50000", "items 1000-49999/50000", None])
def test_an_answer_that_does_not_continue(
    answer: str | None, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer 206 with another range than the requested one is not appended."""

    def odd(handler: Handler) -> None:
        handler.send_response(206)
        if answer:
            handler.send_header("Content-Range", answer)
        handler.end_headers()
        handler.wfile.write(OTHER)

    server.play(Send(drop=1000), odd, Send())
    pull(server.url, tmp_path / "file")
    assert server.ranges == [None, "bytes=1000-", None]
    assert "the answer does not continue what has arrived so far; trying again" in caplog.text


def test_a_part_that_is_too_long(server: Server, tmp_path: Path) -> None:
    """More bytes than the file has. If its size is known they are dropped, otherwise the server answers 416."""
    for name, size, ranges in [("1", SIZE, [None]), ("2", None, [f"bytes={SIZE + 1}-", None])]:
        target = tmp_path / name / "file"
        target.parent.mkdir()
        target.with_name("file.part").write_bytes(OTHER + b"x")
        server.play(Send())
        pull(server.url, target, size)
        assert server.ranges == ranges


@pytest.mark.parametrize("size", [SIZE, None])
def test_a_part_that_is_complete(size: int | None, server: Server, tmp_path: Path) -> None:
    """After a process that was killed before renaming, nothing is downloaded, unless the bytes are wrong."""
    part = tmp_path / "file.part"
    part.write_bytes(CONTENT)
    pull(server.url, tmp_path / "file", size)
    assert server.requests == []
    (tmp_path / "file").unlink()
    part.write_bytes(OTHER)
    pull(server.url, tmp_path / "file", size)
    assert server.ranges == [None] if size else [f"bytes={SIZE}-", None]


# servers that lie


@pytest.mark.parametrize("checksum", [SHA256, None])
@pytest.mark.parametrize("length", [SIZE - 1, SIZE + 1, SIZE - 1000])
def test_a_content_length_that_is_not_the_size(
    length: int, checksum: str | None, server: Server, tmp_path: Path
) -> None:
    """Refused before the first byte, and the next address is tried."""
    server.play(Send(length=length))
    assert f"a different file, {length:,} bytes, expected 50,000" in refused(
        server.url, tmp_path / "file", SIZE, checksum
    )
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []
    server.play(Send(length=length), Send())
    pull([server.url, f"{server.url}2"], tmp_path / "file", SIZE, checksum)


def test_a_content_length_without_a_known_size(server: Server, tmp_path: Path) -> None:
    """A length that is too large looks like a broken connection, one that is too small gives a wrong checksum."""
    server.play(Send(length=SIZE + 10, ranges=False))
    message = refused(server.url, tmp_path / "file", None, SHA256)
    assert "broke off after 50,000 of 50,010 bytes (6 attempts)" in message
    (tmp_path / "file.part").unlink()
    server.play(Send(length=SIZE - 10))
    digest = hashlib.sha256(CONTENT[:-10]).hexdigest()
    assert f"sha256 {digest}, expected {SHA256}" in refused(server.url, tmp_path / "file", None, SHA256)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", ["chunked", "none"])
def test_too_many_bytes(length: str, server: Server, tmp_path: Path) -> None:
    """The download stops at the known size, not at the end of an endless answer."""
    server.play(Send(CONTENT * 100, length=length))
    assert "more than the expected 50,000 bytes" in refused(server.url, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 1


def test_a_wrong_file(server: Server, tmp_path: Path) -> None:
    """For wrong content the message has both checksums, no bytes are kept, and the next address is tried."""
    server.play(Send(OTHER))
    message = refused(server.url, tmp_path / "file")
    assert message == (
        f"file could not be downloaded:\n  {server.url}: a different file, sha256 "
        f"{hashlib.sha256(OTHER).hexdigest()}, expected {SHA256}"
    )
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []
    server.play(Send(OTHER), Send())
    pull([server.url, f"{server.url}2"], tmp_path / "file")
    server.play(Send(OTHER, drop=1000), Send(OTHER))  # in two pieces: once more, whole, then refused
    assert "a different file, sha256" in refused(server.url, tmp_path / "2")
    assert server.ranges == [None, "bytes=1000-", None]


@pytest.mark.parametrize("code", [403, 404, 410, 204])
def test_the_next_address(code: int, server: Server, closed: str, tmp_path: Path) -> None:
    """An address that refuses is not tried again."""
    server.play(status(code), Send())
    assert pull([closed, server.url, f"{server.url}2", f"{server.url}3"], tmp_path / "file") == []
    assert [path for path, _ in server.requests] == ["/file", "/file2"]
    server.play(status(code))
    assert f"{server.url}: HTTP {code} " in refused([server.url, closed], tmp_path / "2")


def test_the_next_address_continues(server: Server, tmp_path: Path) -> None:
    """With a checksum, the bytes of one address are used for the other."""
    server.play(Send(drop=1000, etag='"1"'), status(404), Send(etag='"2"'))
    pull([server.url, f"{server.url}2"], tmp_path / "file")
    assert server.requests[-1][0] == "/file2"
    assert server.ranges[-1] == "bytes=1000-"
    assert "If-Range" not in server.requests[-1][1]


def test_no_server(closed: str, tmp_path: Path) -> None:
    """The message has every address with its reason, at once, and no file is left."""
    pauses: list[float] = []
    with pytest.raises(
        DownloadError, match=r"file could not be downloaded:\n  http.*Connection refused\n  http.*/2: .*"
    ):
        fetch([closed, f"{closed}/2"], tmp_path / "file", sleep=pauses.append)
    assert pauses == []
    assert list(tmp_path.iterdir()) == []
    assert issubclass(DownloadError, OSError)
    with pytest.raises(DownloadError, match="file could not be downloaded: no address is known"):
        fetch([], tmp_path / "file")


def test_invalid_answers(server: Server, tmp_path: Path) -> None:
    """An answer that is not HTTP, and a redirection to an invalid address."""

    def mail(handler: Handler) -> None:
        handler.wfile.write(b"220 mail.example.org ESMTP\r\n")

    server.play(mail)
    message = refused(server.url, tmp_path / "file")
    assert "BadStatusLine: 220 mail.example.org" in message
    assert "attempts" not in message

    def nowhere(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "http://[x/")
        handler.end_headers()

    server.play(nowhere)
    assert "ValueError: " in refused(server.url, tmp_path / "file")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a/b", "yolov3.weights", "https://", "http://a/b c", "", "http://ä/"]
)
def test_other_addresses_are_refused(url: str, server: Server, tmp_path: Path) -> None:
    """Before anything is downloaded, even after a valid address."""
    with pytest.raises(ValueError, match="expected http:// or https://"):
        fetch([server.url, url], tmp_path / "file")
    assert server.requests == []


def test_a_folder_in_the_way(server: Server, tmp_path: Path) -> None:
    """It is an error at once, and not after 250 MB."""
    with pytest.raises(IsADirectoryError, match="is a folder; expected the name of the file to write"):
        fetch([server.url], tmp_path)
    assert server.requests == []


# the machine


def test_a_full_disk_keeps_the_part(server: Server, tmp_path: Path) -> None:
    """The message has the number of bytes. When there is room again, the rest is downloaded."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        with pytest.raises(
            OSError, match=r"file.part: File too large after 20,000 bytes, which are kept; make"
        ) as caught:
            pull(server.url, tmp_path / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.errno == errno.EFBIG
    assert not isinstance(caught.value, DownloadError)
    assert [file.name for file in tmp_path.iterdir()] == ["file.part"]
    assert len(server.requests) == 1
    pull(server.url, tmp_path / "file")
    assert server.ranges == [None, "bytes=20000-"]


def test_threads_take_turns(server: Server, tmp_path: Path) -> None:
    """Of eight at once, one downloads, and the others find the file."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            fetch([server.url], tmp_path / "file", size=SIZE, checksum=SHA256)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(server.requests) == 1
    pull(server.url, tmp_path / "file")


def test_processes_take_turns(server: Server, tmp_path: Path) -> None:
    """The second waits, with a message, until the first ends. It continues where the first one failed."""
    release = threading.Event()

    def slow(handler: Handler) -> None:
        release.wait(60)
        Send(drop=1000)(handler)

    server.play(slow, status(404), Send())
    code = (
        "import sys, pathlib; from yolo.download.fetch import fetch; "
        "fetch([sys.argv[1]], pathlib.Path(sys.argv[2]), checksum=sys.argv[3], sleep=lambda _: None)"
    )
    command = [sys.executable, "-c", code, server.url, str(tmp_path / "file"), SHA256]
    environment = {**os.environ, "no_proxy": "*"}
    first, second = (
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(2)
    )
    one, two = threading.Event(), threading.Event()
    said: dict[str, str] = {}

    def listen(process: subprocess.Popen[str], heard: threading.Event, name: str) -> None:
        assert process.stderr
        for line in process.stderr:
            said[name] = said.get(name, "") + line
            if "another process is working on it" in line:
                heard.set()
                release.set()
        process.stderr.close()

    listeners = [
        threading.Thread(target=listen, args=args) for args in [(first, one, "first"), (second, two, "second")]
    ]
    for listener in listeners:
        listener.start()
    codes = sorted([first.wait(60), second.wait(60)])
    for listener in listeners:
        listener.join()
    assert one.is_set() != two.is_set()
    assert codes == [0, 1]
    assert "HTTP 404" in said["second" if one.is_set() else "first"]
    assert server.ranges == [None, "bytes=1000-", "bytes=1000-"]
    pull(server.url, tmp_path / "file")


def test_a_part_that_became_the_target_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waited for the lock of a file that has another name by now opens a new one."""
    waiting, done = threading.Event(), threading.Event()
    target = tmp_path / "file"
    sizes = []

    monkeypatch.setattr(logging.getLogger("yolo"), "warning", lambda *_: waiting.set())

    def second() -> None:
        with own_partial(target) as part:
            sizes.append(part.size)
        done.set()

    with own_partial(target) as part:
        part.append(CONTENT)
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        assert not done.is_set()
        part.become(target)
    thread.join()
    assert sizes == [0]
    assert target.read_bytes() == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_killed_process_releases_its_part(tmp_path: Path) -> None:
    """The next one continues with what arrived, without waiting."""
    target = tmp_path / "file"
    code = (
        "import sys, time, pathlib; from yolo.download.partial import own_partial\n"
        "with own_partial(pathlib.Path(sys.argv[1])) as part: part.append(b'some'); print(flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.kill()
    with own_partial(target) as part:
        assert part.size == 4
    assert [file.name for file in tmp_path.iterdir()] == ["file.part"]


def test_without_locks(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows and some network file systems: each call has a part of its own and removes it at the end."""
    monkeypatch.setattr("yolo.files.atomic._lock", lambda *_: False)
    server.play(Send(drop=1000, etag='"1"'), Send(etag='"1"'))
    (tmp_path / "1").mkdir()
    pull(server.url, tmp_path / "1" / "file")
    assert server.ranges == [None, "bytes=1000-"]
    server.play(Send(drop=1000, etag='"1"'), status(404))
    assert "kept" not in refused(server.url, tmp_path / "2")
    assert [file.name for file in tmp_path.iterdir()] == ["1"]


# what the user sees


def test_the_bar(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is none if stderr is not a terminal. If requested, it starts at the bytes of the part."""
    for k, progress in enumerate([None, False]):
        fetch([server.url], tmp_path / str(k), size=SIZE, checksum=SHA256, progress=progress)
    assert capsys.readouterr() == ("", "")
    server.play(Send(drop=40_000), Send())
    fetch([server.url], tmp_path / "file", size=SIZE, checksum=SHA256, progress=True, sleep=lambda _: None)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r"file:   0%.* 0\.00/50\.0k ", err)
    assert re.search(r"file:  80%.* 40\.0k/50\.0k ", err)
    assert re.search(r"file: 100%.* 50\.0k/50\.0k .*B/s", err)


def test_a_bar_on_a_terminal(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown by default, but not with progress=False."""
    terminal, other_end = os.openpty()
    termios.tcsetwinsize(other_end, (24, 80))
    with open(other_end, "w") as file, open(terminal, "rb", buffering=0) as reader:
        monkeypatch.setattr(sys, "stderr", file)
        fetch([server.url], tmp_path / "1", size=SIZE, checksum=SHA256, progress=False)
        fetch([server.url], tmp_path / "2", size=SIZE, checksum=SHA256)
        monkeypatch.undo()
        file.flush()
        shown = reader.read(10_000).decode()
    assert "2: " in shown
    assert "1: " not in shown


def test_nothing_heavy_is_imported() -> None:
    """Neither torch nor anything that only a download needs."""
    heavy = {"torch", "tqdm", "urllib.request", "numpy"}
    code = f"import sys, yolo.download.weights; sys.exit(str({heavy} & set(sys.modules)))"
    assert "set()" in subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True).stderr


# the published files


@pytest.fixture
def table(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, OfficialFile]:
    """A table with one file at our server, and our own cache folder."""
    monkeypatch.setenv("EXACT_YOLOV3_CACHE", str(tmp_path / "cache"))
    files = {"yolov3": OfficialFile("yolov3.weights", (server.url, f"{server.url}2"), SIZE, SHA256)}
    monkeypatch.setattr(official, "WEIGHTS", files)
    return files


@pytest.mark.usefixtures("table")
def test_official_weights(server: Server, tmp_path: Path) -> None:
    """Downloaded once."""
    for _ in range(2):
        assert official_weights("yolov3", progress=False) == tmp_path / "cache" / "yolov3.weights"
    assert (tmp_path / "cache" / "yolov3.weights").read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_official_weights_without_a_network(
    table: dict[str, OfficialFile], closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the addresses with their reasons, then three remedies, the second of which works."""
    offline = OfficialFile("yolov3.weights", (closed, f"{closed}2"), SIZE, SHA256)
    monkeypatch.setitem(table, "yolov3", offline)
    with pytest.raises(DownloadError) as caught:
        official_weights("yolov3")
    message = str(caught.value)
    target = tmp_path / "cache" / "yolov3.weights"
    assert re.search(r"\n  http://127.*/file: .*refused\n  http://127.*/file2: .*refused\n", message)
    assert message.endswith(
        f"Remedies: give --weights FILE; or download yolov3.weights from {closed} on another machine and put it at "
        f"{target}; or set EXACT_YOLOV3_CACHE to a folder that has it."
    )
    target.write_bytes(CONTENT)
    assert official_weights("yolov3") == target


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("yolov3.weights", "did you mean yolov3?"),
        ("YOLOv3-tiny", "did you mean yolov3-tiny?"),
        ("yolo3", "did you mean yolov3?"),
        ("darknet53", "did you mean darknet53.conv.74?"),
        ("resnet", ""),
    ],
)
def test_an_unknown_name(name: str, hint: str) -> None:
    """The message has the known names, and the most similar one."""
    with pytest.raises(
        ValueError, match=f"no published weights are called '{name}'; .*expected one of yolov3, "
    ) as caught:
        official_weights(name)
    assert hint in str(caught.value)
    assert ("did you mean" in str(caught.value)) == bool(hint)


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From our variable, the desktop's variable, or the home folder. Windows has its own."""
    for name in ("EXACT_YOLOV3_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "exact-yolov3"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "exact-yolov3"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "exact-yolov3"
    monkeypatch.setattr(sys, "platform", "win32")
    assert cache_folder() == tmp_path / "AppData" / "Local" / "exact-yolov3"
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "exact-yolov3"
    monkeypatch.setenv("EXACT_YOLOV3_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    assert list(tmp_path.iterdir()) == []


def test_the_table() -> None:
    """Names and files are unique, addresses end in the file's name, checksums have a known length."""
    files = list(WEIGHTS.values())
    assert len(files) == 12
    assert len({file.file for file in files}) == len({url for file in files for url in file.urls[:1]}) == 12
    for name, file in WEIGHTS.items():
        assert file.file in (name, f"{name}.weights")
        for url in file.urls:
            assert re.fullmatch(rf"https://[a-z.]+/[\w/]+/{re.escape(file.file)}", url)
        if file.checksum:
            assert len(file.checksum) in KINDS
            assert re.fullmatch("[0-9a-f]+", file.checksum)
    assert {name for name, file in WEIGHTS.items() if not file.checksum} == {
        "yolov3-openimages",
        "darknet53.conv.74",
        "yolov2",
        "yolov2-tiny",
    }


@pytest.mark.parametrize("name", WEIGHTS)
def test_every_published_file_has_its_cfg(name: str) -> None:
    """The cfg of its name has as many float32 values; the header is version 0.1's (16 bytes) or a later one's (20)."""
    cfg, layers = ("yolov3", 74) if name == "darknet53.conv.74" else (name, None)
    plan = make_plan(read_cfg(f"{cfg}.cfg"))
    header = 16 if name in ("yolov2", "yolov2-tiny-voc", "yolo-voc") else 20
    assert WEIGHTS[name].size == header + 4 * sum(layer.floats for layer in plan.layers[:layers])
