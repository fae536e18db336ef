"""pycocotools as a referee beside our own numbers. Imported only when it is asked for."""

from __future__ import annotations

import contextlib
import io
from typing import Any, NamedTuple

import numpy as np

from yolo.metrics.coco import CocoResult, Rules


class Referee(NamedTuple):
    """What pycocotools computed: `precision` float64 `[T, R, C, A]` at the largest limit, `recall` `[T, C, A, M]`, and
    its twelve numbers, where the rules are COCO's own (else none)."""

    precision: np.ndarray
    recall: np.ndarray
    numbers: list[float]

    def difference(self, result: CocoResult) -> float:
        """The largest difference from our result, over all entries of precision and recall and the twelve numbers."""
        pairs: list[tuple[np.ndarray, np.ndarray]] = [
            (self.precision, result.precision.numpy()),
            (self.recall, result.recall.numpy()),
        ]
        if self.numbers:
            pairs.append((np.array(self.numbers), np.array(list(result.numbers().values()))))
        return max(float(np.abs(theirs - own).max(initial=0)) for theirs, own in pairs)


def referee(annotations: dict[str, Any], rows: list[dict[str, Any]], rules: Rules | None = None) -> Referee:
    """pycocotools' evaluation of results `rows`, in the form of the two kinds of COCO json files.

    It needs what it does not check: annotation ids from 1 on (one of 0 counts as no match), ids that occur once.
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
        else:  # it cannot load an empty list
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
