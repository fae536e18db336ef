"""docs/assignment.md has the output of the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from yolo.images.files import read_image

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_holds_the_table_that_the_code_prints(tmp_path: Path) -> None:
    """The script draws its image and prints the table of the page."""
    image = tmp_path / "assignment.png"
    command = [sys.executable, "-m", "docs.assignment", "--out", str(image)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=DOCS.parent).stdout
    assert printed.strip() in (DOCS / "assignment.md").read_text(encoding="utf-8")
    assert read_image(image).shape == read_image(DOCS / "assignment.png").shape
