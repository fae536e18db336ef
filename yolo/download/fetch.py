"""Downloads that arrive whole or not at all: resumed, retried, checked, one process at a time. No torch.

Beside the target, `TARGET.part` keeps what has arrived so far, and `TARGET.part.from` where it came from.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from yolo.download.partial import Check, Checksum, Partial, Wanted, own_partial

if TYPE_CHECKING:  # both take a while to import
    from http.client import HTTPResponse
    from urllib.request import OpenerDirector

log = logging.getLogger("yolo")

CHUNK = 2**18  # bytes that are read at once, at most

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each further attempt at one address

GAIN = 2**20  # after an attempt that brought so many bytes the pauses start over


class DownloadError(OSError):
    """No address gave the file; the message lists each with its reason."""


class _AttemptError(Exception):
    """Why an attempt failed. `again`: another one at the same address may succeed."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


def fetch(
    urls: Sequence[str],
    target: Path,
    *,
    size: int | None = None,
    checksum: Checksum | None = None,
    check: Check | None = None,
    progress: bool | None = None,
    timeout: float = 20,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """`target`, downloaded from the first of `urls` that gives it, unless it is there already.

    A file gets that name when it is whole, `size` bytes long, has this `checksum` and passes this `check`; one that has
    the name but not these is replaced. A broken connection is resumed, by this call or a later one, if the server's
    ETag or date, or else the checksum, tells whether the pieces belong together. Where neither checksum nor check is
    given, that is said aloud.

    Args:
        urls: http:// or https:// addresses of the same file, in the order in which they are tried.
        check: what is wrong with the content of a whole file, None if nothing is; for files without known checksum.
        progress: a bar on stderr; by default only where stderr is a terminal.
        timeout: seconds for which a server may be silent.
        sleep: called with the seconds to wait before another attempt.

    Raises ValueError for an address of another kind; DownloadError if none gives the file; OSError if it cannot be
    written, such as on a full disk. What has arrived is kept then.
    """
    for url in urls:
        if not re.fullmatch(r"https?://[!-~]+", url):
            raise ValueError(f"{url!r}: cannot be downloaded; expected http:// or https://, ASCII without blanks")
    if target.is_dir():
        raise IsADirectoryError(f"{target}: is a folder; expected the name of the file to write")
    wanted = Wanted(size, checksum, check)
    if target.exists() and not wanted.mismatch(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with own_partial(target) as partial:
        if target.exists():  # another process was faster, or it is a different file
            if not (problem := wanted.mismatch(target)):
                return target
            log.warning("%s: %s; it will be replaced", target, problem)
        _Download(target.name, partial, wanted, progress, timeout, sleep).from_any(urls)
        partial.become(target)
    if checksum is None and check is None:
        log.warning("%s: %s, no checksum is known", target, "not checked" if size is None else "checked by size only")
    return target


@dataclass(frozen=True)
class _Download:
    """One call of `fetch`, while it owns the partial file."""

    name: str
    partial: Partial
    wanted: Wanted
    progress: bool | None
    timeout: float
    sleep: Callable[[float], None]

    def from_any(self, urls: Sequence[str]) -> None:
        """Fills the partial file from the first address that can."""
        if self.partial.is_whole(self.wanted):
            return
        reasons = []
        for url in urls:
            if (reason := self.from_one(url)) is None:
                return
            reasons.append(f"\n  {url}: {reason}")
        where = "".join(reasons) or " no address is known"
        stays = self.partial.locked and self.partial.size
        kept = f"\n  {self.partial.size:,} bytes are kept in {self.partial.path}" if stays else ""
        raise DownloadError(f"{self.name} could not be downloaded:{where}{kept}")

    def from_one(self, url: str) -> str | None:
        """Fills the partial file from `url`, in several attempts where that helps; else the reason of the last."""
        attempts, pauses, furthest = 0, 0, self.partial.size
        while True:
            attempts += 1
            try:
                with self.ask(url, first=attempts == 1) as response:
                    self.receive(response, url)
                return None
            except _AttemptError as error:
                reason = str(error)
                if not error.again:
                    return reason
            if self.partial.size >= furthest + GAIN:
                pauses, furthest = 0, self.partial.size
            if pauses == len(PAUSES):
                return f"{reason} ({attempts} attempts)"
            log.warning("%s: %s; trying again", url, reason)
            self.sleep(PAUSES[pauses])
            pauses += 1

    def ask(self, url: str, *, first: bool) -> HTTPResponse:
        """The server's answer to a request for the missing bytes; for all, if nothing tells whether they would fit."""
        from http.client import HTTPException
        from urllib.error import HTTPError, URLError
        from urllib.request import Request

        headers = {"User-Agent": "exact-yolov3"}
        validator = self.partial.validator(url)
        if self.partial.size and (validator or self.wanted.checksum):
            headers |= {"Range": f"bytes={self.partial.size}-"} | ({"If-Range": validator} if validator else {})
        try:
            return cast("HTTPResponse", _opener().open(Request(url, headers=headers), timeout=self.timeout))
        except HTTPError as error:
            error.close()
            if error.code == 416:  # the server's file is not longer than what we have
                self.partial.restart()
            again = error.code >= 500 or error.code in (408, 416, 429)
            raise _AttemptError(f"HTTP {error.code} {error.reason}", again=again) from None
        except URLError as error:  # no connection; after an earlier one, it may come back
            raise _AttemptError(str(error.reason), again=not first) from None
        except (OSError, HTTPException, ValueError) as error:
            raise _AttemptError(f"{type(error).__name__}: {error}", again=isinstance(error, OSError)) from None

    def receive(self, response: HTTPResponse, url: str) -> None:
        """The answer's bytes, appended to the partial file, which is whole and right at the end."""
        from http.client import HTTPException

        from tqdm import tqdm

        total = self.start(response, url)
        resumed = count = self.partial.size
        hidden = None if self.progress is None else not self.progress
        bar = tqdm(desc=self.name, total=total, initial=resumed, unit="B", unit_scale=True, disable=hidden)
        with bar:
            while True:
                try:
                    data = response.read1(CHUNK)
                except (OSError, HTTPException) as error:
                    if count == total:  # only the end was not said
                        break
                    raise _AttemptError(f"broke off after {count:,} bytes: {error}", again=True) from None
                if not data:
                    break
                count += len(data)
                if total is not None and count > total:
                    self.partial.restart()
                    raise _AttemptError(f"more than the expected {total:,} bytes", again=resumed > 0)
                self.partial.append(data)
                bar.update(len(data))
        if total is not None and count < total:
            raise _AttemptError(f"broke off after {count:,} of {total:,} bytes", again=True)
        if problem := self.wanted.mismatch(self.partial.path):
            self.partial.restart()  # if there was an earlier piece, it may be that one which is wrong
            raise _AttemptError(f"a different file, {problem}", again=resumed > 0)

    def start(self, response: HTTPResponse, url: str) -> int | None:
        """Makes the partial file what the answer continues; the size of the whole file, if known."""
        if response.status not in (200, 206):
            raise _AttemptError(f"HTTP {response.status} {response.reason}", again=False)
        total = response.length
        validator = response.headers["ETag"] or ""
        if not validator.startswith('"'):  # If-Range takes no weak ones, W/"..."
            validator = response.headers["Last-Modified"]
        if response.status == 206:
            place = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers["Content-Range"] or "")
            before = self.partial.validator(url)
            if not place or int(place[1]) != self.partial.size or (before and validator and before != validator):
                self.partial.restart()
                raise _AttemptError("the answer does not continue what has arrived so far", again=True)
            total = None if place[2] == "*" else int(place[2])
        size = self.wanted.size
        if size is not None and total not in (None, size):
            raise _AttemptError(f"a different file, {total:,} bytes, expected {size:,}", again=False)
        if response.status == 200:
            self.partial.restart(url, validator)
        return total if size is None else size


def _opener() -> OpenerDirector:
    """HTTP and HTTPS, with proxies and redirections; urllib's own opener would follow one to ftp: too."""
    from urllib import request as r

    handlers = [r.ProxyHandler(), r.HTTPHandler(), r.HTTPSHandler(), r.UnknownHandler()]
    handlers += [r.HTTPDefaultErrorHandler(), r.HTTPRedirectHandler(), r.HTTPErrorProcessor()]
    opener = r.OpenerDirector()
    for handler in handlers:
        opener.add_handler(handler)
    return opener


@dataclass(frozen=True)
class OfficialFile:
    """A published file: the `name` by which it is asked for, its file name, its addresses in the order in which they
    are tried, its size in bytes and its checksum, if they are known."""

    name: str
    file: str
    urls: tuple[str, ...]
    size: int | None = None
    checksum: Checksum | None = None


def cache_folder() -> Path:
    """Where downloads go: `$EXACT_YOLOV3_CACHE`, else `exact-yolov3` in the user's cache folder. It need not exist."""
    if chosen := os.environ.get("EXACT_YOLOV3_CACHE"):
        return Path(chosen).expanduser()
    windows = sys.platform == "win32"
    folder = Path(os.environ.get("LOCALAPPDATA" if windows else "XDG_CACHE_HOME", ""))
    if not folder.is_absolute():  # unset, or relative, which the XDG specification wants ignored
        folder = Path.home() / ("AppData/Local" if windows else ".cache")
    return folder / "exact-yolov3"
