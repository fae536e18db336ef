"""What a check says: a line with its verdict, and all of them as text and json. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

Verdict = Literal["PASS", "WARN", "FAIL", "SKIP"]

WIDTH = 16
"""Characters of the longest name of a check, for the columns of the text."""

Row = tuple[object, Verdict, str, str]
"""A condition, and what is said if it is true: verdict, sentence, remedy."""


class Line(NamedTuple):
    """What one check says."""

    verdict: Verdict
    """FAIL: the training cannot succeed. WARN: it may fall short. PASS: nothing is wrong. SKIP: not checked."""
    check: str
    """Name of the check, such as "round trip"; the same for the same cause."""
    sentence: str
    """What was found, with the numbers."""
    remedy: str = ""
    """What to do about it; empty for PASS."""


def judged(check: str, well: str, rows: Iterable[Row]) -> Line:
    """Return the line of a check: that of the first row whose condition is true, else a PASS with the sentence `well`.

    All rows are made before one is chosen, so their sentences must exist whatever is true.
    """
    return next((Line(verdict, check, *words) for true, verdict, *words in rows if true), Line("PASS", check, well))


def as_text(lines: Sequence[Line]) -> str:
    """Return the lines as text."""
    margin = f"\n{'':{WIDTH + 8}}"
    rows = []
    for verdict, check, sentence, remedy in lines:
        text = f"{sentence}\n-> {remedy}" if remedy else sentence
        rows.append(f"{verdict}  {check:{WIDTH}}  {text.replace(chr(10), margin)}")
    return "\n".join(rows)


def as_json(lines: Sequence[Line]) -> dict[str, Any]:
    """Return the lines for check.json."""
    return {"verdict": worst(lines), "checks": [line._asdict() for line in lines]}


def counts(lines: Sequence[Line]) -> str:
    """Return how many lines have each verdict, in words."""
    found = Counter(line.verdict for line in lines)
    return ", ".join(f"{found[verdict]} {verdict}" for verdict in ("PASS", "WARN", "FAIL", "SKIP") if found[verdict])


def worst(lines: Sequence[Line]) -> Verdict:
    """Return the worst verdict of the lines: FAIL, WARN or PASS."""
    found = {line.verdict for line in lines}
    return "FAIL" if "FAIL" in found else "WARN" if "WARN" in found else "PASS"
