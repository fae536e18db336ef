"""Text of others steers no terminal."""

from __future__ import annotations

import pytest

from yolo.shown import harmless, one_line


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
