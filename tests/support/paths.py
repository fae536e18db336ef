"""Where the tests find the project's own files."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""

GOLDEN = ROOT / "tests" / "golden"
"""What the original darknet computed, in small."""


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a child process that imports this checkout, and what this process finds."""
    found = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": found, **more}
