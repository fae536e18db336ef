"""Pages: whatever the names of classes and files are, they are shown and change nothing else."""

from __future__ import annotations

import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo.document import (
    bullets,
    code,
    heading,
    illustration,
    paragraph,
    table,
    warning,
    write_html,
    write_markdown,
)
from yolo.images.files import write_image

ODD = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&amp;", "&lt;b&gt;", "a|b", "`code`",
    "[a](javascript:x)", "![a](b.png)", "<https://a.example>", "**bold**", "__init__", "# title", "- item",
    "1. item", "+ item", "> quote", "---", "===", "~~~", "```", "```\n<b>x</b>", "a\nb", "a\r<b>", "a\r\rb",
    "\x02\x03amp\x02", "\\", "\\`", '" onload="x', "'", "a\u2028b", "\x1b[31m", "[a]: http://b.example",
    "    indented", "\tindented", "{: onclick=x}", "a\\|b", "||", '" src="x.png', "*[HTML]: x", "a  \n",
    "::: x", "\x00", "a\vb\fc", "\udcff.png", "a\n```\n<b>x</b>\n````\n<b>",
]  # fmt: skip


class Page(HTMLParser):
    """Collects tags, their attributes and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.texts: list[str] = []
        self.alts: list[str | None] = []
        self.feed(html.partition("<body>")[2])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag with the names of its attributes."""
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        if tag == "img":
            self.alts.append(dict(attrs)["alt"])

    def handle_data(self, data: str) -> None:
        """Note the text."""
        self.texts.append(data)


def page(name: str, folder: Path) -> Page:
    """Return a page of every kind of block with a name in it."""
    write_image(folder / "image.png", np.zeros((1, 1, 3), np.uint8))
    blocks = [
        heading(1, name), paragraph(name), bullets([name, name]), warning(name), table([name, "b"], [[name, name]]),
        table(["a"], [[name]]), illustration("image.png", name), code(f"key: {name}"), paragraph("end"),
    ]  # fmt: skip
    write_markdown(folder / "page.md", blocks)
    write_html(folder / "page.html", name, blocks)
    return Page((folder / "page.html").read_text(encoding="utf-8"))


def plain(text: str) -> str:
    """Return a text as a page may show it: spaces are one, and control characters are nothing."""
    return " ".join(
        "".join(" " if unicodedata.category(c)[0] == "C" else c for c in text.replace("\ufffd", " ")).split()
    )


def check(name: str, folder: Path) -> None:
    """The structure is that of a harmless name, and the name is what is shown."""
    expected, found = page("name", folder), page(name, folder)
    assert found.tags == expected.tags
    shown = [plain(text) for text in found.texts if plain(text)]
    assert shown[-1] == "end"
    whole = plain(" ".join(shown))
    assert plain(found.alts[0] or "") == plain(name)
    assert whole.count(plain(name)) >= 8


@pytest.mark.parametrize("name", ODD)
def test_odd_names(name: str, tmp_path: Path) -> None:
    """Those that mean something in Markdown or HTML."""
    if plain(name):
        check(name, tmp_path)


@settings(max_examples=60)
@given(st.text(st.sampled_from("<>&\"'`*_[]()|#\\-+.!~={}:1ab \n\r\t\x02\x03\u2028"), min_size=1, max_size=12))
def test_any_name(name: str) -> None:
    """Random ones of the same characters."""
    if plain(name):
        with TemporaryDirectory() as folder:
            check(name, Path(folder))


def test_an_image_with_an_odd_name(tmp_path: Path) -> None:
    """Its file is found, in the page and beside the Markdown."""
    name = 'a "b" #1 50% (c) [d].png'
    write_image(tmp_path / name, np.zeros((1, 1, 3), np.uint8))
    write_html(tmp_path / "page.html", "t", [illustration(name, "about")])
    write_markdown(tmp_path / "page.md", [illustration(name, "about")])
    assert Page((tmp_path / "page.html").read_text()).alts == ["about"]
    assert "data:image/png;base64,iVBOR" in (tmp_path / "page.html").read_text()
    assert (tmp_path / "page.md").read_text() == "![about](a%20%22b%22%20%231%2050%25%20%28c%29%20%5Bd%5D.png)\n"
