"""Text of others on a terminal: what would steer the terminal is shown instead. No torch.

File names, class names and texts of servers can hold escape sequences, which move the cursor, hide text or rename the
window, marks that turn the direction of writing, and bytes that are not text.
"""

from __future__ import annotations

import re

_STEERING = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters but tab and line feed, marks of direction, separators of lines, halves of surrogate pairs."""

_HARMFUL = re.compile(f"[{_STEERING}]")
_BREAKING = re.compile(f"[{_STEERING}\t\n]")


def harmless(text: str) -> str:
    r"""Return the text with `\x1b` in place of an escape character, and alike for all that steers a terminal.

    Line feeds and tabs stay.
    """
    return _HARMFUL.sub(_code, text)


def one_line(text: object) -> str:
    r"""Return the text of a name as `harmless` does, in one line: `\n` in place of a line feed."""
    return _BREAKING.sub(_code, str(text))


def _code(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
