"""HTTP answers that are neither endless nor endlessly slow, and redirections that stay safe. No torch."""

from __future__ import annotations

import io
import re
import time
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from socket import socket
from typing import Any
from urllib import request as r
from urllib.error import URLError

HEAD = 2**20
"""The most bytes of an answer without its file: status, headers, interim answers, the page of a redirection."""

PATIENCE = 60.0
"""The number of seconds of waiting after which the speed of an answer is looked at, each time."""

SLOWEST = 1000
"""Bytes per second. Below that an answer is given up; a file of N bytes takes N / SLOWEST seconds at most."""


class RefusedError(HTTPException):
    """An answer that is given up, and that would be no better another time."""


class _Paced(io.RawIOBase):
    """The bytes of an answer. Reading raises RefusedError if they are too many or too slow."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw, self.limit = raw, HEAD
        self.count, self.mark, self.waited = 0, 0, 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        before = time.monotonic()
        count = self.raw.readinto(buffer) or 0
        # Only waiting counts: not the time for writing to the disk, nor for which the process was stopped.
        self.waited += time.monotonic() - before
        self.count += count
        if self.count > self.limit:
            raise RefusedError(f"the answer does not end: it has more than {self.limit:,} bytes")
        if count and self.waited > PATIENCE:
            if (new := self.count - self.mark) < SLOWEST * PATIENCE:
                raise RefusedError(
                    f"{new:,} bytes in {self.waited:.0f} s, expected at least {SLOWEST:,} bytes a second"
                )
            self.mark, self.waited = self.count, 0.0
        return count

    def close(self) -> None:
        self.raw.close()
        super().close()


class Answer(HTTPResponse):
    """An answer of at most `HEAD` bytes until `allow` is called."""

    def __init__(self, sock: socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.paced = _Paced(self.fp.detach())
        self.fp = io.BufferedReader(self.paced)

    def read(self, amt: int | None = None) -> bytes:
        """Return all bytes, or `amt`. Those of a redirection are read whole, and may claim any length."""
        return super().read(HEAD if amt is None else amt)

    def allow(self, size: int) -> None:
        """Allow a file of `size` more bytes, also in small chunks."""
        self.paced.limit = HEAD + 2 * size


class _Plain(HTTPConnection):
    response_class = Answer


class _Safe(HTTPSConnection):
    response_class = Answer


class _Http(r.HTTPHandler):
    def http_open(self, req: r.Request) -> HTTPResponse:
        return self.do_open(_Plain, req)


class _Https(r.HTTPSHandler):
    def https_open(self, req: r.Request) -> HTTPResponse:
        return self.do_open(_Safe, req)


class Redirects(r.HTTPRedirectHandler):
    """Redirections, not from https to http. Other schemes have no handler."""

    def redirect_request(self, req: r.Request, *rest: Any) -> r.Request | None:
        new = super().redirect_request(req, *rest)
        if new is not None and req.type == "https" and new.type != "https":
            raise URLError(f"redirects from https to {new.full_url}, which is not safe")
        return new


def opener() -> r.OpenerDirector:
    """Return an opener for HTTP and HTTPS, with proxies and redirections. urllib's default also follows to ftp:."""
    found = r.OpenerDirector()
    handlers = [r.ProxyHandler(), _Http(), _Https(), r.UnknownHandler(), r.HTTPDefaultErrorHandler(), Redirects()]
    for handler in (*handlers, r.HTTPErrorProcessor()):
        found.add_handler(handler)
    return found


def retry_after(value: str | None) -> float:
    """Return the seconds to wait that a header `Retry-After` asks for, a number or a date; 0 if it asks for none."""
    if re.fullmatch(r"[0-9]+", value or ""):
        return float(str(value)[:10])
    try:
        return max(0.0, parsedate_to_datetime(str(value)).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
