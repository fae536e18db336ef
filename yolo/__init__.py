"""Exact YOLOv3: darknet's detectors in PyTorch, with darknet's numbers.

The usual ways in are `yolo.load("yolov3.cfg", "yolov3.weights").detect("image.jpg")`, `yolo.train` and
`yolo.evaluate`. Importing this package is fast: torch is imported with the first name that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from yolo.version import VERSION

if TYPE_CHECKING:
    from yolo.boxes import Detections as Detections
    from yolo.commands.evaluate import evaluate as evaluate
    from yolo.commands.train import train as train
    from yolo.data.datasets import open_data as open_data
    from yolo.data.loader import Loader as Loader
    from yolo.detection.loss import compute_loss as compute_loss
    from yolo.evaluation.evaluation import Evaluation as Evaluation
    from yolo.metrics.coco import CocoMetrics as CocoMetrics
    from yolo.models.detector import Detector as Detector
    from yolo.models.found import Found as Found
    from yolo.models.load import load as load
    from yolo.options.augment import Augment as Augment
    from yolo.options.registry import register_model as register_model
    from yolo.training.trained import Trained as Trained

__version__ = VERSION

HOME = {
    "load": "yolo.models.load",
    "train": "yolo.commands.train",
    "evaluate": "yolo.commands.evaluate",
    "Trained": "yolo.training.trained",
    "Evaluation": "yolo.evaluation.evaluation",
    "Detector": "yolo.models.detector",
    "Detections": "yolo.boxes",
    "Found": "yolo.models.found",
    "compute_loss": "yolo.detection.loss",
    "CocoMetrics": "yolo.metrics.coco",
    "open_data": "yolo.data.datasets",
    "Augment": "yolo.options.augment",
    "Loader": "yolo.data.loader",
    "register_model": "yolo.options.registry",
}
"""The module of each public name."""

__all__ = ["__version__", *HOME]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use and return it."""
    if name in HOME:
        return getattr(import_module(HOME[name]), name)
    raise AttributeError(f"module 'yolo' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return all names, so that a notebook completes the public ones."""
    return [*globals(), *__all__]
