"""Exact YOLOv3: darknet's detectors in PyTorch, with darknet's numbers.

`yolo.load("yolov3.cfg", "yolov3.weights").detect("image.jpg")` is most of it. Importing this package costs
nothing: torch comes in with the first name that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolo.boxes import Detections as Detections
    from yolo.models.detector import Detector as Detector
    from yolo.models.load import load as load

__all__ = ["Detections", "Detector", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from yolo.models.load import load

        return load
    if name == "Detector":
        from yolo.models.detector import Detector

        return Detector
    if name == "Detections":
        from yolo.boxes import Detections

        return Detections
    raise AttributeError(f"module 'yolo' has no attribute {name!r}")
