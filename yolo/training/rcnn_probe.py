"""How rare objects are among the anchors and proposals that train a Faster R-CNN.

Means over the evaluated images, without augmentation:

    probe/anchors             anchors
    probe/positive_anchors    those that stand for an object: an IoU from 0.7, or the best anchor of an object
    probe/negative_anchors    those that are background: an IoU below 0.3; the others train nothing
    probe/positive_share      positive anchors among all
    probe/sampled_objects     proposals that train the detections as objects
    probe/sampled_background  proposals that train them as background
"""

from __future__ import annotations

from yolo.models.detector import Detector
from yolo.options.faster_rcnn import FasterRcnn
from yolo.training.precision import Arithmetic
from yolo.training.validation import Validation
from yolo.training.watch import Watcher

COUNTS = ("anchors", "positive_anchors", "negative_anchors", "sampled_objects", "sampled_background")
"""Names among the counts of the detector's losses."""


class RcnnProbe(Watcher):
    """A watcher that reads the counts of the evaluation before it, which computed the losses of all images."""

    def __init__(self, validation: Validation) -> None:
        self.validation = validation

    def evaluated(self, detector: Detector) -> dict[str, float]:
        """Return the numbers of the latest evaluation."""
        counts, images = self.validation.totals.counts, self.validation.totals.images
        means = {f"probe/{name}": int(counts[name]) / images for name in COUNTS}
        return means | {"probe/positive_share": int(counts["positive_anchors"]) / int(counts["anchors"])}


def watchers(
    detector: Detector, options: FasterRcnn, validation: Validation, arithmetic: Arithmetic
) -> dict[str, Watcher]:
    """Return the watchers of a training of Faster R-CNN that the options enable."""
    return {"probe": RcnnProbe(validation)} if options.probe else {}
