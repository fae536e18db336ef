"""Downloads that arrive complete or not at all: resumed, retried, checked, by one process at a time. No torch.

While a download is incomplete, `TARGET.part` beside the target holds its bytes, and `TARGET.part.from` their source.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from yolo.download.partial import Check, Partial, Wanted, own_partial
from yolo.files.disk import need_room
from yolo.files.shown import one_line

if TYPE_CHECKING:  # takes a while to import
    from yolo.download.connection import Answer

log = logging.getLogger("yolo")

CHUNK = 2**18  # the most bytes that are read at once

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each further attempt at one address

GAIN = 2**20  # after this many new bytes the pauses start again from the first

LONGEST = 300.0  # seconds that a server may ask for before another attempt

LARGEST = 2**32
"""Bytes of a file of unknown size at most; the largest known one has 2 GB."""


class DownloadError(OSError):
    """No address gave the file. The message lists each address with its reason."""


class _AttemptError(Exception):
    """Why an attempt failed. With `again`, another attempt at the same address may succeed, after `wait` seconds."""

    def __init__(self, reason: str, *, again: bool, wait: float = 0) -> None:
        line = one_line(" ".join(reason.split()))  # a server may have chosen the words
        super().__init__(line if len(line) <= 300 else f"{line[:297]}...")
        self.again, self.wait = again, wait


def fetch(
    urls: Sequence[str],
    target: Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    check: Check | None = None,
    limit: int = LARGEST,
    progress: bool | None = None,
    timeout: float = 20,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Download `target` from the first of `urls` that gives it, unless it is there already. Returns `target`.

    The file gets its name only when it is complete and passes all checks. An existing file that fails them is
    replaced. A broken download is resumed, by this call or a later one, if the server's ETag or date, or else the
    checksum, tells whether the pieces belong together. A warning is logged if there is neither checksum nor check.

    Args:
        urls: http:// or https:// addresses of the same file, in the order in which they are tried.
        size: the size of the file in bytes, if known.
        checksum: its SHA-256, SHA-1 or MD5 in hexadecimal, if known.
        check: returns what is wrong with a complete file, None if nothing is. For files without a known checksum.
        limit: the most bytes, if the size is unknown.
        progress: whether to show a bar on stderr. The default shows one if stderr is a terminal.
        timeout: the number of seconds for which a server may be silent. One that never is, and sends fewer than 1,000
            bytes a second over a minute, is given up.
        sleep: called with the number of seconds to wait before another attempt.

    Raises ValueError for an address of another kind, DownloadError if no address gives the file, and OSError if it
    cannot be written, for example on a full disk. In both last cases the bytes that arrived are kept.
    """
    for url in urls:
        check_address(url)
    if target.is_dir():
        raise IsADirectoryError(f"{target}: is a folder; expected the name of the file to write")
    if target.exists() and not target.is_file():  # a pipe would be waited for
        raise OSError(f"{target}: is not a file; expected the name of the file to write")
    # A file that is right needs neither a lock nor a connection.
    wanted = Wanted(size, checksum, check)
    if target.exists() and not wanted.mismatch(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with own_partial(target) as partial:
        # Look again: another process may have finished the file while this one waited.
        if target.exists():
            if not (problem := wanted.mismatch(target)):
                return target
            log.warning("%s: %s; it will be replaced", target, problem)
        _Download(target.name, partial, wanted, limit, progress, timeout, sleep).try_all(urls)
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
    limit: int
    progress: bool | None
    timeout: float
    sleep: Callable[[float], None]

    def try_all(self, urls: Sequence[str]) -> None:
        """Complete the partial file from the first address that can. Raises DownloadError if none can."""
        if self.partial.is_whole(self.wanted):
            return
        reasons = []
        for url in urls:
            if (reason := self.try_one(url)) is None:
                return
            reasons.append(f"\n  {url}: {reason}")
        where = "".join(reasons) or " no address is known"
        stays = self.partial.locked and self.partial.size
        kept = f"\n  {self.partial.size:,} bytes are kept in {self.partial.path}" if stays else ""
        raise DownloadError(f"{self.name} could not be downloaded:{where}{kept}")

    def try_one(self, url: str) -> str | None:
        """Complete the partial file from `url`, in several attempts if necessary. Returns why the last one failed."""
        attempts = 0
        pauses = 0
        furthest = self.partial.size
        while True:
            attempts += 1
            try:
                with self.ask(url, first=attempts == 1) as response:
                    self.receive(response, url)
                return None
            except _AttemptError as error:
                reason, wait = str(error), error.wait
                if not error.again:
                    return reason
            # A long download over a bad line may take any number of attempts, as long as each brings it further.
            if self.partial.size >= furthest + GAIN:
                pauses, furthest = 0, self.partial.size
            if pauses == len(PAUSES):
                return f"{reason} ({attempts} attempts)"
            pause = max(PAUSES[pauses], wait)
            log.warning("%s: %s; trying again in %g s", url, reason, round(pause, 1))
            self.sleep(pause)
            pauses += 1

    def ask(self, url: str, *, first: bool) -> Answer:
        """Request the missing bytes, or all bytes if nothing tells whether the missing ones would fit.

        Returns the server's answer. Raises _AttemptError if there is none, or an error.
        """
        from http.client import HTTPException
        from urllib.error import HTTPError, URLError
        from urllib.request import Request

        from yolo.download.connection import opener, retry_after

        headers = {"User-Agent": "exact-yolov3"}
        validator = self.partial.validator(url)
        # With If-Range the server sends the whole file if it has changed. Without it, the checksum has to decide.
        if self.partial.size and (validator or self.wanted.checksum):
            headers |= {"Range": f"bytes={self.partial.size}-"} | ({"If-Range": validator} if validator else {})
        try:
            return cast("Answer", opener().open(Request(url, headers=headers), timeout=self.timeout))
        except HTTPError as error:
            error.close()
            if error.code == 416:  # the server's file is not longer than the partial one
                self.partial.restart()
            again = error.code >= 500 or error.code in (408, 416, 429)
            wait = retry_after(error.headers["Retry-After"]) if again else 0.0
            reason = f"HTTP {error.code} {error.reason}"
            if wait > LONGEST:
                reason = f"the server asks to wait for {wait / 60:,.0f} minutes, come back then; {reason}"
            raise _AttemptError(reason, again=again and wait <= LONGEST, wait=wait) from None
        except URLError as error:  # no connection: if there was one before, it may come back
            raise _AttemptError(str(error.reason), again=not first) from None
        except (OSError, HTTPException, ValueError, OverflowError) as error:
            raise _AttemptError(f"{type(error).__name__}: {error}", again=isinstance(error, OSError)) from None

    def receive(self, response: Answer, url: str) -> None:
        """Append the bytes of the answer to the partial file, and check the complete file.

        Raises _AttemptError if bytes are missing, or the file is not the wanted one.
        """
        from http.client import HTTPException

        from tqdm import tqdm

        from yolo.download.connection import RefusedError

        total = self.start(response, url)
        resumed = count = self.partial.size
        most = self.limit if total is None else total
        response.allow(most)
        hidden = None if self.progress is None else not self.progress
        bar = tqdm(desc=self.name, total=total, initial=resumed, unit="B", unit_scale=True, disable=hidden)
        with bar:
            while True:
                try:
                    data = response.read1(CHUNK)
                except (OSError, HTTPException, ValueError, OverflowError) as error:
                    if count == total:  # all bytes arrived, only the end of the connection was not clean
                        break
                    again = not isinstance(error, RefusedError)
                    raise _AttemptError(f"broke off after {count:,} bytes: {error}", again=again) from None
                if not data:
                    break
                count += len(data)
                if count > most:
                    self.partial.restart()
                    raise _AttemptError(f"more than the expected {most:,} bytes", again=resumed > 0)
                self.partial.append(data)
                bar.update(len(data))
        # The connection has ended: are these all bytes, and the right ones?
        if total is not None and count < total:
            raise _AttemptError(f"broke off after {count:,} of {total:,} bytes", again=True)
        if problem := self.wanted.mismatch(self.partial.path):
            self.partial.restart()  # the fault may lie in an earlier piece: then a whole file may be right
            raise _AttemptError(f"a different file, {problem}", again=resumed > 0)

    def start(self, response: Answer, url: str) -> int | None:
        """Prepare the partial file for the bytes of this answer. Returns the size of the complete file, or None.

        Raises _AttemptError if the answer does not continue the partial file, or belongs to a file of another size;
        OSError if the disk has no room for it.
        """
        if response.status not in (200, 206):
            raise _AttemptError(f"HTTP {response.status} {response.reason}", again=False)
        if (encoding := response.headers["Content-Encoding"] or "identity").strip().lower() != "identity":
            raise _AttemptError(f"sends the file encoded ({encoding}), which was not asked for", again=False)
        total = response.length
        validator = response.headers["ETag"] or ""
        if not validator.startswith('"'):  # If-Range does not take weak tags, W/"..."
            validator = response.headers["Last-Modified"]
        # 206 continues at the requested byte, 200 is the whole file.
        if response.status == 206:
            place = re.fullmatch(
                r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", response.headers["Content-Range"] or ""
            )
            before = self.partial.validator(url)
            if not place or int(place[1]) != self.partial.size or (before and validator and before != validator):
                self.partial.restart()
                raise _AttemptError("the answer does not continue what has arrived so far", again=True)
            total = None if place[2] == "*" else int(place[2])
        size = self.wanted.size
        if size is not None and total not in (None, size):
            raise _AttemptError(f"a different file, {total:,} bytes, expected {size:,}", again=False)
        if total is not None and size is None and total > self.limit:
            raise _AttemptError(f"{total:,} bytes, expected at most {self.limit:,}", again=False)
        if response.status == 200:
            self.partial.restart(url, validator)
        if total is not None:
            need_room(self.partial.path, total - self.partial.size, self.name, "make room and start again")
        return total if size is None else size


def check_address(url: str) -> None:
    """Raise ValueError for an address that is not one of HTTP."""
    if not re.fullmatch(r"https?://[!-~]+", url):
        raise ValueError(f"{url!r}: cannot be downloaded; expected http:// or https://, ASCII without blanks")


@dataclass(frozen=True)
class OfficialFile:
    """A published file.

    `file` is its name, `urls` are its addresses in the order in which they are tried. `size` (bytes) and `checksum`
    (hexadecimal) are None if unknown. `limit` is the most bytes then.
    """

    file: str
    urls: tuple[str, ...]
    size: int | None = None
    checksum: str | None = None
    limit: int = LARGEST
