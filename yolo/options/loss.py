"""Options of the loss. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from yolo.options.bounds import Bound, Checked, Number


@dataclass(frozen=True, kw_only=True)
class LossOptions(Checked):
    """The loss; `yolo/detection/loss.py` has the formulas and `yolo/detection/assign.py` the three assignments."""

    bbox_loss: Literal["mse", "iou", "giou", "diou", "ciou"] = "iou"
    """Box loss: mse (squared errors of centre, width and height), or 1 minus iou, giou, diou or ciou."""
    obj_label: Literal["1", "iou"] = "iou"
    """Objectness target of a positive: 1, or the current IoU of its box with the label, as a constant. Where labels
    share a prediction, the larger target counts."""
    assign: Literal["ratio", "prediction", "prior"] = "ratio"
    """Which anchor is responsible for a label. ratio: per scale, the anchor closest in width and height. prediction:
    over all scales, the best predicted box. prior: over all scales, the best anchor shape (YOLOv3)."""
    ignore_thresh: Annotated[float | None, Bound("an IoU above 0, at most 1, or None", above=0, high=1)] = None
    """A prediction that is not a positive does not contribute to the objectness loss if its box has an IoU above this
    with any label of its image. None: all predictions contribute."""
    pos_weight: float | Literal["auto"] = "auto"
    """Factor of a positive's objectness loss. auto: positives weigh half as much as all other predictions together,
    max(1, (P - N) / 2N) for P predictions per image and N labels in the batch."""
    obj_reduction: Literal["mean", "sum"] = "mean"
    """Objectness loss of a scale: the mean over all its predictions, including ignored ones, or the sum per image."""
    box_gain: Number = 1.0
    """Weight of the box loss in the total."""
    obj_gain: Number = 1.0
    """Weight of the objectness loss in the total."""
    cls_gain: Number = 1.0
    """Weight of the class loss in the total."""
    label_smoothing: Annotated[float, Bound("a share from 0, below 1", low=0, below=1)] = 0.0
    """Class targets are 1 - e/2 and e/2 for this e, against overconfidence; 0 is off."""
    focal_gamma: Number = 0.0
    """The objectness loss is multiplied by |target - prediction| to this power, so that easy predictions count less;
    0 is off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pos_weight != "auto" and (isinstance(self.pos_weight, str) or not 0 < self.pos_weight < math.inf):
            raise ValueError(f"pos_weight={self.pos_weight}: expected a factor above 0, or auto")

    def replace(self, **changes: Any) -> LossOptions:
        """Return these options with some fields changed. Raises TypeError for an unknown option."""
        known = [field.name for field in fields(self)]
        unknown = [name for name in changes if name not in known]
        if unknown:
            raise TypeError(f"got {', '.join(unknown)}; the options of the loss are {', '.join(known)}")
        return replace(self, **changes)
