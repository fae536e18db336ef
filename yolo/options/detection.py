"""Which predictions become detections. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which predictions become detections. The defaults are those of detection; `EVALUATION` has its own."""

    confidence: float = 0.25
    """Objectness, and objectness times class score, must exceed this. 0.25 is darknet's for images one looks at."""
    nms: float = 0.45
    """A box is dropped if it overlaps a better one of its class by more than this."""
    max_detections: int | None = None
    """Keep at most so many per image, the best ones; None keeps all, as darknet."""
    agnostic: bool = False
    """NMS across classes: one box per object whatever the class."""

    def __post_init__(self) -> None:
        for name in ("confidence", "nms"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected a number from 0 to 1")
        if self.max_detections is not None and self.max_detections < 1:
            raise ValueError(f"max_detections={self.max_detections}: expected at least 1, or none for no limit")


EVALUATION = Filter(confidence=0.001, nms=0.6, max_detections=100)
"""AP needs the low scores too; 100 detections are COCO's."""
