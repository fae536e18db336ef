"""Names that older versions of this program used, and those that they have now. No torch.

What was written with an old name is still read: command lines, YAML files of options, checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OPTIONS = {"conf": "confidence", "iou": "nms", "max_det": "max_detections", "pictures": "images"}
"""Options of command lines and of YAML files. The first three stay as short forms."""

PRESETS: dict[str, str] = {}
"""Presets; none was renamed so far."""

CHECKPOINT = {"pictures": "images", "watcher": "watchers.glance", "memory": "watchers.probe"}
"""Keys of a checkpoint. A dot leads into a dictionary within it."""


def spellings(option: str) -> list[str]:
    """Return the other words for an option on the command line, such as `--conf` for `confidence`."""
    return [f"--{old.replace('_', '-')}" for old, new in OPTIONS.items() if new == option]


def renamed(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dictionary with the keys of today; dictionaries within it stay as they are."""
    found: dict[str, Any] = {}
    for key, value in state.items():
        *folders, name = CHECKPOINT.get(key, key).split(".")
        place = found
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value
    return found
