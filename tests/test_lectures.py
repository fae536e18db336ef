"""The lectures in docs/: their blocks of Python print what the page says, and the code beside each draws its images."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.paths import ROOT
from yolo.data.order import torch_chance
from yolo.images.files import read_image

PAGES = {"localizer": "docs.localizer_pictures", "faster-rcnn": "docs.faster_rcnn_pictures"}
"""Page in docs/ -> the module that draws its images."""


def text_of(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


SHORT = """
import importlib, sys
from functools import cache, partial
import torch
torch.linspace = lambda start, end, steps, linspace=torch.linspace, **more: linspace(start, end, min(steps, 21), **more)
page = importlib.import_module(sys.argv.pop(1))
if hasattr(page, "RATIOS"):
    page.boxes_of = partial(page.boxes_of, positives=20, steps=3)
    one_of = cache(lambda level, draw=page.draw_single: draw(page.RandomState(0), level))
    page.draw_single = lambda random, level: one_of(level)
page.main()
"""
"""Draws the images of a page with few points, short trainings and one scene of a level: their size is looked at."""

BLOCKS = [
    (page, *block)
    for page in PAGES
    for block in re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", text_of(page), re.DOTALL)
]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_python_has_its_output(page: str) -> None:
    """So that none of them is left out below."""
    assert sum(own == page for own, _, _ in BLOCKS) == text_of(page).count("```python") > 0


@pytest.mark.parametrize(("page", "code", "output"), BLOCKS)
def test_the_page_has_what_its_code_prints(page: str, code: str, output: str) -> None:
    """Each block runs on its own."""
    printed = StringIO()
    with redirect_stdout(printed), torch_chance(0):
        exec(compile(code, page, "exec"), {"__name__": "page"})
    assert printed.getvalue() == output


@pytest.mark.drawn
@pytest.mark.parametrize("page", PAGES)
def test_the_images_are_those_that_the_code_draws(page: str, tmp_path: Path) -> None:
    """The script draws every image of the page, in the size that the page has, and each is small."""
    warm.run("-c", SHORT, PAGES[page], "--out", tmp_path, cwd=ROOT).check_returncode()
    shown = re.findall(rf"\]\({page}/([\w-]+\.png)\)", text_of(page))
    assert sorted(shown) == sorted(path.name for path in tmp_path.iterdir()) != []
    for name in shown:
        kept = ROOT / "docs" / page / name
        assert read_image(tmp_path / name).shape == read_image(kept).shape
        assert kept.stat().st_size < 150_000
