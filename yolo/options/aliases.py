"""Names that older versions of this program used, with the names of today. No torch.

Command lines, YAML files of options and checkpoints with old names are still read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OPTIONS = {"conf": "confidence", "iou": "nms", "max_det": "max_detections", "pictures": "images"}
"""Options of command lines and YAML files. The first three are also short forms of today."""

PRESETS: dict[str, str] = {}
"""Presets. None has been renamed so far."""

CHECKPOINT = {"pictures": "images", "watcher": "watchers.glance", "memory": "watchers.probe"}
"""Keys of a checkpoint. In a new name, the part before a dot is a dictionary and the part after it a key there."""


def spellings(option: str) -> list[str]:
    """Return the short or old flags of an option, such as `--conf` for `confidence`."""
    return [f"--{old.replace('_', '-')}" for old, new in OPTIONS.items() if new == option]


def renamed(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint with the keys of today; dictionaries within it are unchanged."""
    found: dict[str, Any] = {}
    for key, value in state.items():
        *folders, name = CHECKPOINT.get(key, key).split(".")
        place = found
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value
    return found
