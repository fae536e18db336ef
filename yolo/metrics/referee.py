"""pycocotools as a referee for our own numbers. It is imported only when it is used.

Letters: `T` IoU thresholds, `R` recall points, `C` classes, `A` area ranges, `M` limits on the number of detections.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any, NamedTuple

import numpy as np

from yolo.metrics.coco import CocoResult, Rules


class Referee(NamedTuple):
    """What pycocotools computed.

    `precision` float64 `[T, R, C, A]` at the largest limit, `recall` float64 `[T, C, A, M]`, and its twelve `numbers`;
    without COCO's own rules it has none.
    """

    precision: np.ndarray
    recall: np.ndarray
    numbers: list[float]

    def difference(self, result: CocoResult) -> float:
        """Return the largest difference from our result, over all entries of precision, recall and the numbers."""
        pairs: list[tuple[np.ndarray, np.ndarray]] = [
            (self.precision, result.precision.numpy()),
            (self.recall, result.recall.numpy()),
        ]
        if self.numbers:
            pairs.append((np.array(self.numbers), np.array(list(result.numbers().values()))))
        return max(float(np.abs(theirs - own).max(initial=0)) for theirs, own in pairs)


def referee(annotations: dict[str, Any], rows: list[dict[str, Any]], rules: Rules | None = None) -> Referee:
    """Return pycocotools' evaluation of the results `rows`. Both arguments have the form of COCO's json files.

    Annotation ids must be unique and start from 1, which pycocotools does not check: it takes 0 for no match.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rules = rules or Rules()
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truth.dataset = annotations
        truth.createIndex()
        if rows:
            found = truth.loadRes(rows)
        else:  # pycocotools cannot load an empty list
            found.dataset = {**annotations, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.iouThrs = np.array(rules.thresholds)
        evaluation.params.maxDets = list(rules.limits)
        evaluation.params.areaRng = [list(ends) for ends in rules.areas.values()]
        evaluation.params.areaRngLbl = list(rules.areas)
        evaluation.evaluate()
        evaluation.accumulate()
        numbers = []
        if rules == Rules():
            evaluation.summarize()
            numbers = [float(value) for value in evaluation.stats]
    return Referee(evaluation.eval["precision"][..., -1], evaluation.eval["recall"], numbers)
