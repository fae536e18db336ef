"""Text of others steers no terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from yolo.commands.detect_lines import Times, VideoLines, image_lines
from yolo.files.shown import harmless, one_line
from yolo.images.sources import Shot, Source
from yolo.models.found import Found
from yolo.size import Size


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("person\tÄpfel\n猫 ñ \u200d🙂", "person\tÄpfel\n猫 ñ \u200d🙂"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb\x08c\x7f\x00\x9b31m", "a\\rb\\x08c\\x7f\\x00\\x9b31m"),
        ("gpj.\u202eexe\u2066\u200f\u061c", "gpj.\\u202eexe\\u2066\\u200f\\u061c"),
        ("one\u2028two\u2029\x85", "one\\u2028two\\u2029\\x85"),
        ("\udcff.jpg", "\\udcff.jpg"),  # a byte of a file name that is not text
    ],
)
def test_what_steers_is_shown(text: str, shown: str) -> None:
    """Letters of every script stay; the result is the same when it is shown again."""
    assert harmless(text) == shown
    assert harmless(shown) == shown
    harmless(text).encode("utf-8")


def test_a_name_is_one_line() -> None:
    """Line feeds and tabs of a name are codes too."""
    assert one_line("red\ncar\t1\x1b[A") == "red\\ncar\\t1\\x1b[A"


NAME = "red\ncar\x1b[2J"
SAFE = "red\\ncar\\x1b[2J"


def test_an_entry_is_one_line() -> None:
    """Names of classes and files in what `detect` and `show-data` print, and in the text of a result in Python."""
    boxes, scores, labels = torch.zeros(1, 4), torch.full((1,), 0.5), torch.zeros(1, dtype=torch.int64)
    found = Found(boxes, scores, labels, names=[NAME], size=Size(4, 4), name=f"{NAME}.jpg")
    printed: list[str] = []
    source = Source(f"{NAME}.mp4", Path(f"{NAME}.mp4"))
    with VideoLines(source, [NAME], printed.append) as video:
        video.add(Shot("a", None, None), found)
    shot = Shot(f"{NAME}.jpg", Path(f"{NAME}.jpg"), None)
    for text, entries, named in (
        (repr(found), 2, 2),
        (image_lines(shot, found, [NAME], Times(1, 1, 1)), 2, 2),
        ("\n".join(printed), 1, 2),
    ):
        assert text.count("\n") == entries - 1
        assert text.count(SAFE) == named
        assert "\x1b" not in text
