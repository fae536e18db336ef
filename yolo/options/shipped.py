"""Files that come with the program: the folder config/, in the installed package or beside it in a clone. No torch."""

from __future__ import annotations

from pathlib import Path


def shipped(pattern: str) -> list[Path]:
    """The files of config/ that a pattern such as `presets/*.yaml` means, by name; empty if there are none."""
    package = Path(__file__).parents[1]  # yolo/
    for folder in (package / "config", package.parent / "config"):
        if found := sorted(folder.glob(pattern)):
            return found
    return []
