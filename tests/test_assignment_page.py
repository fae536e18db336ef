"""docs/assignment.md has the output of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import warm
from yolo.images.files import read_image

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.drawn
def test_the_page_holds_the_table_that_the_code_prints(tmp_path: Path) -> None:
    """The script draws its image and prints the table of the page."""
    image = tmp_path / "assignment.png"
    done = warm.run("-m", "docs.assignment", "--out", image, cwd=DOCS.parent)
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    assert printed.strip() in (DOCS / "assignment.md").read_text(encoding="utf-8")
    assert read_image(image).shape == read_image(DOCS / "assignment.png").shape
