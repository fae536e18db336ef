"""Training of YOLO: its network, its loss, what is logged. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from yolo.options.bounds import Bound, MaybeCount
from yolo.options.loss import LossOptions as LossOptions
from yolo.options.training import Training


@dataclass(frozen=True, kw_only=True)
class Train(Training):
    """The options of training a YOLO."""

    cfg: Path | None = None
    """Darknet .cfg; its classes, and the filters before its heads, become those of the data. By default the network of
    a .safetensors file or run in `weights`, else toy.cfg."""
    recipe: Literal["ours", "cfg"] = "ours"
    """ours: network and input from the cfg, all else from these options. cfg: train as darknet does, all from the cfg:
    batch, learning rate, loss, augmentation, number of iterations; see docs/darknet-training.md. Options that say the
    same are refused then."""
    darknet_build: Literal["gpu", "cpu"] = "gpu"
    """With the recipe cfg: which build of darknet is followed. Models are trained with the GPU build. The gradients of
    the CPU build have faults; cpu repeats them to the digit, for comparisons."""
    clear: bool = False
    """With the recipe cfg: begin at iteration 0, whatever number of images a .weights file says it has seen."""
    init: Literal["darknet", "torch", "uniform"] = "darknet"
    """How weights that are not in a file are drawn: as in darknet (normal, variance 2 / inputs), as in PyTorch
    (uniform, a sixth of that variance), or as in newer darknets (uniform, a third of it). Before batch norm the scale
    only decides how fast training turns them: with Adam, small weights turn faster."""
    loss: LossOptions = field(default_factory=LossOptions)
    obj_bias: Annotated[float | None, Bound("a number, or None", above=-math.inf, below=math.inf)] = None
    """Objectness bias at the start, in heads that `weights` do not fill: -4.5 means that a prediction is an object once
    in 90; None is 0."""
    probe: bool = False
    """Log at every evaluation how the network predicts labels: IoU of positives, calibration, anchors that changed,
    near misses, duplicates (`yolo/training/probe.py`)."""
    glance: MaybeCount = None
    """Log the AP50 of every N-th batch right after its step, at confidence 0.3 and NMS 0.5. Not an evaluation: the way
    many published curves are made (`yolo/training/glance.py`)."""
