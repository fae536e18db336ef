"""Training of YOLO: its network, its loss, what is logged of it. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from yolo.options.loss import LossOptions as LossOptions
from yolo.options.training import Training


@dataclass(frozen=True, kw_only=True)
class Train(Training):
    """The options of training a YOLO."""

    cfg: Path = Path("toy.cfg")
    """Darknet .cfg; its classes, and the filters before its heads, become those of the data."""
    init: Literal["darknet", "torch"] = "darknet"
    """Initial weights that no file fills: as darknet draws them (normal, variance 2 / inputs) or as PyTorch does
    (uniform, a sixth of it). Where batch norm follows, the scale only decides how fast they turn; with Adam small ones
    turn faster."""
    loss: LossOptions = field(default_factory=LossOptions)
    obj_bias: float | None = None
    """Objectness bias at the start, in heads that `weights` do not fill: -4.5 means that a prediction is an object once
    in 90; None is 0."""
    probe: bool = False
    """Log at every evaluation what the network makes of labels: IoU of positives, calibration, anchors that changed,
    near misses, duplicates (`yolo/training/probe.py`)."""
    glance: int | None = None
    """Log the AP50 of every N-th batch, right after its step, at confidence 0.3 and NMS 0.5. Not an evaluation: the way
    many published curves are made (`yolo/training/glance.py`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.glance is not None and self.glance < 1:
            raise ValueError(f"glance={self.glance}: expected at least 1")
        if self.obj_bias is not None and not math.isfinite(self.obj_bias):
            raise ValueError(f"obj_bias={self.obj_bias}: expected a number, or None")
