"""The folder for what can be had again: downloads, and what was found out about files."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder, which need not exist.

    It is `$EXACT_YOLOV3_CACHE`, else `exact-yolov3` in the user's cache folder.
    """
    if chosen := os.environ.get("EXACT_YOLOV3_CACHE"):
        return Path(chosen).expanduser()
    windows = sys.platform == "win32"
    folder = Path(os.environ.get("LOCALAPPDATA" if windows else "XDG_CACHE_HOME", ""))
    if not folder.is_absolute():  # not set, or relative, which is to be ignored by the XDG specification
        folder = Path.home() / ("AppData/Local" if windows else ".cache")
    return folder / "exact-yolov3"
