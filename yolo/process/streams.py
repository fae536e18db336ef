"""Standard output and error of a command: harmless, never too narrow for a character, and allowed to be closed.

No torch.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast

from yolo.files.shown import harmless

BAR = re.compile(r"(?:[\r\n]|\x1b\[A)*\Z|\r")
"""What tqdm writes to place a bar: a carriage return before it, or movements alone."""

COLOURS = re.compile(r"(\x1b\[[\d;]*m)")
"""Colours and weights of letters, as `--help` has them."""

OUTPUT = "standard output"
"""The file name of errors of standard output."""


class Stream:
    """Writes to a text stream what is harmless, line by line. All else is as in the stream.

    Characters that its encoding does not have become codes such as `\\xe9`. `name` is the file name of its errors; a
    stream without name has none, because an error that cannot be printed would stop the work for nothing.
    """

    coloured = False

    def __init__(self, stream: TextIO, name: str = "") -> None:
        self._stream, self.name = stream, name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stream, attribute)

    def write(self, text: str) -> int:
        """Write a text, and all that was written so far if it ends a line. Returns its length."""
        mark = BAR.match(text)
        start = mark.end() if mark else 0
        parts = COLOURS.split(text[start:]) if self.coloured else [text[start:]]
        shown = text[:start] + "".join(part if k % 2 else harmless(part) for k, part in enumerate(parts))
        with self._own_errors():
            try:
                self._stream.write(shown)
            except UnicodeEncodeError as problem:
                self._stream.write(shown.encode(problem.encoding, "backslashreplace").decode(problem.encoding))
            if text.endswith("\n"):
                self._stream.flush()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write all that was written so far."""
        with self._own_errors():
            self._stream.flush()

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Name the stream in its errors within the block, or drop them. What it still holds is dropped as well."""
        try:
            yield
        except (OSError, ValueError) as problem:  # ValueError: it was closed by the program
            with suppress(OSError, ValueError):  # or Python would try again at its end, with a traceback
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
            if self.name and isinstance(problem, OSError):
                raise type(problem)(problem.errno, problem.strerror, self.name) from None


@contextmanager
def standard_streams() -> Iterator[None]:
    """Within the block, standard output and error are `Stream`s. One that is closed is None and becomes /dev/null."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        out, error = Stream(sys.stdout or nowhere, OUTPUT), Stream(sys.stderr or nowhere)
        with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, error)):
            try:
                yield
            finally:
                with suppress(OSError):
                    out.flush()


@contextmanager
def coloured() -> Iterator[None]:
    """Let colours through within the block."""
    Stream.coloured = True
    try:
        yield
    finally:
        Stream.coloured = False


def open_closed() -> None:
    """Open /dev/null in place of closed standard streams: a file that gets their number would get what they print."""
    with suppress(OSError, io.UnsupportedOperation):
        while (number := os.open(os.devnull, os.O_RDWR)) < 3:
            pass
        os.close(number)
