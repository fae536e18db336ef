"""A page of headings, text, tables and images, written as one HTML file that needs no network, and as Markdown.

Every word is escaped: names may hold what HTML or Markdown would read as its own.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from yolo.atomic import replacing


class Heading(NamedTuple):
    """A heading of level 1 to 4."""

    level: int
    text: str


class Text(NamedTuple):
    """A paragraph; a `warning` stands out."""

    text: str
    warning: bool = False


class Items(NamedTuple):
    """A list of sentences."""

    texts: Sequence[str]


class Table(NamedTuple):
    """Rows of cells under a header; `numbers` are the columns that stand right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: range = range(0)


class Code(NamedTuple):
    """Lines as they are."""

    text: str


class Illustration(NamedTuple):
    """A PNG file in the folder of the page, and what is on it in words."""

    name: str
    about: str


Block = Heading | Text | Items | Table | Code | Illustration

STYLE = """
body { font: 15px/1.45 system-ui, "Helvetica Neue", Arial, sans-serif; color: #1e1e1e; background: #fff;
       max-width: 1100px; margin: 0 auto; padding: 16px 24px 64px; overflow-wrap: anywhere; }
h1 { font-size: 27px; } h2 { font-size: 21px; border-bottom: 1px solid #bbb; padding-bottom: 4px; margin-top: 44px; }
h3 { font-size: 17px; margin-top: 28px; } h4 { font-size: 15px; margin-bottom: 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; margin: 10px 0; }
th, td { border-bottom: 1px solid #ddd; padding: 4px 12px 4px 0; text-align: left; vertical-align: top;
         overflow-wrap: normal; }
th { border-bottom: 2px solid #999; vertical-align: bottom; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.number { white-space: normal; }
img { max-width: 100%; height: auto; display: block; margin: 8px 0; }
pre { background: #f5f5f5; padding: 10px 14px; font-size: 12.5px; line-height: 1.4; white-space: pre-wrap; }
.warning { background: #fff4e0; border-left: 4px solid #d55e00; padding: 8px 12px; }
@media print { body { max-width: none; } }
"""


def write_html(path: Path, blocks: Sequence[Block]) -> None:
    """The page as one file, with the images in it. OSError for an image that is not there."""
    title = next((block.text for block in blocks if isinstance(block, Heading)), path.stem)
    body = "\n".join(_html(block, path.parent) for block in blocks)
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def write_markdown(path: Path, blocks: Sequence[Block]) -> None:
    """The page with references to the images beside it."""
    with replacing(path) as temporary:
        temporary.write_text("\n\n".join(map(_markdown, blocks)) + "\n", encoding="utf-8")


def _html(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p{_class('warning', block.warning)}>{html.escape(block.text)}</p>"
    if isinstance(block, Items):
        return "<ul>\n" + "\n".join(f"<li>{html.escape(text)}</li>" for text in block.texts) + "\n</ul>"
    if isinstance(block, Code):
        return f"<pre>{html.escape(block.text)}</pre>"
    if isinstance(block, Illustration):
        data = base64.b64encode((folder / block.name).read_bytes()).decode()
        return f'<img alt="{html.escape(block.about)}" src="data:image/png;base64,{data}">'
    rows = [_html_row(block.header, "th", block.numbers), *(_html_row(row, "td", block.numbers) for row in block.rows)]
    return '<div class="wide"><table>\n' + "\n".join(rows) + "\n</table></div>"


def _html_row(cells: Sequence[str], tag: str, numbers: range) -> str:
    marked = (f"<{tag}{_class('number', k in numbers)}>{html.escape(cell)}</{tag}>" for k, cell in enumerate(cells))
    return f"<tr>{''.join(marked)}</tr>"


def _class(name: str, applies: bool) -> str:
    return f' class="{name}"' if applies else ""


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_plain(block.text)}"
    if isinstance(block, Text):
        return f"**{_plain(block.text)}**" if block.warning else _plain(block.text)
    if isinstance(block, Items):
        return "\n".join(f"- {_plain(text)}" for text in block.texts)
    if isinstance(block, Code):
        return f"```\n{block.text}\n```"
    if isinstance(block, Illustration):
        return f"![{_plain(block.about)}]({block.name})"
    line = "|" + "|".join(" ---: " if k in block.numbers else " --- " for k in range(len(block.header))) + "|"
    rows = ["| " + " | ".join(map(_plain, row)) + " |" for row in (block.header, *block.rows)]
    return "\n".join([rows[0], line, *rows[1:]])


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text.replace("\n", " "))
