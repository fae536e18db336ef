"""Which files and folders of a data set have the names of a pattern. No torch.

The pattern language is described in `layouts.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from yolo.data.paths import files_below, listed
from yolo.data.split_names import kind

PLACEHOLDER = re.compile(r"\{([^}]*)\}")


class Tree:
    """A folder whose entries are read at most once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._entries: dict[Path, dict[str, bool]] = {}
        self._first: dict[tuple[Path, tuple[str, ...]], str | None] = {}

    def entries(self, folder: Path) -> dict[str, bool]:
        """Return the names in a folder, sorted, each with whether it is a folder. Hidden ones are left out."""
        if folder not in self._entries:
            entries = sorted(listed(folder), key=lambda entry: entry.name)
            self._entries[folder] = {entry.name: entry.is_dir() for entry in entries}
        return self._entries[folder]

    def match(self, pattern: str, bound: Mapping[str, str] | None = None) -> list[tuple[dict[str, str], Path]]:
        """Return what the pattern names, each with the text of its placeholders. `bound`: texts that are known."""
        found = [(dict(bound or {}), self.root)]
        for component in (part for part in pattern.split("/") if part != "."):
            if component == "..":
                found = [(texts, folder.resolve().parent) for texts, folder in found]
                continue
            deeper = []
            for texts, folder in found:
                fits = _regex(component, texts)
                for name in self.entries(folder):
                    if (hit := fits.fullmatch(name)) and ("{word}" not in component or kind(hit["split"])):
                        deeper.append((texts | hit.groupdict(), folder / name))
            found = deeper
        return found

    def existing(self, path: str) -> Path:
        """Return a path below the root as it is spelled on the disk; as given where there is none."""
        if not (self.root / path).exists():
            fitting = self.match(path)
            return fitting[0][1] if fitting else self.root / path
        return self.root / path

    def holds(self, folder: Path, endings: tuple[str, ...], below: bool = True) -> bool:
        """Return whether a file with one of the endings is in a folder, or `below` it."""
        if (folder, endings) not in self._first:
            self._first[folder, endings] = next(files_below(folder, endings), None)
        first = self._first[folder, endings]  # those of the folder itself come first
        return first is not None and (below or "/" not in first)


def _regex(component: str, texts: Mapping[str, str]) -> re.Pattern[str]:
    """Return the expression of a component: fixed text and placeholders in turn."""
    pieces = PLACEHOLDER.split(component)
    return re.compile("".join(_hole(text, texts) if k % 2 else re.escape(text) for k, text in enumerate(pieces)), re.I)


def _hole(content: str, texts: Mapping[str, str]) -> str:
    """Return the regular expression of a placeholder."""
    name = "split" if content == "word" else content
    if "|" in content:
        return f"(?:{content})"
    return re.escape(texts[name]) if name in texts else f"(?P<{name}>.+)"
