"""A page of headings, text, tables and images: written as Markdown, and as one HTML file made from that.

A page is a list of blocks, each a piece of Markdown that the functions of this file return. They escape every word,
since names may hold characters that have a meaning in Markdown or HTML.
"""

from __future__ import annotations

import base64
import html
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import markdown

from yolo.files.atomic import replacing

STYLE = """
body { font: 15px/1.45 system-ui, "Helvetica Neue", Arial, sans-serif; color: #1e1e1e; background: #fff;
       max-width: 1100px; margin: 0 auto; padding: 16px 24px 64px; overflow-wrap: anywhere; }
h1 { font-size: 27px; } h2 { font-size: 21px; border-bottom: 1px solid #bbb; padding-bottom: 4px; margin-top: 44px; }
h3 { font-size: 17px; margin-top: 28px; }
table { display: block; overflow-x: auto; border-collapse: collapse; font-size: 13.5px; margin: 10px 0; }
th, td { border-bottom: 1px solid #ddd; padding: 4px 12px 4px 0; text-align: left; vertical-align: top;
         overflow-wrap: normal; }
th { border-bottom: 2px solid #999; vertical-align: bottom; }
td[style] { font-variant-numeric: tabular-nums; white-space: nowrap; }
img { max-width: 100%; height: auto; display: block; margin: 8px 0; }
pre { background: #f5f5f5; padding: 10px 14px; font-size: 12.5px; line-height: 1.4; white-space: pre-wrap; }
p > strong { display: block; font-weight: normal; background: #fff4e0; border-left: 4px solid #d55e00;
             padding: 8px 12px; }
@media print { body { max-width: none; } }
"""


def heading(level: int, text: str) -> str:
    """Return a heading of level 1 to 6."""
    return f"{'#' * level} {_escaped(text)}"


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return re.sub(r"^(\d*)([-+.])(?=[-\s]|$)", r"\1\\\2", _escaped(text.strip()))  # not the first item of a list


def warning(text: str) -> str:
    """Return a paragraph that stands out."""
    return f"**{_escaped(text.strip())}**"


def bullets(texts: Sequence[str]) -> str:
    """Return a list of sentences."""
    return "\n".join(f"- {paragraph(text)}" for text in texts)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: range = range(0)) -> str:
    """Return a table; the columns `numbers` are aligned on the right."""
    rule = "|" + "|".join(" ---: " if column in numbers else " --- " for column in range(len(header))) + "|"
    first, *rest = ["| " + " | ".join(map(_escaped, row)) + " |" for row in (header, *rows)]
    return "\n".join([first, rule, *rest])


def code(text: str) -> str:
    """Return lines that are shown as they are."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return "\n".join([fence, *map(_one_line, text.split("\n")), fence])


def illustration(name: str, about: str) -> str:
    """Return a PNG file in the folder of the page; `about` says in words what it shows."""
    return f"![{_escaped(about)}]({quote(os.fsencode(name), safe='')})"


def write_markdown(path: Path, blocks: Sequence[str]) -> None:
    """Write the page with references to the images beside it."""
    with replacing(path) as temporary:
        temporary.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def write_html(path: Path, title: str, blocks: Sequence[str]) -> None:
    """Write the page as one file that contains its images. Raises OSError for a missing image."""
    body = markdown.markdown("\n\n".join(blocks), extensions=["tables", "fenced_code"], output_format="html")
    body = re.sub(r'(<img [^>]*src=")([^"]*)', lambda found: found[1] + _inlined(path.parent, found[2]), body)
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(_one_line(title))}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _inlined(folder: Path, address: str) -> str:
    """Return the address of a PNG that holds the image itself."""
    image = folder / os.fsdecode(unquote_to_bytes(address))
    return f"data:image/png;base64,{base64.b64encode(image.read_bytes()).decode()}"


def _escaped(text: str) -> str:
    """Return one line of Markdown that is shown as `text`."""
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", html.escape(_one_line(text), quote=False))


def _one_line(text: str) -> str:
    """Return a text in which what is not a character, such as a line break or half of a UTF-16 pair, is a space or �.

    A carriage return would end a table, and \\x02 is a mark of the package markdown.
    """
    odd = {c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")}
    return text.translate({ord(c): " " if c.isspace() else "\ufffd" for c in odd})
