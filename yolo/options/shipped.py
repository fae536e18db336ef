"""Files of the folder config/, which is in the installed package, or beside it in a clone. No torch."""

from __future__ import annotations

from pathlib import Path


def shipped(pattern: str) -> list[Path]:
    """Return the files of config/ that match a pattern such as `presets/*.yaml`, sorted by name."""
    package = Path(__file__).parents[1]  # yolo/
    for folder in (package / "config", package.parent / "config"):
        if found := sorted(folder.glob(pattern)):
            return found
    return []
