"""docs/faster-rcnn.md: its blocks of Python print what the page says, and the code beside it draws its image."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from yolo.images.files import read_image

PAGE = ROOT / "docs" / "faster-rcnn.md"

BLOCKS = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_block_of_python_has_its_output() -> None:
    """So that none of them is left out below."""
    assert len(BLOCKS) == PAGE.read_text(encoding="utf-8").count("```python") > 0


@pytest.mark.parametrize(("code", "output"), BLOCKS)
def test_the_page_has_what_its_code_prints(code: str, output: str) -> None:
    """Each block runs on its own."""
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), {"__name__": "page"})
    assert printed.getvalue() == output


def test_the_image_is_the_one_that_the_code_draws(tmp_path: Path) -> None:
    """In the size that the page has, and it is small."""
    subprocess.run([sys.executable, "-m", "docs.faster_rcnn_pictures", "--out", str(tmp_path)], check=True, cwd=ROOT)
    shown = re.findall(r"\]\(faster-rcnn/([\w-]+\.png)\)", PAGE.read_text(encoding="utf-8"))
    assert shown == [path.name for path in tmp_path.iterdir()]
    kept = PAGE.with_suffix("") / shown[0]
    assert read_image(tmp_path / shown[0]).shape == read_image(kept).shape
    assert kept.stat().st_size < 150_000
