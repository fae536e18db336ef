"""Where the tests find the project's own files."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""

GOLDEN = ROOT / "tests" / "golden"
"""What the original darknet computed, in small."""
