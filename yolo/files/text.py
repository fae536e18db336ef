"""Text files of any origin: their encoding, their lines. No torch.

Files of labels and names come from every system. UTF-8, and UTF-16 and UTF-32 by their byte order mark, are certain.
Other bytes are taken for Windows-1252, which includes Latin-1, only where they can hardly be anything else: letters
with accents between plain ones. The rest is an error, because a wrong guess would be a wrong class name.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from yolo.files.reading import read_bytes

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks and their encodings; UTF-32's comes before UTF-16's, which it begins with."""

WITHOUT_MARK = ((rb"(?:[\x01-\x7f]\0){2}", "utf-16-le"), (rb"(?:\0[\x01-\x7f]){2}", "utf-16-be"))
"""How UTF-16 begins where it has no mark: plain letters with a zero after or before each."""

WESTERN = re.compile(
    rb"(?:[\x00-\x7f]+"  # plain
    rb"|[\xc0-\xd6\xd8-\xde](?![\x80-\xff])"  # a capital letter such as \xc4
    rb"|(?<![\x80-\xff])[\xdf-\xf6\xf8-\xff]{1,2}(?![\x80-\xff])"  # a small letter such as \xfc, or two
    rb"|(?<=[ -~])[\xa0\xb0\xb2\xb3\xb5\x8a\x8c\x8e\x92\x96\x97\x9a\x9c\x9e](?![\x80-\xff])"  # \x92 is an apostrophe
    rb")*+"
)

PROBE = bytes(range(32, 92)) + rb"_abcxyz{|}~ \u0041 +AEE-" + b"\n"
"""Plain letters, which an encoding of text leaves as they are; ones that only Python has read escapes in them."""

ENDS = re.compile(r"\r\n|\r|\n")


def read_text(path: str | Path) -> str:
    """Return the content of a text file. Raises ValueError as `decoded`, OSError if it cannot be read."""
    return decoded(read_bytes(path), path)


def decoded(data: bytes, path: str | Path, declared: str = "") -> str:
    """Return the text of a file's bytes, without byte order mark.

    Args:
        data: the bytes.
        path: the file, for messages.
        declared: the encoding that the file itself names, if it does.

    Raises ValueError, with the file and what was tried, if no encoding fits.
    """
    tried, first = [], data.find(0)
    for encoding in _candidates(data, declared):
        tried.append(encoding)
        if encoding == declared.lower() and not _is_of_text(encoding):
            continue
        try:
            text = data.decode(encoding)
        except UnicodeError as problem:
            first = getattr(problem, "start", first)
        else:
            if "\0" not in text:
                return text
    encodings = " or ".join(dict.fromkeys(tried))
    raise ValueError(
        f"{path}: not a text file (byte {first}), at least not in {encodings}; if it is one, save it as UTF-8"
    )


def _candidates(data: bytes, declared: str) -> Iterator[str]:
    """Yield the encodings to try, the most certain one first."""
    marked = next((name for mark, name in MARKS.items() if data.startswith(mark)), "")
    marked = marked or next((name for start, name in WITHOUT_MARK if re.match(start, data)), "")
    yield marked or "utf-8"
    if not marked:
        if declared:
            yield declared.lower()
        if WESTERN.fullmatch(data):
            yield "windows-1252"


def _is_of_text(encoding: str) -> bool:
    """Return whether Python knows an encoding of this name, and it is one of text."""
    try:
        return PROBE.decode(encoding) == PROBE.decode("ascii")
    except (LookupError, UnicodeError):
        return False


def lines_of(text: str) -> list[str]:
    """Return the lines of a text. Only line feeds and carriage returns end one.

    `str.splitlines` would also split at separators such as U+2028, which label tools keep inside names.
    """
    return ENDS.split(text)
