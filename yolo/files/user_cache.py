"""The folder for what can be had again: downloads, and what was found out about files."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder, which need not exist.

    It is `$EXACT_YOLOV3_CACHE`, else `exact-yolov3` in the user's cache folder. Raises OSError for a user without home.
    """
    try:
        if chosen := os.environ.get("EXACT_YOLOV3_CACHE"):
            return Path(chosen).expanduser()
        windows = sys.platform == "win32"
        folder = Path(os.environ.get("LOCALAPPDATA" if windows else "XDG_CACHE_HOME", ""))
        if not folder.is_absolute():  # not set, or relative, which is to be ignored by the XDG specification
            folder = Path.home() / ("AppData/Local" if windows else ".cache")
    except RuntimeError as problem:  # as in a container whose user is a number
        raise OSError("this user has no home folder for the cache: set EXACT_YOLOV3_CACHE to a folder") from problem
    return folder / "exact-yolov3"
