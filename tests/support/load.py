"""The detector of `yolo.load` as a YOLO, for tests that look into its network."""

from __future__ import annotations

from typing import Any

import yolo
from yolo.models.yolo import YoloDetector


def load_yolo(*arguments: Any, **options: Any) -> YoloDetector:
    """Return what `yolo.load` returns for these arguments, which must be a YOLO."""
    detector = yolo.load(*arguments, **options)
    assert isinstance(detector, YoloDetector)
    return detector
